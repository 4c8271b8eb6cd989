"""Istio versions as numbers, and MC-CONTROL-006, which compares them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from ... import shell
from ...snapshot import ClusterSnapshot, Snapshot
from ...spec import Feature
from ...verdicts import Finding, Verdict
from ..catalogue import check
from ..judging import Found, Gap, each, verdict_from
from ..releases import Minor, minor_of
from ..remedies import Commands

PRIMARY_SKEW = 1
"""Minor versions by which primaries may differ: a mesh that is upgraded cluster by cluster."""
PROXY_SKEW = 1
"""Minor versions by which a proxy may be older than its control plane; it may never be newer.

"The control plane can be one version ahead of the data plane" (supported-releases page).
"""
LEAP = 2
"""Minor versions that a new revision may be ahead, beside the old one (page "Canary Upgrades")."""


@check(
    "MC-CONTROL-006",
    "Control planes are within one minor version of each other, and no proxy is newer or more than "
    "one minor version older than its istiod.",
    spec_url="https://istio.io/latest/docs/releases/supported-releases/#control-planedata-plane-skew",
    requires=(Feature.CROSS_CLUSTER,),
    explained_by=("MC-CONTROL-010",),
)
def supported_skew(snapshot: Snapshot) -> Verdict:
    """Versions as the running binaries report them."""
    planes = [snapshot.clusters[plane.name] for plane in snapshot.spec.control_planes]
    proxies = sum(len(_synced(plane)) for plane in planes)
    versions = sorted({istiod.version for plane in planes for istiod in plane.istiods})

    def everything() -> Iterator[Found]:
        yield from each(planes, _unknown)
        yield from each([planes], lambda all_planes: _primaries(snapshot, all_planes))
        yield from each(planes, lambda plane: _proxies(snapshot, plane))

    return verdict_from(
        everything(),
        f"istiod {', '.join(versions)} in {len(planes)} clusters serves {proxies} proxies within "
        "the supported skew",
    )


def _unknown(plane: ClusterSnapshot) -> Iterator[Found]:
    if not plane.istiods:
        yield Gap(f'cluster "{plane.name}": no istiod runs, so its version is not known')
    for istiod in plane.istiods:
        where = f'istiod {istiod.pod} in "{plane.name}"'
        if not istiod.version:
            errors = [one.error for one in istiod.failures if one.what == "metrics"]
            reason = errors[0] if errors else "it answered nothing"
            yield Gap(f"{where} does not say its version: {reason}")
        elif minor_of(istiod.version) is None:
            yield Gap(f"{where} reports the version {istiod.version!r}, which is no release")


def _minors(plane: ClusterSnapshot) -> list[Minor]:
    return [minor for istiod in plane.istiods if (minor := minor_of(istiod.version))]


def _primaries(snapshot: Snapshot, planes: list[ClusterSnapshot]) -> Iterator[Found]:
    known = {plane.name: minors for plane in planes if (minors := _minors(plane))}
    if len(known) < 2:
        return
    newest = max(known, key=lambda name: max(known[name]))
    most = _text(max(known[newest]))
    for name, minors in known.items():
        # where several revisions run, the newest says how far the cluster has come
        if name != newest and _apart(max(known[newest]), max(minors)) > PRIMARY_SKEW:
            least = _text(max(minors))
            upgrade = Commands(snapshot).istioctl(name, "upgrade")
            yield Finding(
                f"{newest} runs Istio {most} and {name} {least}: outside the tested skew",
                (name, newest),
                expected=f"at most {PRIMARY_SKEW} minor version apart",
                seen=f"{name} {least}, {newest} {most}",
                remedy=shell.with_note(upgrade, "one minor version at a time"),
                fault="up-primaries-skew",
            )


def _proxies(snapshot: Snapshot, plane: ClusterSnapshot) -> Iterator[Found]:
    """Each proxy beside the istiod that it is connected to: revisions have proxies of their own."""
    wrong: dict[tuple[str, int, Minor], list[str]] = defaultdict(list)
    for istiod in plane.istiods:
        own = minor_of(istiod.version)
        for row in istiod.debug.get("syncz") or () if own else ():
            minor, cluster = minor_of(row.get("istio_version", "")), row.get("cluster_id", "")
            if own is None or minor is None or minor == own:
                continue
            behind = -1 if minor > own else _apart(own, minor)
            if not 0 <= behind <= PROXY_SKEW:
                wrong[cluster, behind, own].append(row["proxy"])
    spec, commands = snapshot.spec, Commands(snapshot)
    served = {one.name for one in spec if spec.control_plane_of(one.name).name == plane.name}
    for (cluster, behind, own), proxies in wrong.items():
        if cluster not in served:
            continue
        namespaces = sorted({proxy.rpartition(".")[2] for proxy in proxies})
        than = f"{_distance(behind)} their istiod {_text(own)}"
        yield Finding(
            f"{len(proxies)} proxies in {cluster} are {than}",
            tuple(dict.fromkeys((cluster, plane.name))),
            expected=f"{_text(own)} or {PROXY_SKEW} minor version older",
            seen=", ".join(sorted(proxies)[:5]),
            remedy=shell.then(
                *(
                    commands.kubectl(cluster, "rollout restart deployment", namespace=namespace)
                    for namespace in namespaces
                )
            ),
            fault="up-proxy-skew",
        )


def _distance(behind: int) -> str:
    if behind < 0:
        return "newer than"
    if behind == LEAP:
        return "two minor versions older (supported only as a revision jump) than"
    return "three or more minor versions older than"


def _synced(plane: ClusterSnapshot) -> list[dict[str, str]]:
    return [row for istiod in plane.istiods for row in istiod.debug.get("syncz") or ()]


def _apart(newer: Minor, older: Minor) -> int:
    return newer[1] - older[1] if newer[0] == older[0] else 100


def _text(minor: Minor) -> str:
    return f"{minor[0]}.{minor[1]}"
