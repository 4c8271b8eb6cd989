"""Mutual TLS: MC-SERVICE-003, what clients use is what the pods of a service take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ... import shell
from ...shell import Remedy
from ...snapshot import Object, Snapshot, namespace_of
from ...verdicts import Finding, Verdict
from ..catalogue import check
from ..judging import Found, names
from ..remedies import replacing
from .blame import judge, patched, shown
from .demands import (
    AUTOMATIC,
    DISABLE,
    MUTUAL,
    PLAIN,
    STRICT,
    Demand,
    Demands,
    Use,
    rules_with_tls,
    subsets_with_tls,
    use_of,
)
from .hosts import covers
from .view import DEMAND, RULE, Service, View
from .views import views

_REFERENCE = "https://istio.io/latest/docs/ops/configuration/traffic-management/tls-configuration/"


@check(
    "MC-SERVICE-003",
    "Callers of every service use the TLS that its pods take: DestinationRules, "
    "PeerAuthentications and sidecars agree, in every primary.",
    spec_url=_REFERENCE,
    explained_by=("MC-TRUST-001", "MC-TRUST-003", "MC-TRUST-004"),
)
def clients_and_servers_agree(snapshot: Snapshot) -> Verdict:
    """Judged by each pair of control planes.

    The callers' reads the DestinationRules, that of the pods the PeerAuthentications. What decides
    by itself (automatic mutual TLS) agrees with what the callers' control plane reads.
    """
    count = 0
    demands: dict[str, tuple[View, Demands]] = {}

    def look(view: View) -> Iterator[Found]:
        nonlocal count
        if not demands:
            for one in views(snapshot):
                for cluster in one.served:
                    demands[cluster] = (one, Demands(one))
        seen: set[tuple[str, str]] = set()
        for item in rules_with_tls(view):
            for service in _covered(view, item):
                caller = _caller(view, item, service)
                if view.rule_of(service.host, service, caller) is not item:
                    continue
                seen.add((service.host, caller))
                count += 1
                yield from _agreement(view, service, caller, demands)
        if view.mesh.get("enableAutoMtls") is False:
            for service in view.of_users:
                if (service.host, service.namespace) not in seen:
                    yield from _agreement(view, service, service.namespace, demands)
        yield from _told_elsewhere(view, demands)

    return judge(
        snapshot,
        look,
        lambda: f"{count} rules about TLS and all PeerAuthentications agree",
    )


def _covered(view: View, item: Object) -> Iterator[Service]:
    host = view.resolved(str(item["spec"].get("host", "")), item)
    if not host.startswith("*"):
        if (found := view.services.get(host)) is not None:
            yield found
        return
    yield from (one for one in view.of_users if covers(host, one.host))


def _caller(view: View, item: Object, service: Service) -> str:
    """A namespace whose callers follow a rule, if any do."""
    own = namespace_of(item)
    return service.namespace if own in (service.namespace, view.root) else own


def _lines(
    view: View, service: Service, caller: str
) -> Iterator[tuple[int, Use, Mapping[str, str]]]:
    """What is used for each port, with the labels of its pods.

    Where subsets say something of their own, requests may all be for these: then only they count.
    """
    item = view.rule_of(service.host, service, caller)
    subsets = (subsets_with_tls(item) if item is not None else {}) or {"": {}}
    told: set[tuple[str, str]] = set()
    for port in service.ports or {0: {}}:
        for subset, labels in subsets.items():
            use = use_of(view, service, caller, port, subset)
            if (use.mode, use.line) not in told:
                told.add((use.mode, use.line))
                yield port, use, labels


def _agreement(
    view: View, service: Service, caller: str, demands: Mapping[str, tuple[View, Demands]]
) -> Iterator[Finding]:
    for port, use, labels in _lines(view, service, caller):
        if use.mode == AUTOMATIC:
            continue
        for cluster in service.copies:
            if cluster not in demands or not view.count(service, cluster):
                continue
            owner, owned = demands[cluster]
            if service.namespace in owner.ambient(cluster):
                continue  # there others than sidecars take mutual TLS
            chosen = view.pods_of(service, cluster)
            target = _target(service, cluster, port)
            pods = [
                one
                for one in chosen
                if labels.items() <= one.labels.items() and not one.bypasses(target)
            ]
            within = [one for one in pods if one.has_sidecar]
            demand = owned.of_pods(within, target)
            numbers = {"within": len(within), "without": len(pods) - len(within)}
            yield from _disagreement(view, owner, service, cluster, use, demand, **numbers)


def _target(service: Service, cluster: str, port: int) -> int:
    """The number of the container port behind a port; 0 where it is a name."""
    for one in service.copies[cluster]["spec"].get("ports") or ():
        if one["port"] == port:
            target = one.get("targetPort", port)
            return int(target) if str(target).isdigit() else 0
    return 0


def _disagreement(
    view: View,
    owner: View,
    service: Service,
    cluster: str,
    use: Use,
    demand: Demand | None,
    *,
    within: int,
    without: int,
) -> Iterator[Finding]:
    said = view.where(RULE, use.item) if use.item else f"enableAutoMtls of {view.plane.name}"
    line = use.line or "meshConfig.enableAutoMtls: false"
    scope = tuple(dict.fromkeys((*view.served, cluster)))

    def finding(fault: str, effect: str, expected: str, seen: str, remedy: Remedy) -> Finding:
        return Finding(
            f"{said} has callers of {service} use {use.mode}, {effect}",
            scope,
            expected=expected,
            seen=f"{line}; {seen}",
            remedy=remedy,
            fault=fault,
        )

    mode = demand.mode if demand else ""
    if use.mode in (PLAIN, "SIMPLE") and mode == STRICT and within:
        by = owner.where(DEMAND, demand.item) if demand and demand.item else ""
        yield finding(
            "tls-strict",
            f"and its pods in {cluster} take mutual TLS only: the requests fail",
            "mutual TLS, as the pods demand it",
            f"{by}: mtls.mode STRICT",
            _without_tls(view, use),
        )
    elif use.mode == MUTUAL and without:
        share = "all of its pods" if not within else f"{without} of {within + without} pods"
        yield finding(
            "tls-no-sidecar",
            f"and {share} in {cluster} have no sidecar to take it: those requests fail",
            "no tls in the rule: istiod then uses mutual TLS where there is a sidecar",
            f"{without} endpoints without mutual TLS in {cluster}",
            _without_tls(view, use),
        )
    elif use.mode == MUTUAL and mode == DISABLE and demand and demand.item:
        yield finding(
            "tls-peer-disabled",
            f"and {owner.where(DEMAND, demand.item)} has its pods take plaintext only: the "
            "requests fail",
            "mutual TLS in both or in none",
            f"{owner.where(DEMAND, demand.item)}: mtls.mode DISABLE",
            _permissive(owner, demand.item),
        )


def _without_tls(view: View, use: Use) -> Remedy:
    """Leave it to istiod where to use mutual TLS."""
    if use.item is None:
        return shell.note(f"set enableAutoMtls in the mesh configuration of {view.plane.name}")
    if use.line.startswith("spec.trafficPolicy.tls.mode: "):
        path = "/spec/trafficPolicy/tls"
        change = [*replacing(f"{path}/mode", use.mode, "")[:1], {"op": "remove", "path": path}]
        note = "istiod then uses mutual TLS wherever the pods take it"
        return patched(view, RULE, use.item, change, note)
    return shown(view, RULE, use.item, f"take out {use.line.partition('.mode')[0]}")


def _permissive(view: View, item: Object) -> Remedy:
    if (item["spec"].get("mtls") or {}).get("mode") == DISABLE:
        change = replacing("/spec/mtls/mode", DISABLE, "PERMISSIVE")
        return patched(view, DEMAND, item, change, "pods then take both")
    return shown(view, DEMAND, item, "let the port take mutual TLS: PERMISSIVE")


def _told_elsewhere(view: View, demands: Mapping[str, tuple[View, Demands]]) -> Iterator[Finding]:
    """PeerAuthentications of which the callers' control plane knows nothing, or another thing."""
    others = {cluster: pair for cluster, pair in demands.items() if pair[0].plane != view.plane}
    if not others or not _any_disabled([*(pair[0] for pair in others.values()), view]):
        return
    mine = Demands(view)
    told: set[tuple[str, str, str]] = set()
    for service in view.of_users:
        if use_of(view, service, service.namespace).mode != AUTOMATIC:
            continue
        for cluster in service.copies:
            if cluster not in others or not view.groups(service, cluster):
                continue
            owner, owned = others[cluster]
            pods = [one for one in view.pods_of(service, cluster) if one.has_sidecar]
            actual, believed = owned.of_pods(pods), mine.of_pods(pods)
            if actual is None or believed is None or actual.mode == believed.mode:
                continue
            key = (cluster, service.namespace, actual.mode + believed.mode)
            if key in told:
                continue
            if actual.mode == DISABLE and actual.item is not None:
                told.add(key)
                yield _one_primary(
                    view, service, cluster, owner, actual.item, "mutual TLS", "plaintext"
                )
            elif believed.mode == DISABLE and actual.mode == STRICT and believed.item is not None:
                told.add(key)
                yield _one_primary(
                    view, service, cluster, view, believed.item, "plaintext", "mutual TLS"
                )


def _one_primary(
    view: View,
    service: Service,
    cluster: str,
    holder: View,
    item: Object,
    used: str,
    taken: str,
) -> Finding:
    return Finding(
        f"{holder.where(DEMAND, item)} is not in the other primary: callers in "
        f"{names(view.served)} use {used} for {service} in {cluster}, where pods take {taken} only",
        tuple(dict.fromkeys((*view.served, cluster))),
        expected="the same PeerAuthentication in every primary, or PERMISSIVE",
        seen="mtls.mode DISABLE",
        remedy=_permissive(holder, item),
        fault="tls-one-primary",
    )


def _any_disabled(known: list[View]) -> bool:
    return any(
        DISABLE in str(item["spec"].get("mtls"))
        or DISABLE in str(item["spec"].get("portLevelMtls"))
        for view in known
        for item in view.rules(DEMAND)
    )
