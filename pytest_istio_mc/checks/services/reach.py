"""Reach: MC-SERVICE-006, between which clusters every service is reached, and why not."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from ... import shell
from ...errors import ObservationError
from ...shell import NO_REMEDY, Remedy
from ...snapshot import Object, Snapshot
from ...spec import Feature
from ...verdicts import Evidence, Finding, Verdict, Weight
from ..catalogue import BELOW_REACH, check
from ..isolating import local_pattern
from ..judging import Found, Gap, names
from ..oracle import gateway_addresses, gateways_to
from ..remedies import Commands
from .blame import judge, shown
from .demands import DISABLE, MUTUAL, PLAIN, Demands, use_of
from .hosts import covers
from .view import DEMAND, GATEWAY, RULE, Service, View
from .views import views

MEDIA_TYPE = "application/vnd.istio-mc.reach+json"
_TOLD = 200


class State(Enum):
    """Whether callers of a cluster reach a service's instances in another."""

    REACHABLE = "reachable"
    APART = "kept apart"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Reach:
    """How it is between two clusters, with the object that keeps them apart and its line.

    - ``meant``: that it says by itself that nobody shall reach, or that nothing else is wanted.
    - ``fault`` is empty where that is no fault at all: the instances are not in the mesh.
    """

    state: State
    why: str = ""
    line: str = ""
    remedy: Remedy = NO_REMEDY
    meant: bool = True
    fault: str = ""


@dataclass
class _Table:
    """What was found, counted, and the first of what is kept apart."""

    counts: Counter[str] = field(default_factory=Counter)
    pairs: dict[str, None] = field(default_factory=dict)
    rows: list[dict[str, str]] = field(default_factory=list)

    def add(self, service: Service, source: str, target: str, reach: Reach) -> None:
        self.counts[reach.state.value] += 1
        self.pairs[f"{source} to {target}"] = None
        if reach.state is not State.REACHABLE and len(self.rows) < _TOLD:
            self.rows.append(
                {
                    "service": str(service),
                    "source": source,
                    "target": target,
                    "state": reach.state.value,
                    "why": f"{reach.why} ({reach.line})" if reach.line else reach.why,
                }
            )


@check(
    "MC-SERVICE-006",
    "A service that a cluster declares without instances of its own is reached there in another.",
    spec_url="https://istio.io/latest/docs/ops/configuration/traffic-management/multicluster/",
    requires=(Feature.SHARED_SERVICES,),
    explained_by=(*BELOW_REACH, "MC-SERVICE-003"),
)
def declared_services_are_reached(snapshot: Snapshot) -> Verdict:
    """Each service and ordered pair of clusters is reachable, or kept apart by an object.

    Kept apart is no mistake, unless the cluster has a Service of that name and no instance: then
    nobody there can use it.
    """
    table = _Table()
    demands: dict[str, tuple[View, Demands]] = {}

    def look(view: View) -> Iterator[Found]:
        if not demands:
            for one in views(snapshot):
                demands.update((name, (one, Demands(one))) for name in one.served)
        for source in view.served:
            reaching = Reaching(view, source, demands)
            for service in view.of_users:
                yield from _declared(reaching, service, table)

    def passed() -> str:
        counted = ", ".join(f"{number} {state}" for state, number in sorted(table.counts.items()))
        return f"services in other clusters, by pairs: {counted or 'none'}"

    verdict = judge(snapshot, look, passed)
    text = json.dumps({"counts": dict(sorted(table.counts.items())), "apart": table.rows})
    evidence = Evidence("who reaches what", text, MEDIA_TYPE)
    return verdict.with_evidence(evidence) if table.counts else verdict


def _declared(reaching: Reaching, service: Service, table: _Table) -> Iterator[Found]:
    view, source = reaching.view, reaching.source
    counts = {name: view.count(service, name) for name in service.copies}
    targets = [name for name, number in counts.items() if number and name != source]
    found = {target: reaching.to(service, target) for target in targets}
    for target, reach in found.items():
        table.add(service, source, target, reach)
    unknown = [name for name, number in counts.items() if number is None]
    if unknown:
        yield Gap(
            f"the endpoints of {service} in {names(unknown)} are not recorded by istiod of "
            f"{view.plane.name}; record them with this version"
        )
        return
    if source not in service.copies or counts[source] or not found or view.unseen:
        return
    if any(one.state is not State.APART for one in found.values()):
        return
    if not any(one.fault for one in found.values()):
        return
    first = next(one for one in found.values() if one.fault)
    meant = all(one.meant for one in found.values())
    yield Finding(
        f"Service {service} of {source} has no instance there, and those in {names(found)} are not "
        f"reached: {first.why}",
        tuple(dict.fromkeys((source, *found))),
        expected=f"instances in {source}, or a way to those in {names(found)}",
        seen=first.line,
        remedy=first.remedy,
        fault=first.fault,
        weight=Weight.RISK if meant else Weight.BROKEN,
    )


