"""Failover: labels that order it, and releases that order it otherwise, or crash."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from ... import shell
from ...istio_names import CLUSTER_LABEL, LOCALITY_LABELS, NETWORK_LABEL
from ...snapshot import ClusterSnapshot, Object, name_of, namespace_of
from ...verdicts import Finding
from ..judging import Found
from .configuration import RULE, configured, named, policies_of, visible
from .known_bad import ISSUE, SERVICE_ENTRY
from .rules import Rule, Situation, Weight, read_for_upgrade

WORKLOAD_ENTRY = "WorkloadEntry.networking.istio.io"
REFERENCE = "https://istio.io/latest/docs/reference/config/networking/destination-rule/"

DNS = ("DNS", "DNS_ROUND_ROBIN")
"""Resolutions of ServiceEntries for which istiod writes endpoints into the cluster itself."""

_OF_GATEWAYS = (*LOCALITY_LABELS, NETWORK_LABEL, CLUSTER_LABEL)
"""Labels that endpoints behind a gateway of another network still have."""


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


def _meet(situation: Situation, cluster: ClusterSnapshot, entry: Object, rule: Object) -> bool:
    """Whether some namespace may know a ServiceEntry and a DestinationRule."""
    config = situation.mesh_config(cluster.name)
    first = visible(entry, config.get("defaultServiceExportTo") or ())
    second = visible(rule, config.get("defaultDestinationRuleExportTo") or ())
    if "*" in first or "*" in second:
        return bool(first - {"~"}) and bool(second - {"~"})
    return bool((first & second) - {"~"})


def _patterns(host: str) -> Iterator[str]:
    """The hosts of DestinationRules that may be about a host, however many rules there are."""
    yield host
    yield host.partition(".")[0]  # the short name of a Service, in its own namespace
    rest = host
    while "." in rest:
        rest = rest.partition(".")[2]
        yield f"*.{rest}"
    yield "*"


def _about(rules: Mapping[str, Sequence[Object]], host: str) -> Iterator[Object]:
    """The DestinationRules, by their hosts, that are about a host of a ServiceEntry."""
    for pattern in dict.fromkeys(_patterns(host)):
        for rule in rules.get(pattern, ()):
            short = pattern != host and not pattern.startswith("*")
            if not short or host.startswith(f"{pattern}.{namespace_of(rule)}.svc."):
                yield rule


def _places(entry: Object, workloads: Callable[[], Mapping[str, list[Object]]]) -> set[str]:
    """The localities of the endpoints that a ServiceEntry has, written in it or selected.

    ``workloads``: the WorkloadEntries by namespace.
    """
    spec = entry["spec"]
    places = {str(one.get("locality", "")) for one in spec.get("endpoints") or ()}
    wanted = (spec.get("workloadSelector") or {}).get("labels") or {}
    if not wanted:
        return places
    return {
        str(one["spec"].get("locality", ""))
        for one in workloads().get(namespace_of(entry), ())
        if wanted.items() <= (one["spec"].get("labels") or {}).items()
    }


def _crash(situation: Situation, cluster: ClusterSnapshot) -> Iterator[Found]:
    mesh_wide = situation.mesh_config(cluster.name).get("localityLbSetting")
    rules: dict[str, list[Object]] = defaultdict(list)
    for rule in cluster.listed(RULE):
        if any(failover_labels(policy, mesh_wide) for policy in policies_of(rule)):
            rules[str(rule["spec"].get("host", ""))].append(rule)

    @cache
    def workloads() -> Mapping[str, list[Object]]:
        found: dict[str, list[Object]] = defaultdict(list)
        for one in read_for_upgrade(cluster, WORKLOAD_ENTRY):
            found[namespace_of(one)].append(one)
        return found

    for entry in cluster.listed(SERVICE_ENTRY):
        spec = entry["spec"]
        if spec.get("resolution") not in DNS or not rules:
            continue
        places = _places(entry, workloads)
        if len(places) < 2:
            continue
        about = {
            (namespace_of(rule), name_of(rule)): (rule, host)
            for host in spec.get("hosts") or ()
            for rule in _about(rules, host)
        }
        for rule, host in about.values():
            if not _meet(situation, cluster, entry, rule):
                continue
            show = shell.then(
                situation.commands.show(cluster.name, "serviceentry", entry),
                situation.commands.show(cluster.name, "destinationrule", rule),
            )
            advice = "until it is mended: take failoverPriority out of the rule, or give all "
            advice += "endpoints one locality, before istiod is upgraded"
            yield Finding(
                f"ServiceEntry {named(entry)} has endpoints in {len(places)} localities by DNS, "
                f"and DestinationRule {named(rule)} a failoverPriority for {host}: istiod "
                "panics whenever it writes that cluster",
                (cluster.name,),
                expected="no failoverPriority for a DNS host with several localities",
                seen=", ".join(sorted(one or "none" for one in places)),
                remedy=shell.with_note(show, advice),
                fault="dns-failover-crash",
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
                f"DestinationRule {named(rule)} begins its failoverPriority with the network, "
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
                f"DestinationRule {named(rule)} orders failover by {', '.join(blind)}, which "
                "endpoints behind the gateway of another network do not have",
                (cluster.name,),
                expected="labels of locality, network or cluster",
                seen=", ".join(blind),
                remedy=shell.with_note(show, told),
                fault="failover-by-pod-labels",
            )


RULES = (
    Rule(
        "dns-failover-crash",
        "A DNS ServiceEntry with several localities has a failoverPriority.",
        Weight.BLOCKS,
        "istiod panics in a loop: no pushes, no injection, no certificates (not mended in any "
        "release known to this version)",
        "ServiceEntries and WorkloadEntries with localities, DestinationRules, mesh configuration",
        (ISSUE + "61857",),
        configured(_crash),
        to=(">=1.30.0",),
    ),
    Rule(
        "network-preferred",
        "Failover is ordered by network first.",
        Weight.NOTE,
        "the network is preferred, not required: another order of failover across networks",
        "DestinationRules, in meshes of several networks",
        (ISSUE + "60829",),
        configured(_network_first),
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
        configured(_blind_labels),
    ),
)
