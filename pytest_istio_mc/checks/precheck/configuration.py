"""Configuration: objects of the user's that the target release handles in another way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ... import shell
from ...istio_names import CLUSTER_LABEL, GATEWAY_NAME_LABEL, LOCALITY_LABELS, NETWORK_LABEL
from ...snapshot import ClusterSnapshot, Object, name_of, namespace_of
from ...verdicts import Finding
from ..cluster_domain import cluster_domain
from ..judging import Found, each
from .known_bad import GATEWAY_API, ISSUE, NEWS, SERVICE_ENTRY
from .rules import Rule, Situation, Weight, read_for_upgrade

RULE = "DestinationRule.networking.istio.io"
WORKLOAD_ENTRY = "WorkloadEntry.networking.istio.io"
ISTIO_GATEWAY = "Gateway.networking.istio.io"
REFERENCE = "https://istio.io/latest/docs/reference/config/networking/destination-rule/"

DNS = ("DNS", "DNS_ROUND_ROBIN")
"""Resolutions of ServiceEntries for which istiod writes endpoints into the cluster itself."""

_OF_GATEWAYS = (*LOCALITY_LABELS, NETWORK_LABEL, CLUSTER_LABEL)
"""Labels that endpoints behind a gateway of another network still have."""

Each = Callable[[Situation, ClusterSnapshot], Iterator[Found]]


def _configured(look: Each) -> Callable[[Situation], Iterable[Found]]:
    """A judge that looks at each cluster in which istiods read configuration."""
    return lambda situation: each(situation.configured, lambda one: look(situation, one))


def policies_of(rule: Object) -> Iterator[Mapping[str, Any]]:
    """The traffic policies of a DestinationRule as they are in force.

    Its own, those of its subsets, which replace it field by field, and those of ports in each.
    """
    spec = rule["spec"]
    own = spec.get("trafficPolicy") or {}
    for policy in (own, *(one.get("trafficPolicy") or {} for one in spec.get("subsets") or ())):
        whole = {**own, **policy}
        yield whole
        yield from ({**whole, **port} for port in whole.get("portLevelSettings") or ())


def failover_labels(
    policy: Mapping[str, Any], otherwise: Mapping[str, Any] | None = None
) -> tuple[str, ...]:
    """The labels of ``failoverPriority``, as far as it is in force.

    - Not where locality load balancing is off, or where ``distribute`` stands in its place.
    - Not without outlier detection, without which istiod writes no priorities.
    - Each may be ``label=value``, which is that label.
    - ``otherwise``: the setting of the mesh configuration, for policies that have none.
    """
    own = (policy.get("loadBalancer") or {}).get("localityLbSetting")
    setting = (otherwise if own is None else own) or {}
    if setting.get("enabled") is False or setting.get("distribute"):
        return ()
    if policy.get("outlierDetection") is None:
        return ()
    return tuple(str(one).partition("=")[0] for one in setting.get("failoverPriority") or ())


def _visible(item: Object, otherwise: Iterable[str] = ()) -> frozenset[str]:
    """The namespaces whose proxies know an object; ``*`` stands for all.

    ``otherwise``: what the mesh configuration says for objects that do not say it.
    """
    said = item["spec"].get("exportTo") or list(otherwise) or ["*"]
    return frozenset(namespace_of(item) if one == "." else str(one) for one in said)


def _meet(situation: Situation, cluster: ClusterSnapshot, entry: Object, rule: Object) -> bool:
    """Whether some namespace may know a ServiceEntry and a DestinationRule."""
    config = situation.mesh_config(cluster.name)
    first = _visible(entry, config.get("defaultServiceExportTo") or ())
    second = _visible(rule, config.get("defaultDestinationRuleExportTo") or ())
    if "*" in first or "*" in second:
        return bool(first - {"~"}) and bool(second - {"~"})
    return bool((first & second) - {"~"})


def _covers(pattern: str, host: str, namespace: str) -> bool:
    """Whether the host of a DestinationRule is about a host of a ServiceEntry."""
    if pattern.startswith("*"):
        return host.endswith(pattern[1:]) or host == pattern
    short = f"{pattern}.{namespace}.svc." if "." not in pattern else ""
    return pattern == host or bool(short and host.startswith(short))


def _places(cluster: ClusterSnapshot, entry: Object) -> set[str]:
    """The localities of the endpoints that a ServiceEntry has, written in it or selected."""
    spec = entry["spec"]
    places = {str(one.get("locality", "")) for one in spec.get("endpoints") or ()}
    wanted = (spec.get("workloadSelector") or {}).get("labels") or {}
    if not wanted:
        return places
    return {
        str(one["spec"].get("locality", ""))
        for one in read_for_upgrade(cluster, WORKLOAD_ENTRY)
        if namespace_of(one) == namespace_of(entry)
        and wanted.items() <= (one["spec"].get("labels") or {}).items()
    }


def _crash(situation: Situation, cluster: ClusterSnapshot) -> Iterator[Found]:
    mesh_wide = situation.mesh_config(cluster.name).get("localityLbSetting")
    rules = [
        rule
        for rule in cluster.listed(RULE)
        if any(failover_labels(policy, mesh_wide) for policy in policies_of(rule))
    ]
    for entry in cluster.listed(SERVICE_ENTRY):
        spec = entry["spec"]
        if spec.get("resolution") not in DNS or not rules:
            continue
        places = _places(cluster, entry)
        if len(places) < 2:
            continue
        for rule in rules:
            hosts = [
                host
                for host in spec.get("hosts") or ()
                if _covers(str(rule["spec"].get("host", "")), host, namespace_of(rule))
            ]
            if not hosts or not _meet(situation, cluster, entry, rule):
                continue
            show = shell.then(
                situation.commands.show(cluster.name, "serviceentry", entry),
                situation.commands.show(cluster.name, "destinationrule", rule),
            )
            advice = "until it is mended: take failoverPriority out of the rule, or give all "
            advice += "endpoints one locality, before istiod is upgraded"
            yield Finding(
                f"ServiceEntry {_named(entry)} has endpoints in {len(places)} localities by DNS, "
                f"and DestinationRule {_named(rule)} a failoverPriority for {hosts[0]}: istiod "
                "panics whenever it writes that cluster",
                (cluster.name,),
                expected="no failoverPriority for a DNS host with several localities",
                seen=", ".join(sorted(one or "none" for one in places)),
                remedy=shell.with_note(show, advice),
                fault="dns-failover-crash",
            )


def _service_first(situation: Situation, cluster: ClusterSnapshot) -> Iterator[Found]:
    services = {(name_of(one), namespace_of(one)) for one in cluster.listed("Service")}
    domains = {
        cluster_domain(situation.snapshot, plane)
        for plane in situation.snapshot.spec.control_planes
        if situation.config_cluster(plane.name) == cluster.name
    }
    otherwise = situation.mesh_config(cluster.name).get("defaultServiceExportTo") or ()
    for entry in cluster.listed(SERVICE_ENTRY):
        for host in entry["spec"].get("hosts") or ():
            name, _, rest = host.partition(".")
            namespace, _, domain = rest.partition(".")
            inside = domain.removeprefix("svc.") in domains
            if (
                inside
                and (name, namespace) in services
                and namespace != namespace_of(entry)
                and "*" in _visible(entry, otherwise)
            ):
                show = situation.commands.show(cluster.name, "serviceentry", entry)
                told = "whichever is meant stays, the other goes or gets another host"
                yield Finding(
                    f"ServiceEntry {_named(entry)} and Service {name}.{namespace} have the host "
                    f"{host}: sidecars elsewhere prefer the Service from 1.30 on",
                    (cluster.name,),
                    expected="one object for a host",
                    seen=f"a ServiceEntry in {namespace_of(entry)}, a Service in {namespace}",
                    remedy=shell.with_note(show, told),
                    fault="service-before-entry",
                )


def _subset_tls(situation: Situation, cluster: ClusterSnapshot) -> Iterator[Found]:
    for rule in cluster.listed(RULE):
        mode = ((rule["spec"].get("trafficPolicy") or {}).get("tls") or {}).get("mode")
        subsets = [
            str(one.get("name", ""))
            for one in rule["spec"].get("subsets") or ()
            if "trafficPolicy" in one and not ((one["trafficPolicy"] or {}).get("tls") or {})
        ]
        if mode and subsets:
            show = situation.commands.show(cluster.name, "destinationrule", rule)
            told = f"write tls.mode into the policy of {', '.join(subsets)} as it is meant"
            yield Finding(
                f"subsets {', '.join(subsets)} of DestinationRule {_named(rule)} have a policy "
                f"without TLS mode beside the rule's {mode}: from 1.31 on endpoints are taken for "
                f"{mode} there, too",
                (cluster.name,),
                expected="a TLS mode in each policy of a subset",
                seen=f"tls.mode {mode} for the host, none for {', '.join(subsets)}",
                remedy=shell.with_note(show, told),
                fault="subset-tls-mode",
            )


def _empty_selector(situation: Situation, cluster: ClusterSnapshot) -> Iterator[Found]:
    for entry in cluster.listed(SERVICE_ENTRY):
        selector = entry["spec"].get("workloadSelector")
        if selector is not None and not selector.get("labels"):
            show = situation.commands.show(cluster.name, "serviceentry", entry)
            yield Finding(
                f"ServiceEntry {_named(entry)} has a workloadSelector without labels, which "
                "selected every pod of its namespace before 1.31.1 and selects none from then on",
                (cluster.name,),
                expected="labels in a workloadSelector",
                seen="none",
                remedy=shell.with_note(show, "name the labels of the pods that are meant"),
                fault="empty-workload-selector",
            )


def _unhealthy(situation: Situation, cluster: ClusterSnapshot) -> Iterator[Found]:
    rules = [
        rule
        for rule in cluster.listed(RULE)
        if any(
            "minHealthPercent" not in (policy.get("outlierDetection") or {"minHealthPercent": 0})
            for policy in policies_of(rule)
        )
    ]
    if rules:
        some = ", ".join(_named(one) for one in rules[:5])
        told = "to keep the old way, set PILOT_AUTO_SEND_UNHEALTHY_ENDPOINTS=false for istiod, or "
        told += "outlierDetection.minHealthPercent in the rule"
        yield Finding(
            f"{len(rules)} DestinationRules in {cluster.name} have outlier detection without "
            "minHealthPercent: from 1.31 on proxies are told of endpoints that are not ready",
            (cluster.name,),
            expected="known: unready endpoints are in EDS, and count for panic thresholds",
            seen=some,
            remedy=shell.note(told),
            fault="unhealthy-endpoints",
        )


def _network_first(situation: Situation, cluster: ClusterSnapshot) -> Iterator[Found]:
    if not situation.endpoints_behind_gateways:
        return
    for rule in cluster.listed(RULE):
        if any(
            labels[:1] == (NETWORK_LABEL,) for labels in map(failover_labels, policies_of(rule))
        ):
            show = situation.commands.show(cluster.name, "destinationrule", rule)
            told = "from 1.31 on an endpoint of another network is still ordered by what follows "
            told += "in failoverPriority, before it came last"
            yield Finding(
                f"DestinationRule {_named(rule)} begins its failoverPriority with the network, "
                "which is preferred and no longer required from 1.31 on",
                (cluster.name,),
                expected="known: another order of failover across networks",
                seen=NETWORK_LABEL,
                remedy=shell.with_note(show, told),
                fault="network-preferred",
            )


def _blind_labels(situation: Situation, cluster: ClusterSnapshot) -> Iterator[Found]:
    if not situation.endpoints_behind_gateways:
        return
    for rule in cluster.listed(RULE):
        blind = sorted(
            {
                one
                for policy in policies_of(rule)
                for one in failover_labels(policy)
                if one not in _OF_GATEWAYS
            }
        )
        if blind:
            show = situation.commands.show(cluster.name, "destinationrule", rule)
            told = "across networks use topology.istio.io/cluster or the labels of localities"
            yield Finding(
                f"DestinationRule {_named(rule)} orders failover by {', '.join(blind)}, which "
                "endpoints behind the gateway of another network do not have",
                (cluster.name,),
                expected="labels of locality, network or cluster",
                seen=", ".join(blind),
                remedy=shell.with_note(show, told),
                fault="failover-by-pod-labels",
            )


def _merged_gateways(situation: Situation, cluster: ClusterSnapshot) -> Iterator[Found]:
    managed = {
        (name_of(one), namespace_of(one))
        for one in cluster.listed(GATEWAY_API)
        if not one["spec"].get("addresses")
    }
    for gateway in cluster.listed(ISTIO_GATEWAY):
        name = (gateway["spec"].get("selector") or {}).get(GATEWAY_NAME_LABEL, "")
        homes = sorted(namespace for one, namespace in managed if one == name)
        if homes and namespace_of(gateway) not in homes:
            show = situation.commands.show(cluster.name, "gateways.networking.istio.io", gateway)
            told = "move it into the namespace of that Gateway, or set "
            told += "PILOT_ENABLE_STRICT_GATEWAY_MERGING=false for istiod"
            yield Finding(
                f"Istio Gateway {_named(gateway)} adds servers to the Gateway {name} in "
                f"{', '.join(homes)}, which istiod manages: from 1.31 on it does not",
                (cluster.name,),
                expected=f"it is in {', '.join(homes)}",
                seen=namespace_of(gateway),
                remedy=shell.with_note(show, told),
                fault="strict-gateway-merging",
            )


def _named(item: Object) -> str:
    return f"{namespace_of(item)}/{name_of(item)}"


RULES = (
    Rule(
        "dns-failover-crash",
        "A DNS ServiceEntry with several localities has a failoverPriority.",
        Weight.BLOCKS,
        "istiod panics in a loop: no pushes, no injection, no certificates (not mended in any "
        "release known to this version)",
        "ServiceEntries and WorkloadEntries with localities, DestinationRules, mesh configuration",
        (ISSUE + "61857",),
        _configured(_crash),
        to=(">=1.30.0",),
    ),
    Rule(
        "service-before-entry",
        "A ServiceEntry has the host of a Kubernetes Service of another namespace.",
        Weight.RISK,
        "sidecars prefer the Kubernetes Service (PILOT_SIDECAR_PICK_BEST_SERVICE_NAMESPACE)",
        "ServiceEntries and Services",
        (NEWS + "1.30.x/announcing-1.30/",),
        _configured(_service_first),
        to=(">=1.30.0",),
        running=("<1.30.0",),
    ),
    Rule(
        "subset-tls-mode",
        "A subset's policy leaves the TLS mode to its DestinationRule.",
        Weight.RISK,
        "whether endpoints are reached by mutual TLS is decided by the rule's own TLS mode there",
        "DestinationRules",
        (NEWS + "1.31.x/announcing-1.31/",),
        _configured(_subset_tls),
        to=(">=1.31.0",),
        running=("<1.31.0",),
    ),
    Rule(
        "strict-gateway-merging",
        "An Istio Gateway opens ports on a managed Gateway of another namespace.",
        Weight.RISK,
        "what it opens there is closed (PILOT_ENABLE_STRICT_GATEWAY_MERGING)",
        "Gateways of Istio and of the Gateway API",
        (NEWS + "1.31.x/announcing-1.31/",),
        _configured(_merged_gateways),
        to=(">=1.31.0",),
        running=("<1.31.0",),
    ),
    Rule(
        "empty-workload-selector",
        "A ServiceEntry selects workloads by no labels at all.",
        Weight.RISK,
        "it selects no pod any more, where it selected every pod of its namespace",
        "ServiceEntries",
        (NEWS + "1.31.x/announcing-1.31.1/",),
        _configured(_empty_selector),
        to=(">=1.31.1",),
        running=("<1.31.1",),
    ),
    Rule(
        "unhealthy-endpoints",
        "Outlier detection is used without minHealthPercent.",
        Weight.NOTE,
        "endpoints that are not ready are in EDS (PILOT_AUTO_SEND_UNHEALTHY_ENDPOINTS)",
        "DestinationRules",
        (NEWS + "1.31.x/announcing-1.31/",),
        _configured(_unhealthy),
        to=(">=1.31.0",),
        running=("<1.31.0",),
    ),
    Rule(
        "network-preferred",
        "Failover is ordered by network first.",
        Weight.NOTE,
        "the network is preferred, not required: another order of failover across networks",
        "DestinationRules, in meshes of several networks",
        (ISSUE + "60829",),
        _configured(_network_first),
        to=(">=1.31.0",),
        running=("<1.31.0",),
    ),
    Rule(
        "failover-by-pod-labels",
        "Failover is ordered by labels of pods across networks.",
        Weight.NOTE,
        "endpoints behind another network's gateway match no such label and come last",
        "DestinationRules, in meshes of several networks",
        (ISSUE + "49500", REFERENCE),
        _configured(_blind_labels),
    ),
)
