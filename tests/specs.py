"""Any mesh: specs of every mix of roles and networks, for properties that must hold of all of them."""

from __future__ import annotations

from hypothesis import strategies

from pytest_istio_mc.spec import ClusterSpec, Locality, MeshSpec, Role


@strategies.composite
def meshes(draw: strategies.DrawFn, *, most: int = 7) -> MeshSpec:
    """A valid mesh: primaries, an external control plane with its config cluster or both, remotes of any of them, on up to four networks;
    or federated meshes."""
    federated = draw(strategies.booleans())
    external = not federated and draw(strategies.booleans())
    primaries = draw(strategies.integers(2 if federated else 0 if external else 1, 3))
    clusters = [
        _cluster(draw, f"primary{number}", Role.PRIMARY) for number in range(1, primaries + 1)
    ]
    if external:
        clusters += [
            _cluster(draw, "external", Role.EXTERNAL),
            _cluster(draw, "config", Role.CONFIG, "external"),
        ]
    planes = [cluster.name for cluster in clusters if cluster.runs_istiod]
    workloads = sum(cluster.runs_workloads for cluster in clusters)
    remotes = (
        0 if federated else draw(strategies.integers(max(0, 2 - workloads), most - len(clusters)))
    )
    for number in range(1, remotes + 1):
        clusters.append(
            _cluster(draw, f"remote{number}", Role.REMOTE, draw(strategies.sampled_from(planes)))
        )
    return MeshSpec("any", tuple(draw(strategies.permutations(clusters))), federated=federated)


def _cluster(
    draw: strategies.DrawFn, name: str, role: Role, control_plane: str = ""
) -> ClusterSpec:
    network = f"network{draw(strategies.integers(1, 4))}"
    region = draw(strategies.sampled_from(["", "region1", "region2"]))
    return ClusterSpec(
        name, network, role, control_plane, Locality(region, "zone1" if region else "")
    )
