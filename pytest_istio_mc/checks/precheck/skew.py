"""Skew: how far the upgrade reaches from what runs, control planes and proxies."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

from ... import shell
from ...errors import ObservationError
from ...snapshot import ClusterSnapshot
from ...verdicts import Finding
from ..judging import Found, Gap, each
from ..releases import Release, release
from .rules import Rule, Situation, Weight

SUPPORTED = "https://istio.io/latest/docs/releases/supported-releases/#control-planedata-plane-skew"
CANARY = "https://istio.io/latest/docs/setup/upgrade/canary/"
IN_PLACE = "https://istio.io/latest/docs/setup/upgrade/in-place/"

Wrong = Callable[[int], bool]
"""Of the minor versions by which the target is ahead (negative: behind), which are wrong."""


def _leap(ahead: int) -> bool:
    return ahead > 2


def _two(ahead: int) -> bool:
    return ahead == 2


def _back(ahead: int) -> bool:
    return ahead < 0


def _planes(situation: Situation, wrong: Wrong, rule: str, remedy: str) -> Iterator[Found]:
    def look(plane: ClusterSnapshot) -> Iterator[Found]:
        if not plane.istiods:
            yield Gap(f'cluster "{plane.name}": no istiod runs, so its version is not known')
        for istiod in plane.istiods:
            found, target = release(istiod.version), situation.target
            if found is None:
                where = f"istiod {istiod.pod} in {plane.name}"
                yield Gap(f"{where} says {istiod.version!r} of its version, which is no release")
                continue
            ahead = target.minors_ahead(found.minor)
            if ahead is None or wrong(ahead):
                yield Finding(
                    f"istiod in {plane.name} is Istio {_minor(found)}, "
                    f"{_distance(ahead)} {_minor(target)}",
                    (plane.name,),
                    expected="one minor version at a time",
                    seen=istiod.version,
                    remedy=shell.note(remedy),
                    fault=rule,
                )

    yield from each(situation.planes, look)


def _proxies(situation: Situation, wrong: Wrong, rule: str) -> Iterator[Found]:
    """What is wrong with the versions of proxies, by cluster and version."""
    target = situation.target
    wanted: dict[tuple[str, str], list[str]] = defaultdict(list)
    distances: dict[tuple[str, str], int | None] = {}
    for found in _versions(situation):
        if isinstance(found, Gap):
            yield found
            continue
        cluster, proxy, version = found
        ahead = target.minors_ahead(version.minor)
        if ahead is None or wrong(ahead):
            wanted[cluster, _minor(version)].append(proxy)
            distances[cluster, _minor(version)] = ahead
    for (cluster, minor), proxies in sorted(wanted.items()):
        namespaces = sorted({proxy.rpartition(".")[2] for proxy in proxies})
        known = cluster in {one.name for one in situation.snapshot.spec}
        restarts = [
            situation.commands.kubectl(cluster, "rollout restart deployment", namespace=namespace)
            for namespace in (namespaces if known else ())
        ]
        first = "first upgrade the control plane to the next minor version; then this restarts them"
        yield Finding(
            f"{len(proxies)} proxies in {cluster} are Istio {minor}, "
            f"{_distance(distances[cluster, minor])} {_minor(target)}",
            (cluster,) if known else (),
            expected=f"{_minor(target)}, or one minor version older",
            seen=", ".join(sorted(proxies)[:5]),
            remedy=shell.with_note(shell.then(*restarts), first) if known else shell.note(first),
            fault=rule,
        )


def _versions(situation: Situation) -> Iterator[tuple[str, str, Release] | Gap]:
    """Every connected proxy with its cluster and release; what is not known, as gaps."""
    for plane in situation.planes:
        for istiod in plane.istiods:
            unknown: list[str] = []
            try:
                rows = istiod.debugged("syncz") or ()
            except ObservationError as error:
                yield Gap(str(error))
                continue
            for row in rows:
                found = release(row.get("istio_version", ""))
                if found is None:
                    unknown.append(row["proxy"])
                else:
                    yield row.get("cluster_id", "") or plane.name, row["proxy"], found
            if unknown:
                some = ", ".join(sorted(unknown)[:3])
                yield Gap(f"{len(unknown)} proxies of {plane.name} tell no version ({some})")


def proxies_before(situation: Situation, version: str) -> Iterator[Found | tuple[str, list[str]]]:
    """Of each cluster the proxies that are older than a release; gaps where nobody can say."""
    older: dict[str, list[str]] = defaultdict(list)
    doubtful: dict[str, list[str]] = defaultdict(list)
    known: dict[str, bool | None] = {}
    for found in _versions(situation):
        if isinstance(found, Gap):
            yield found
            continue
        cluster, proxy, has = found
        if has.text not in known:
            known[has.text] = has.within([f"<{version}"])
        within = known[has.text]
        if within is None:
            doubtful[cluster].append(proxy)
        elif within:
            older[cluster].append(proxy)
    yield from sorted(older.items())
    for cluster, proxies in sorted(doubtful.items()):
        yield Gap(f"{len(proxies)} proxies in {cluster} may or may not be older than {version}")


def _minor(of: Release) -> str:
    return f"{of.minor[0]}.{of.minor[1]}"


def _distance(ahead: int | None) -> str:
    if ahead is None:
        return "another major version than"
    much = f"{abs(ahead)} minor version{'s' if abs(ahead) > 1 else ''}"
    return f"{much} {'before' if ahead > 0 else 'after'}"


def _about_planes(wrong: Wrong, rule: str, remedy: str) -> Callable[[Situation], Iterable[Found]]:
    return lambda situation: _planes(situation, wrong, rule, remedy)


def _about_proxies(wrong: Wrong, rule: str) -> Callable[[Situation], Iterable[Found]]:
    return lambda situation: _proxies(situation, wrong, rule)


RULES = (
    Rule(
        "too-many-minors-at-once",
        "A control plane is three or more minor versions behind the target.",
        Weight.BLOCKS,
        "Istio supports and tests no such step: configuration, certificates and proxies may fail",
        "the versions that istiods report",
        (IN_PLACE, CANARY),
        _about_planes(
            _leap, "too-many-minors-at-once", "upgrade to the minor versions between, one by one"
        ),
    ),
    Rule(
        "two-minors-at-once",
        "A control plane is two minor versions behind the target.",
        Weight.RISK,
        "supported only as a second revision beside the first, never in place",
        "the versions that istiods report",
        (CANARY, IN_PLACE),
        _about_planes(
            _two,
            "two-minors-at-once",
            "install the target as a revision of its own, or upgrade one minor version at a time",
        ),
    ),
    Rule(
        "control-plane-goes-back",
        "A control plane is of a later minor version than the target.",
        Weight.BLOCKS,
        "proxies would be ahead of their control plane, which Istio does not support",
        "the versions that istiods report",
        (SUPPORTED,),
        _about_planes(
            _back, "control-plane-goes-back", "choose a target that is as new as what runs"
        ),
    ),
    Rule(
        "proxies-too-old",
        "Proxies are three or more minor versions behind the target.",
        Weight.BLOCKS,
        "the new control plane would serve proxies that it was never tested with",
        "the versions of connected proxies (/debug/syncz)",
        (SUPPORTED,),
        _about_proxies(_leap, "proxies-too-old"),
    ),
    Rule(
        "proxies-two-behind",
        "Proxies are two minor versions behind the target.",
        Weight.RISK,
        "a control plane may be one minor version ahead of its proxies; two are served only by a "
        "revision of their own until they are restarted",
        "the versions of connected proxies (/debug/syncz)",
        (SUPPORTED, CANARY),
        _about_proxies(_two, "proxies-two-behind"),
    ),
    Rule(
        "proxies-ahead",
        "Proxies are of a later minor version than the target.",
        Weight.BLOCKS,
        "proxies must never be ahead of their control plane",
        "the versions of connected proxies (/debug/syncz)",
        (SUPPORTED,),
        _about_proxies(_back, "proxies-ahead"),
    ),
)