class Reaching:
    """Judges whether callers in one cluster reach services in others.

    ``demands``: for each cluster the view of its control plane, and what that demands of pods.
    """

    def __init__(
        self, view: View, source: str, demands: Mapping[str, tuple[View, Demands]]
    ) -> None:
        self.view = view
        self.source = source
        self._demands = demands
        self._spec = view.snapshot.spec
        self._gateways: dict[str, str] = {}
        self._exposed: dict[str, tuple[frozenset[str], Object | None]] = {}

    def to(self, service: Service, target: str, caller: str = "") -> Reach:
        """How it is for callers of a namespace, those of the service's own by default."""
        view, caller = self.view, caller or service.namespace
        if (pattern := local_pattern(view.mesh, service.host)) is not None:
            config = Commands(view.snapshot)
            remedy = config.set_mesh_config(view.config.name, f"--not-cluster-local={pattern}")
            return Reach(
                State.APART,
                f"serviceSettings of {view.plane.name} keep it within its cluster",
                f"meshConfig.serviceSettings: clusterLocal for {pattern}",
                remedy,
                fault="reach-cluster-local",
            )
        if not view.discovers(target, service.namespace):
            return Reach(
                State.APART,
                f"the discoverySelectors of {view.plane.name} leave {service.namespace} out",
                "meshConfig.discoverySelectors",
                fault="reach-not-discovered",
            )
        if self._spec.cluster(target).network == self._spec.cluster(self.source).network:
            return Reach(State.REACHABLE)
        return self._across(service, target, caller)

    def _across(self, service: Service, target: str, caller: str) -> Reach:
        """Through a gateway, which takes mutual TLS only."""
        view = self.view
        if why := self._no_gateway(target):
            return Reach(State.UNKNOWN, why)
        use = use_of(view, service, caller)
        if use.mode in (PLAIN, "SIMPLE"):
            said = view.where(RULE, use.item) if use.item else "enableAutoMtls"
            return Reach(
                State.APART,
                f"{said} has callers use {use.mode}, and gateways of other networks take "
                "mutual TLS only",
                use.line or "meshConfig.enableAutoMtls: false",
                shown(view, RULE, use.item, "let istiod decide: take tls out")
                if use.item
                else shell.note(
                    f"set enableAutoMtls in the mesh configuration of {view.plane.name}"
                ),
                meant=False,
                fault="reach-plaintext",
            )
        groups = view.groups(service, target) or ()
        if not any(one.tls for one in groups):
            if service.namespace not in view.injected(target):
                return Reach(State.APART, f"its pods in {target} are not in the mesh")
            commands = Commands(view.snapshot)
            look = commands.show(target, "services", service.copies[target])
            return Reach(
                State.APART,
                f"its pods in {target} have no sidecar, and gateways of other networks lead to "
                "mutual TLS only",
                f"{sum(one.count for one in groups)} endpoints without mutual TLS in {target}",
                look,
                meant=False,
                fault="reach-no-sidecar",
            )
        if (reach := self._by_demand(service, target, use.mode)) is not None:
            return reach
        return self._by_exposure(service, target)

    def _by_demand(self, service: Service, target: str, used: str) -> Reach | None:
        """What a PeerAuthentication does that takes plaintext only."""
        own = self._demands.get(self.source) if used != MUTUAL else None
        for holder, demands in filter(None, (self._demands.get(target), own)):
            pods = [one for one in holder.pods_of(service, target) if one.has_sidecar]
            demand = demands.of_pods(pods)
            if demand is not None and demand.mode == DISABLE and demand.item is not None:
                return Reach(
                    State.APART,
                    f"{holder.where(DEMAND, demand.item)} has its pods take plaintext only, and "
                    "gateways of other networks lead to mutual TLS only",
                    "mtls.mode DISABLE",
                    shown(holder, DEMAND, demand.item, "set mtls.mode to PERMISSIVE"),
                    meant=False,
                    fault="reach-plaintext",
                )
        return None

    def _by_exposure(self, service: Service, target: str) -> Reach:
        """Which hosts the east-west gateways of the target's network pass on."""
        holder = self._demands[target][0] if target in self._demands else self.view
        patterns, item = self._passed_on(holder)
        if item is None or any(covers(one, service.host) for one in patterns):
            return Reach(State.REACHABLE)
        told = names(sorted(patterns))
        return Reach(
            State.APART,
            f"{holder.where(GATEWAY, item)} passes on {told} only",
            f"spec.servers[].hosts: {told}",
            shown(holder, GATEWAY, item, f"let its hosts have {service.host}, if that is meant"),
            meant=False,
            fault="reach-not-exposed",
        )

    def _passed_on(self, holder: View) -> tuple[frozenset[str], Object | None]:
        """The hosts that auto-passthrough Gateways of a control plane pass on; one of these."""
        name = holder.plane.name
        if name not in self._exposed:
            patterns, item = set(), None
            for one in holder.rules(GATEWAY):
                for server in one["spec"].get("servers") or ():
                    if (server.get("tls") or {}).get("mode") == "AUTO_PASSTHROUGH":
                        item = one
                        patterns |= {host.rpartition("/")[2] for host in server.get("hosts") or ()}
            self._exposed[name] = frozenset(patterns), item
        return self._exposed[name]

    def _no_gateway(self, target: str) -> str:
        if target not in self._gateways:
            try:
                known = gateway_addresses(self.view.snapshot, self.source)
                there = gateways_to(self._spec.cluster(target), known)
                why = (
                    "" if there else f"no gateway of {target} is known; MC-EASTWEST-001 tells more"
                )
            except ObservationError as error:
                why = str(error)
            self._gateways[target] = why
        return self._gateways[target]
