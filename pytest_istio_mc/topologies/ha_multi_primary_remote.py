"""High availability: several regions, each with a primary and its remotes.

See https://istio.io/latest/docs/ops/deployment/deployment-models/, section "Availability with
multiple control planes".

- A region is a network: within it pods reach each other directly.
- Its primary's istiod serves the region's remotes.
- Every istiod watches all clusters: services are shared across regions, through the gateway of the
  target's region.
- Losing a primary leaves the other regions' control planes untouched.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import partial

from ..spec import ClusterSpec, MeshSpec, Role
from ..together import side_by_side
from . import istio, operators, steps
from .topology import Topology


def _network(region: int, _number: int) -> str:
    return f"network{region}"


def _clusters(number: int) -> Iterator[ClusterSpec]:
    """``cluster1`` is the primary of ``region1``, the next are its remotes.

    The second half is ``region2``.
    """
    half = (number + 1) // 2
    for region, numbers in ((1, range(1, half + 1)), (2, range(half + 1, number + 1))):
        yield from steps.primary_with_remotes(numbers, partial(_network, region), region=region)


def _build(build: steps.Build) -> None:
    """Every istiod then injects in its region and has synced all clusters."""
    with build.progress.step(
        "control planes in the primaries, and what leads to them in their remotes"
    ):
        side_by_side(build.start, build.everywhere)
    with build.progress.step("remote secrets and the regions' gateways"):
        side_by_side(lambda cluster: _join(build, cluster), build.everywhere)
    with build.progress.step("endpoint discovery across clusters"):
        side_by_side(build.verify_gateway, build.with_istiod)
        side_by_side(build.verify_control_plane, build.with_istiod)


def _join(build: steps.Build, cluster: ClusterSpec) -> None:
    """A primary opens its region's gateway to services and istiod.

    From then on a remote gets sidecars.
    """
    build.enable_endpoint_discovery(cluster)
    if cluster.role is Role.PRIMARY:
        build.wait_for_istiod(cluster)
        build.install_gateway(
            cluster, *operators.expose_istiod(build.spec), istio.cross_network_gateway(build.spec)
        )
    else:
        build.wait_for_injection(cluster)


def _problems(spec: MeshSpec) -> Iterator[str]:
    """Two or more primaries, each with remotes, a region and a network."""
    primaries = [cluster for cluster in spec if cluster.role is Role.PRIMARY]
    if len(primaries) < 2:
        yield f"{len(primaries)} primary; this topology has two or more, so that one can be lost"
    for what, places in (
        ("network", [one.network for one in primaries]),
        ("region", [one.locality.region for one in primaries]),
    ):
        shared: dict[str, list[str]] = defaultdict(list)
        for primary, place in zip(primaries, places, strict=True):
            shared[place].append(primary.name)
        for place, found in shared.items():
            if what == "region" and not place:
                yield f"{', '.join(found)}: no region is set; here every primary has one of its own"
            elif len(found) > 1:
                names = ", ".join(found)
                yield f'primaries {names} are in one {what}, "{place}"; here each has its own'
    for primary in primaries:
        if spec.served_by(primary) == (primary,):
            yield f'primary "{primary.name}" serves no remote'
    for cluster in spec:
        if cluster.role is Role.REMOTE:
            yield from _astray(spec, cluster)
        elif cluster.role is not Role.PRIMARY:
            yield steps.neither_primary_nor_remote(cluster)
    yield from steps.not_one_mesh(spec)


def _astray(spec: MeshSpec, remote: ClusterSpec) -> Iterator[str]:
    """A remote belongs where its primary is: there is the only gateway."""
    primary = next((cluster for cluster in spec if cluster.name == remote.control_plane), None)
    if primary is None:
        plane = remote.control_plane
        yield f'remote "{remote.name}" is served by "{plane}", which is not in the spec'
        return
    if remote.network != primary.network:
        yield (
            f'remote "{remote.name}" is on "{remote.network}", '
            f'its primary "{primary.name}" on "{primary.network}"; '
            "here a network has one gateway, its primary's"
        )
    if remote.locality.region != primary.locality.region:
        yield (
            f'remote "{remote.name}" is in region "{remote.locality.region}", '
            f'its primary in "{primary.locality.region}"'
        )


HA_MULTI_PRIMARY_REMOTE = Topology(
    name="ha-multi-primary-remote",
    summary="Regions with a primary and remotes each; direct traffic within a region, "
    "east-west gateways between regions.",
    documentation="https://istio.io/latest/docs/ops/deployment/deployment-models/"
    "#availability-with-multiple-control-planes",
    clusters=_clusters,
    problems=_problems,
    build=_build,
    least=4,
    needs="two regions with a primary and a remote each",
)
