"""Authorisation: MC-SERVICE-004, policies that are to let somebody in do so."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...selectors import matches
from ...snapshot import Object, Snapshot, name_of, namespace_of
from ...verdicts import Finding, Verdict, Weight
from ..catalogue import check
from ..control_plane.sameness import protocol_of
from ..judging import Found, names
from .blame import judge, shown
from .demands import DISABLE, Demands
from .view import POLICY, Service, View

_PRINCIPAL = re.compile(r"([^/*]+)/ns/([^/*]+)/(?:sa/.*|\*)")
_PREFIX = "spiffe://"
_HTTP = ("hosts", "notHosts", "methods", "notMethods", "paths", "notPaths")
_TCP = frozenset({"tcp", "tls", "https", "mongo", "mysql", "redis"})


@dataclass(frozen=True)
class Dead:
    """Why a rule lets nobody in: its line, and in words.

    ``sure``: whatever runs; else it is so because nothing of the kind runs now.
    """

    line: str
    why: str
    fault: str
    sure: bool = True


@check(
    "MC-SERVICE-004",
    "Authorisation policies that are to let callers in name trust domains, namespaces and ports "
    "that there are.",
    spec_url="https://istio.io/latest/docs/reference/config/security/authorization-policy/",
    explained_by=("MC-TRUST-004",),
)
def policies_let_somebody_in(snapshot: Snapshot) -> Verdict:
    """Broken is a workload whose every ALLOW rule can match nobody.

    A policy without rules, or one that denies everything, keeps callers out on purpose.
    """
    count = 0

    def look(view: View) -> Iterator[Found]:
        nonlocal count
        policies = Policies(view)
        for service in view.of_users:
            for cluster in service.copies:
                if cluster in view.served and view.count(service, cluster):
                    count += 1
                    yield from _locked(policies, service, cluster)
        yield from _dead_denials(policies)

    return judge(snapshot, look, lambda: f"{count} services let in whom their policies name")


class Policies:
    """The authorisation policies of one control plane, and what it knows of callers."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.demands = Demands(view)
        self._callers: dict[str, bool | None] = {}
        self._ports: dict[tuple[str, str], frozenset[int]] = {}
        self._by_namespace: dict[str, list[Object]] = defaultdict(list)
        for item in view.rules(POLICY):
            # those for a target are carried out by waypoints and gateways
            if not (item["spec"].get("targetRefs") or item["spec"].get("targetRef")):
                self._by_namespace[namespace_of(item)].append(item)
        spec = view.snapshot.spec
        self.domains = {"cluster.local", *map(spec.trust_domain_of, spec.clusters)}
        for plane in spec.control_planes:
            for istiod in view.snapshot.clusters[plane.name].istiods:
                mesh = istiod.debug.get("mesh") or {}
                self.domains |= {mesh.get("trustDomain", ""), *mesh.get("trustDomainAliases", ())}
                for one in mesh.get("caCertificates") or ():
                    self.domains |= {*one.get("trustDomains", ())}

    def of(self, namespace: str, labels: Mapping[str, str], action: str) -> list[Object]:
        """The policies with that action on a pod."""
        both = dict.fromkeys((namespace, self.view.root))
        return [
            item
            for where in both
            for item in self._by_namespace.get(where, ())
            if item["spec"].get("action", "ALLOW") == action
            and matches(item["spec"].get("selector") or {}, labels)
        ]

    def denials(self) -> Iterator[Object]:
        """Every policy that denies."""
        for items in self._by_namespace.values():
            yield from (one for one in items if one["spec"].get("action") == "DENY")

    def has_callers(self, namespace: str) -> bool | None:
        """Whether pods with an identity run in a namespace of any cluster; None: it is nowhere."""
        if namespace not in self._callers:
            self._callers[namespace] = self._look_for_callers(namespace)
        return self._callers[namespace]

    def listening(self, namespace: str, cluster: str) -> frozenset[int]:
        """The ports of pods to which services of a namespace lead; none where unknown."""
        if (namespace, cluster) not in self._ports:
            held = [
                self.view.groups(one, cluster)
                for one in self.view.of_namespace(namespace)
                if cluster in one.copies
            ]
            unknown = any(groups is None for groups in held)
            found = (one.port for groups in held for one in groups or ())
            self._ports[namespace, cluster] = frozenset(() if unknown else found)
        return self._ports[namespace, cluster]

    def _look_for_callers(self, namespace: str) -> bool | None:
        if self.view.unseen:
            return True  # callers may be there
        here = False
        for name in self.view.clusters:
            cluster = self.view.snapshot.clusters[name]
            here |= any(name_of(one) == namespace for one in cluster.listed("Namespace"))
            if next(self.view.pods(name).with_sidecar(namespace), None) is not None:
                return True
            if namespace in self.view.ambient(name):
                return True
        return False if here else None


