"""Identity: which cluster and network proxies say they are of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from ... import shell
from ...istio_names import NETWORK_LABEL
from ...snapshot import ClusterSnapshot, Object, labels_of, name_of, namespace_of
from ...verdicts import Finding
from ..judging import Found, Gap, each
from .known_bad import ISSUE
from .rules import Rule, Situation, Weight, read_for_upgrade

WITHOUT_NETWORK = "PodWithoutNetwork"
"""In a snapshot of a precheck: pods with a sidecar and without the label of a network."""

ALIASES = "https://istio.io/latest/docs/reference/commands/pilot-discovery/"


def _effect(situation: Situation) -> str:
    if situation.target.minor >= (1, 30):
        return (
            "from 1.30 on such a proxy goes through gateways even to pods of its own cluster, and "
            "fails where its own gateway opens no port for that"
        )
    return "such a proxy dials pods of other networks directly, which nothing answers"


def _sidecars(situation: Situation) -> Iterable[Found]:
    if not situation.endpoints_behind_gateways:
        return ()

    def look(cluster: ClusterSnapshot) -> Iterator[Found]:
        by_namespace: dict[str, list[Object]] = defaultdict(list)
        for pod in read_for_upgrade(cluster, WITHOUT_NETWORK):
            by_namespace[namespace_of(pod)].append(pod)
        gateways = [
            one
            for one in cluster.proxies
            if one.kind == "east-west" and not one.failures and not one.metadata.get("NETWORK")
        ]
        for proxy in gateways:
            by_namespace.setdefault(proxy.namespace, [])
        if not by_namespace:
            return
        pods = [pod for found in by_namespace.values() for pod in found]
        count = len(pods) + len(gateways)
        restarts = shell.then(
            *(
                situation.commands.kubectl(
                    cluster.name, "rollout restart deployment", namespace=namespace
                )
                for namespace in sorted(by_namespace)
            )
        )
        told = "once the injector gives the network (global.network); pods of Jobs and of other "
        told += "kinds restart by their owners"
        yield Finding(
            f"{count} proxies in {cluster.name} are without a network: {_effect(situation)}",
            (cluster.name,),
            expected=f"the label {NETWORK_LABEL} on every pod with a sidecar",
            seen=", ".join(f"{namespace_of(pod)}/{name_of(pod)}" for pod in pods[:5])
            or ", ".join(f"{one.namespace}/{one.pod}" for one in gateways[:5]),
            remedy=shell.with_note(restarts, told),
            fault="sidecars-without-network",
        )

    return each(situation.data_planes, look)


def _injectors(situation: Situation) -> Iterable[Found]:
    if not situation.endpoints_behind_gateways:
        return ()

    def look(cluster: ClusterSnapshot) -> Iterator[Found]:
        spec = situation.snapshot.spec
        namespace = cluster.found("Namespace", spec.istio_namespace)
        wanted = labels_of(namespace).get(NETWORK_LABEL, "") if namespace else ""
        for item in cluster.listed("ConfigMap", spec.istio_namespace):
            values = item["data"].get("values")
            if values is None or values.get("network"):
                continue
            urls = [
                _path(one)
                for webhook in cluster.listed("MutatingWebhookConfiguration")
                for one in webhook["webhooks"]
            ]
            if wanted and not any(f"/net/{wanted}" in url for url in urls):
                yield Finding(
                    f"{name_of(item)} of {cluster.name} gives no network, and the namespace says "
                    f"{wanted}: {_effect(situation)}",
                    (cluster.name,),
                    expected=f"global.network {wanted}",
                    seen="none",
                    remedy=shell.note(
                        f"install istiod with global.network={wanted}, then restart all workloads"
                    ),
                    fault="injector-without-network",
                )

    return each(situation.data_planes, look)


def _path(webhook: Any) -> str:
    client = webhook.get("clientConfig") or {}
    return str((client.get("service") or {}).get("path") or client.get("url") or "")


def _strangers(situation: Situation) -> Iterable[Found]:
    """Connected proxies of a cluster id that no istiod there knows."""

    def look(plane: ClusterSnapshot) -> Iterator[Found]:
        for istiod in plane.istiods:
            listed = istiod.debugged("clusterz") or ()
            rows = istiod.debugged("syncz") or ()
            known = {str(one["id"]) for one in listed} | {istiod.own_cluster}
            aliases = _aliases(plane, istiod.pod)
            strange: dict[str, list[str]] = defaultdict(list)
            for row in rows:
                if (said := row.get("cluster_id", "")) and said not in known:
                    strange[said].append(row["proxy"])
            for said, proxies in sorted(strange.items()):
                if aliases is None:
                    yield Gap(
                        f"{len(proxies)} proxies of {plane.name} say that they are in {said!r}; "
                        "whether istiod has that alias was not recorded"
                    )
                elif said not in aliases:
                    told = (
                        f"restart them, or start istiod with --clusterAliases={said}={plane.name}"
                    )
                    yield Finding(
                        f"{len(proxies)} proxies of {plane.name} say that they are in {said!r}, "
                        "which is neither the name nor an alias of a cluster that istiod reads",
                        (plane.name,),
                        expected=", ".join(sorted(known | set(aliases))),
                        seen=", ".join(sorted(proxies)[:5]),
                        remedy=shell.note(told),
                        fault="unknown-cluster-id",
                    )

    return each(situation.planes, look)


def _aliases(plane: ClusterSnapshot, pod: str) -> tuple[str, ...] | None:
    """The aliases that an istiod was started with; None where they were not recorded."""
    for item in plane.listed("Pod"):
        if name_of(item) == pod:
            for container in item["spec"].get("containers") or ():
                if container.get("name") == "discovery" and "clusterAliases" in container:
                    return tuple(container["clusterAliases"])
    return None


def _shares(situation: Situation) -> Iterable[Found]:
    if not situation.endpoints_behind_gateways:
        return ()

    def look(cluster: ClusterSnapshot) -> Iterator[Found]:
        services = [one for one in cluster.listed("Service") if labels_of(one).get(NETWORK_LABEL)]
        by_network: dict[str, list[str]] = defaultdict(list)
        for one in services:
            network = labels_of(one)[NETWORK_LABEL]
            by_network[network].append(f"{namespace_of(one)}/{name_of(one)}")
        for network, named in sorted(by_network.items()):
            if len(named) > 1:
                told = "for a canary use a second Deployment behind the one Service instead"
                yield Finding(
                    f"{cluster.name} has {len(named)} gateways of {network}: each gets an equal "
                    "share of its traffic, there are no weights",
                    (cluster.name,),
                    expected="known: both carry traffic from the first moment",
                    seen=", ".join(sorted(named)),
                    remedy=shell.note(told),
                    fault="gateways-share-equally",
                )

    return each(situation.data_planes, look)


RULES = (
    Rule(
        "sidecars-without-network",
        "Proxies say no network in a mesh with gateways.",
        Weight.RISK,
        "to 1.30 or later: hairpins through, or fails at, its own cluster's gateway; before: dials "
        "other networks directly",
        "labels of injected pods, and the gateways' own metadata",
        (ISSUE + "58613",),
        _sidecars,
    ),
    Rule(
        "injector-without-network",
        "An injector gives no network, though the namespace of istiod has one.",
        Weight.RISK,
        "every pod that is restarted from now on is without a network",
        "the injectors' values and webhooks, and the label of istiod's namespace",
        (ISSUE + "58613",),
        _injectors,
    ),
    Rule(
        "unknown-cluster-id",
        "Proxies say that they are in a cluster that istiod knows neither by name nor by alias.",
        Weight.RISK,
        "their requests for configuration or certificates are refused once they reconnect",
        "connected proxies, the clusters that istiod reads, and its --clusterAliases",
        (ISSUE + "54764", ISSUE + "56022", ALIASES),
        _strangers,
    ),
    Rule(
        "gateways-share-equally",
        "A network has several east-west gateway Services in one cluster.",
        Weight.NOTE,
        "a gateway that was added as a canary carries its full share at once",
        "Services with the label of a network",
        (ISSUE + "53690",),
        _shares,
    ),
)
