"""Configuration: objects of the user's that the target release handles in another way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ... import shell
from ...istio_names import GATEWAY_NAME_LABEL
from ...snapshot import ClusterSnapshot, Object, name_of, namespace_of
from ...verdicts import Finding
from ..cluster_domain import cluster_domain
from ..judging import Found, each
from .known_bad import GATEWAY_API, NEWS, SERVICE_ENTRY
from .rules import Rule, Situation, Weight

RULE = "DestinationRule.networking.istio.io"
ISTIO_GATEWAY = "Gateway.networking.istio.io"

Each = Callable[[Situation, ClusterSnapshot], Iterator[Found]]


def configured(look: Each) -> Callable[[Situation], Iterable[Found]]:
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


def visible(item: Object, otherwise: Iterable[str] = ()) -> frozenset[str]:
    """The namespaces whose proxies know an object; ``*`` stands for all.

    ``otherwise``: what the mesh configuration says for objects that do not say it.
    """
    said = item["spec"].get("exportTo") or list(otherwise) or ["*"]
    return frozenset(namespace_of(item) if one == "." else str(one) for one in said)


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
                and "*" in visible(entry, otherwise)
            ):
                show = situation.commands.show(cluster.name, "serviceentry", entry)
                told = "whichever is meant stays, the other goes or gets another host"
                yield Finding(
                    f"ServiceEntry {named(entry)} and Service {name}.{namespace} have the host "
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
                f"subsets {', '.join(subsets)} of DestinationRule {named(rule)} have a policy "
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
                f"ServiceEntry {named(entry)} has a workloadSelector without labels, which "
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
        some = ", ".join(named(one) for one in rules[:5])
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
                f"Istio Gateway {named(gateway)} adds servers to the Gateway {name} in "
                f"{', '.join(homes)}, which istiod manages: from 1.31 on it does not",
                (cluster.name,),
                expected=f"it is in {', '.join(homes)}",
                seen=namespace_of(gateway),
                remedy=shell.with_note(show, told),
                fault="strict-gateway-merging",
            )


def named(item: Object) -> str:
    return f"{namespace_of(item)}/{name_of(item)}"


RULES = (
    Rule(
        "service-before-entry",
        "A ServiceEntry has the host of a Kubernetes Service of another namespace.",
        Weight.RISK,
        "sidecars prefer the Kubernetes Service (PILOT_SIDECAR_PICK_BEST_SERVICE_NAMESPACE)",
        "ServiceEntries and Services",
        (NEWS + "1.30.x/announcing-1.30/",),
        configured(_service_first),
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
        configured(_subset_tls),
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
        configured(_merged_gateways),
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
        configured(_empty_selector),
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
        configured(_unhealthy),
        to=(">=1.31.0",),
        running=("<1.31.0",),
    ),
)