def _locked(policies: Policies, service: Service, cluster: str) -> Iterator[Finding]:
    """A service whose policies are to let somebody in, and can let in nobody."""
    view = policies.view
    pods = [one for one in view.pods_of(service, cluster) if one.has_sidecar]
    if not pods:
        return
    allowing = policies.of(service.namespace, pods[0].labels, "ALLOW")
    others = {tuple(sorted(one.labels.items())): one.labels for one in pods[1:]}
    if any(policies.of(service.namespace, one, "ALLOW") != allowing for one in others.values()):
        return  # pods of several kinds: some let in others than some
    if not any(one["spec"].get("rules") for one in allowing):
        return  # none at all, or nobody on purpose
    anonymous = policies.demands.of_pods(pods)
    dead: list[tuple[Object, Dead]] = []
    for item in allowing:
        for place, rule in enumerate(item["spec"].get("rules") or ()):
            why = dead_rule(policies, service, cluster, place, rule)
            if why is None and anonymous and anonymous.mode == DISABLE and _names_callers(rule):
                line = f"spec.rules[{place}].from"
                why = Dead(line, "PeerAuthentication DISABLE leaves callers without identity", "")
            if why is None:
                return
            dead.append((item, why))
    item, first = dead[0]
    sure = all(one.sure for _, one in dead)
    yield Finding(
        f"{view.where(POLICY, item)} lets nobody in to {service} in {cluster}: {first.why}",
        (cluster,),
        expected="a rule that some caller can meet",
        seen="; ".join(dict.fromkeys(f"{name_of(one)} {why.line}" for one, why in dead)),
        remedy=shown(view, POLICY, item, f"correct {first.line}"),
        fault=first.fault or "policy-no-identity",
        weight=Weight.BROKEN if sure else Weight.RISK,
    )


def _names_callers(rule: Mapping[str, Any]) -> bool:
    found = [one.get("source") or {} for one in rule.get("from") or ()]
    return bool(found) and all(one.get("principals") or one.get("namespaces") for one in found)


def dead_rule(
    policies: Policies, service: Service, cluster: str, place: int, rule: Mapping[str, Any]
) -> Dead | None:
    """Why a rule can match no caller of a service; None where it may."""
    sources = _dead_sources(policies, place, rule)
    if sources and all(sources):
        return _worst(sources)
    operations = [
        _dead_operation(
            policies,
            service,
            cluster,
            f"spec.rules[{place}].to[{number}].operation",
            one.get("operation") or {},
        )
        for number, one in enumerate(rule.get("to") or ())
    ]
    return _worst(operations) if operations and all(operations) else None


def _dead_sources(policies: Policies, place: int, rule: Mapping[str, Any]) -> Sequence[Dead | None]:
    path = f"spec.rules[{place}].from"
    return [
        _dead_source(policies, f"{path}[{number}]", one.get("source") or {})
        for number, one in enumerate(rule.get("from") or ())
    ]


def _worst(found: Iterable[Dead | None]) -> Dead:
    every = [one for one in found if one is not None]
    return next((one for one in every if not one.sure), every[0])


def _dead_source(policies: Policies, path: str, source: Mapping[str, Any]) -> Dead | None:
    for key, look in (("principals", _dead_principal), ("namespaces", _dead_namespace)):
        named = source.get(key) or ()
        found = [look(policies, f"{path}.source.{key}", one) for one in named]
        if found and all(found):
            return _worst(found)
    return None


def _dead_principal(policies: Policies, path: str, principal: str) -> Dead | None:
    line = f"{path}: {principal}"
    if principal.startswith(_PREFIX):
        return Dead(line, f"principals are written without {_PREFIX}", "policy-principal")
    match = _PRINCIPAL.fullmatch(principal)
    if match is None:
        return None
    domain, namespace = match[1], match[2]
    if domain not in policies.domains:
        known = names(sorted(policies.domains - {""}))
        why = f"the mesh has no trust domain {domain}, only {known}"
        return Dead(line, why, "policy-trust-domain")
    return _nobody(policies, line, namespace)


def _dead_namespace(policies: Policies, path: str, namespace: str) -> Dead | None:
    if "*" in namespace:
        return None
    return _nobody(policies, f"{path}: {namespace}", namespace)


def _nobody(policies: Policies, line: str, namespace: str) -> Dead | None:
    match policies.has_callers(namespace):
        case None:
            return Dead(line, f"no cluster has a namespace {namespace}", "policy-namespace")
        case False:
            why = f"no pod of the namespace {namespace} is in the mesh, in any cluster"
            return Dead(line, why, "policy-namespace", sure=False)
    return None


def _dead_operation(
    policies: Policies, service: Service, cluster: str, path: str, operation: Mapping[str, Any]
) -> Dead | None:
    ports = operation.get("ports") or ()
    listening = policies.listening(service.namespace, cluster) if ports else frozenset()
    if ports and listening and not {str(one) for one in listening} & set(ports):
        there = names(map(str, sorted(listening)))
        why = f"policies name ports of pods, and those of {service} are {there}"
        return Dead(f"{path}.ports: {', '.join(ports)}", why, "policy-port")
    if any(operation.get(key) for key in _HTTP):
        protocols = {protocol_of(port) for port in service.ports.values()}
        if protocols and protocols <= _TCP:
            key = next(key for key in _HTTP if operation.get(key))
            why = f"{key} are of HTTP, and {service} has only ports of {names(sorted(protocols))}"
            return Dead(f"{path}.{key}", why, "policy-http")
    return None


def _dead_denials(policies: Policies) -> Iterator[Finding]:
    """Policies that are to deny whom they name wrongly: those get in."""
    view = policies.view
    for item in policies.denials():
        for place, rule in enumerate(item["spec"].get("rules") or ()):
            sources = _dead_sources(policies, place, rule)
            if sources and all(one and one.sure for one in sources):
                first = _worst(sources)
                yield Finding(
                    f"{view.where(POLICY, item)} denies nobody: {first.why}",
                    view.served,
                    expected="callers that there are",
                    seen=first.line,
                    remedy=shown(view, POLICY, item, f"correct {first.line}"),
                    fault="policy-denies-nobody",
                    weight=Weight.RISK,
                )
