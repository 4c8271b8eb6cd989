"""Istio versions as numbers, and MC-CONTROL-006, which compares them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ... import shell
from ...snapshot import ClusterSnapshot, Snapshot
from ...spec import Feature
from ...verdicts import Finding, Verdict
from ..catalogue import check
from ..judging import Found, Gap, each, verdict_from
from ..remedies import Commands

Minor = tuple[int, int]

PRIMARY_SKEW = 1
"""Minor versions by which primaries may differ: a mesh that is upgraded cluster by cluster."""
PROXY_SKEW = 2
"""Minor versions by which a proxy may be older than its control plane; it may never be newer.

From Istio's supported-releases page.
"""

_VERSION = re.compile(r"^v?(\d+)\.(\d+)(?:\.|$|-)")


def minor_of(version: str) -> Minor | None:
    """Major and minor of ``1.31.0-eed52ebb66ad-Clean``; None where the text is no version."""
    match = _VERSION.match(version)
    return (int(match[1]), int(match[2])) if match else None


@check(
    "MC-CONTROL-006",
    "Control planes are within one minor version of each other, and no proxy is newer or more than "
    "two minors older than its istiod.",
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
        if _apart(max(known[newest]), min(minors)) > PRIMARY_SKEW:
            least = _text(min(minors))
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
    minors = _minors(plane)
    if not minors:
        return
    most = max(minors)
    newer: dict[str, list[str]] = {}
    older: dict[str, list[str]] = {}
    for row in _synced(plane):
        minor, cluster = minor_of(row.get("istio_version", "")), row.get("cluster_id", "")
        if minor is None:
            continue
        if minor > most:
            newer.setdefault(cluster, []).append(row["proxy"])
        elif _apart(most, minor) > PROXY_SKEW:
            older.setdefault(cluster, []).append(row["proxy"])
    spec, commands = snapshot.spec, Commands(snapshot)
    served = {one.name for one in spec if spec.control_plane_of(one.name).name == plane.name}
    for word, found in (("newer", newer), ("more than two minors older", older)):
        for cluster, proxies in found.items():
            if cluster not in served:
                continue
            namespaces = sorted({proxy.rpartition(".")[2] for proxy in proxies})
            yield Finding(
                f"{len(proxies)} proxies in {cluster} are {word} than their istiod {_text(most)}",
                tuple(dict.fromkeys((cluster, plane.name))),
                expected=f"{_text(most)} or up to {PROXY_SKEW} minor versions older",
                seen=", ".join(sorted(proxies)[:5]),
                remedy=shell.then(
                    *(
                        commands.kubectl(cluster, "rollout restart deployment", namespace=namespace)
                        for namespace in namespaces
                    )
                ),
                fault="up-proxy-skew",
            )


def _synced(plane: ClusterSnapshot) -> list[dict[str, str]]:
    return [row for istiod in plane.istiods for row in istiod.debug.get("syncz") or ()]


def _apart(newer: Minor, older: Minor) -> int:
    return newer[1] - older[1] if newer[0] == older[0] else 100


def _text(minor: Minor) -> str:
    return f"{minor[0]}.{minor[1]}"
