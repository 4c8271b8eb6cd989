"""Sameness: MC-SERVICE-005, rules about shared services are the same in every primary."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from ... import shell
from ...selectors import matches
from ...snapshot import Object, Snapshot, name_of, namespace_of
from ...spec import Feature
from ...verdicts import Finding, Verdict, Weight
from ..catalogue import check
from ..judging import Found, names
from ..remedies import Commands
from .blame import judge
from .hosts import covers
from .routes import MESH
from .view import DEMAND, POLICY, ROUTE, RULE, View, plural
from .views import views

_COMPARED = (ROUTE, RULE, DEMAND, POLICY)


@check(
    "MC-SERVICE-005",
    "Rules and policies about services that several primaries share are the same in each of them.",
    spec_url="https://istio.io/latest/docs/ops/configuration/traffic-management/multicluster/",
    requires=(Feature.SHARED_SERVICES, Feature.MULTI_PRIMARY),
)
def rules_are_everywhere(snapshot: Snapshot) -> Verdict:
    """Each primary reads its own cluster's rules only.

    What differs is a risk, told by its effect: it may be meant. What fails because of it
    is told by the other checks.
    """
    count = 0
    every: list[View] = []

    def look(view: View) -> Iterator[Found]:
        nonlocal count
        if not every:
            every.extend(views(snapshot))
        others = [one for one in every if one.plane != view.plane]
        for kind in _COMPARED:
            known = [_by_name(one, kind) for one in others]
            for item in view.users(kind):
                count += 1
                yield from _differing(view, kind, item, list(zip(others, known, strict=True)))

    return judge(snapshot, look, lambda: f"{count} rules were looked for in every primary")


def _by_name(view: View, kind: str) -> dict[tuple[str, str], Object]:
    return {(namespace_of(one), name_of(one)): one for one in view.users(kind)}


def _differing(
    view: View,
    kind: str,
    item: Object,
    others: Sequence[tuple[View, dict[tuple[str, str], Object]]],
) -> Iterator[Finding]:
    key = (namespace_of(item), name_of(item))
    for other, known in others:
        copy = known.get(key)
        if copy is not None and _same(copy, item):
            continue
        # of two copies that differ, the first primary's is told
        if copy is not None and other.plane.name < view.plane.name:
            continue
        if not (effect := _effect(kind, item, view, other)):
            continue
        what = "is not there" if copy is None else "says something else there"
        commands = Commands(view.snapshot)
        look = commands.kubectl(
            view.config.name, "get", f"{plural(kind)}/{key[1]}", "-o", "yaml", namespace=key[0]
        )
        yield Finding(
            f"{view.where(kind, item)} {what} in {other.config.name}: {effect}",
            (view.config.name, other.config.name),
            expected=f"the same in {view.config.name} and {other.config.name}",
            seen=f"{other.config.name}: {'none' if copy is None else 'another spec'}",
            remedy=shell.with_note(look, f"apply it to {other.config.name}, too, if that is meant"),
            fault="rule-one-primary",
            weight=Weight.RISK,
        )


def _same(one: Object, other: Object) -> bool:
    def text(item: Object) -> str:
        return json.dumps(item["spec"], sort_keys=True)

    return text(one) == text(other)


def _effect(kind: str, item: Object, view: View, other: View) -> str:
    """What it means where the other control plane is; empty where it concerns nothing there."""
    where = names(other.served)
    if kind in (ROUTE, RULE):
        spec = item["spec"]
        if kind == ROUTE and MESH not in (spec.get("gateways") or (MESH,)):
            return ""
        written = spec.get("hosts") or () if kind == ROUTE else (spec.get("host", ""),)
        hosts = [view.resolved(str(one), item) for one in written]
        if not any(_shared(host, other) for host in hosts):
            return ""
        told = names(hosts)
        if kind == ROUTE:
            return f"callers in {where} are not routed by it to {told}"
        return f"callers in {where} use {told} without its subsets and settings"
    namespace, selector = namespace_of(item), item["spec"].get("selector") or {}
    everywhere = namespace == view.root
    for cluster in other.served:
        pods = other.pods(cluster)
        found = pods.all if everywhere else pods.by_namespace.get(namespace, ())
        if any(one.has_sidecar and matches(selector, one.labels) for one in found):
            demand = kind == DEMAND
            what = "take what they take by default" if demand else "are not protected by it"
            return f"pods in {where} {what}"
    return ""


def _shared(host: str, other: View) -> bool:
    if host.startswith("*"):
        return any(covers(host, one.host) for one in other.of_users)
    return host in other.services
