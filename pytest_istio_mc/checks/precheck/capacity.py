"""Capacity: what is alone, and would be gone for a moment while it is replaced."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from ... import shell
from ...istio_names import GATEWAY_NAME_LABEL
from ...selectors import matches
from ...snapshot import ClusterSnapshot, Object, labels_of, name_of, namespace_of
from ...verdicts import Finding
from ..judging import Found, each
from .rules import Rule, Situation, Weight, read_for_upgrade

BUDGET = "PodDisruptionBudget"
IN_PLACE = "https://istio.io/latest/docs/setup/upgrade/in-place/"
GATEWAYS = "https://istio.io/latest/docs/setup/additional-setup/gateway/#upgrading-gateways"
BUDGETS = "https://kubernetes.io/docs/tasks/run-application/configure-pdb/"

Group = tuple[str, str, tuple[Object, ...]]
"""What stands behind one name: what it is, its namespace, its running pods."""


def gateways(cluster: ClusterSnapshot) -> Iterator[Group]:
    """The east-west gateways of a cluster."""
    pods = cluster.listed("Pod")
    told: set[tuple[str, ...]] = set()
    for service in cluster.east_west_services():
        wanted = (service["spec"].get("selector") or {}).items()
        behind = tuple(
            pod
            for pod in pods
            if wanted
            and namespace_of(pod) == namespace_of(service)
            and wanted <= labels_of(pod).items()
            and _runs(pod)
        )
        key = tuple(sorted(map(name_of, behind)))
        if behind and key not in told:
            told.add(key)  # a gateway may have several Services
            yield f"gateway {name_of(service)}", namespace_of(service), behind


def istiods(situation: Situation, cluster: ClusterSnapshot) -> Iterator[Group]:
    """The istiods of a cluster, by revision."""
    namespace = situation.snapshot.spec.istio_namespace
    found: dict[str, list[Object]] = {}
    for pod in cluster.listed("Pod", namespace):
        if labels_of(pod).get("app") == "istiod" and _runs(pod):
            found.setdefault(labels_of(pod).get("istio.io/rev", "default"), []).append(pod)
    for revision, pods in sorted(found.items()):
        yield f"istiod of revision {revision}", namespace, tuple(pods)


def _runs(pod: Object) -> bool:
    return bool(
        pod["status"].get("phase") == "Running" and not pod["metadata"].get("deletionTimestamp")
    )


def _groups(situation: Situation, cluster: ClusterSnapshot) -> Iterator[Group]:
    if cluster in situation.planes:
        yield from istiods(situation, cluster)
    if situation.several_networks:
        yield from gateways(cluster)


def _alone(situation: Situation) -> Iterable[Found]:
    def look(cluster: ClusterSnapshot) -> Iterator[Found]:
        for what, namespace, pods in _groups(situation, cluster):
            if len(pods) == 1:
                yield Finding(
                    f"{what} in {cluster.name} is one pod",
                    (cluster.name,),
                    expected="two or more",
                    seen=name_of(pods[0]),
                    remedy=_scale(situation, cluster.name, namespace, pods[0]),
                    fault="single-point",
                )

    return each(_all(situation), look)


def _scale(situation: Situation, cluster: str, namespace: str, pod: Object) -> shell.Remedy:
    labels = labels_of(pod)
    for key in ("istio.io/rev", GATEWAY_NAME_LABEL, "istio", "app"):
        if key in labels and (key != "istio.io/rev" or labels.get("app") == "istiod"):
            chosen = f"{key}={labels[key]}"
            if key == "istio.io/rev":
                chosen = f"app=istiod,{chosen}"
            scale = situation.commands.kubectl(
                cluster, "scale deployment --replicas=2 -l", chosen, namespace=namespace
            )
            return shell.with_note(scale, "and keep it so where it is installed from")
    return shell.note("give its Deployment two replicas where it is installed from")


def _unprotected(situation: Situation) -> Iterable[Found]:
    def look(cluster: ClusterSnapshot) -> Iterator[Found]:
        budgets = read_for_upgrade(cluster, BUDGET)
        for what, namespace, pods in _groups(situation, cluster):
            kept = [
                one
                for one in budgets
                if namespace_of(one) == namespace
                and all(_selected(one, pod) for pod in pods)
                and _keeps(one)
            ]
            if not kept:
                yield Finding(
                    f"{what} in {cluster.name} has no PodDisruptionBudget",
                    (cluster.name,),
                    expected="minAvailable of one or more, for these pods",
                    seen="none",
                    remedy=_budget(situation, cluster.name, namespace, pods[0]),
                    fault="no-disruption-budget",
                )

    return each(_all(situation), look)


def _selected(budget: Object, pod: Object) -> bool:
    selector = budget["spec"].get("selector")
    return selector is not None and matches(selector, labels_of(pod))


def _keeps(budget: Object) -> bool:
    """Whether a budget keeps any pod at all."""
    spec = budget["spec"]
    if "maxUnavailable" in spec:
        return str(spec["maxUnavailable"]) != "100%"
    return str(spec.get("minAvailable", 1)) not in ("0", "0%")


def _budget(situation: Situation, cluster: str, namespace: str, pod: Object) -> shell.Remedy:
    labels = labels_of(pod)
    chosen = {key: labels[key] for key in ("app", "istio") if key in labels}
    if not chosen:
        return shell.note("make a PodDisruptionBudget for these pods, with two replicas behind it")
    name = f"{labels.get('app') or labels['istio']}-at-least-one"
    apply = situation.commands.apply(
        cluster,
        {
            "apiVersion": "policy/v1",
            "kind": BUDGET,
            "metadata": {"name": name},
            "spec": {"minAvailable": 1, "selector": {"matchLabels": chosen}},
        },
        namespace,
    )
    return shell.with_note(apply, "with one replica only it keeps nodes from being drained")


def _all(situation: Situation) -> list[ClusterSnapshot]:
    names = dict.fromkeys(one.name for one in (*situation.planes, *situation.data_planes))
    return [situation.snapshot.clusters[name] for name in names]


_LOOKS_AT = "pods of istiods and, in meshes of several networks, of east-west gateways"
_JUDGES: tuple[Callable[[Situation], Iterable[Found]], ...] = (_alone, _unprotected)

RULES = (
    Rule(
        "single-point",
        "An istiod or an east-west gateway is a single pod.",
        Weight.RISK,
        "while it is replaced no pods are injected, or no traffic crosses that network's gateway",
        _LOOKS_AT,
        (IN_PLACE, GATEWAYS),
        _JUDGES[0],
    ),
    Rule(
        "no-disruption-budget",
        "An istiod or an east-west gateway has no PodDisruptionBudget.",
        Weight.NOTE,
        "a node that is drained meanwhile may take the last of its pods",
        f"{_LOOKS_AT}, and PodDisruptionBudgets",
        (IN_PLACE, BUDGETS),
        _JUDGES[1],
    ),
)
