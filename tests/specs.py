"""Any mesh: specs of every mix of roles and networks."""

from __future__ import annotations

from hypothesis import strategies

from pytest_istio_mc.spec import ClusterSpec, Locality, MeshSpec, Role


@strategies.composite
def meshes(draw: strategies.DrawFn, *, most: int = 7) -> MeshSpec:
    """A valid mesh on up to four networks.

    - Primaries, an external control plane with its config cluster, or both; remotes of any.
    - Or federated primaries.
    """
    federated = draw(strategies.booleans())
    external = not federated and draw(strategies.booleans())
    primaries = draw(strategies.integers(2 if federated else 0 if external else 1, 3))
    clusters = [_cluster(draw, f"primary{number + 1}", Role.PRIMARY) for number in range(primaries)]
    if external:
        clusters.append(_cluster(draw, "external", Role.EXTERNAL))
        clusters.append(_cluster(draw, "config", Role.CONFIG, "external"))
    planes = strategies.sampled_from([one.name for one in clusters if one.runs_istiod])
    fewest = max(0, 2 - sum(cluster.runs_workloads for cluster in clusters))
    remotes = 0 if federated else draw(strategies.integers(fewest, most - len(clusters)))
    clusters += [
        _cluster(draw, f"remote{number + 1}", Role.REMOTE, draw(planes))
        for number in range(remotes)
    ]
    return MeshSpec("any", tuple(draw(strategies.permutations(clusters))), federated=federated)


def _cluster(
    draw: strategies.DrawFn, name: str, role: Role, control_plane: str = ""
) -> ClusterSpec:
    network = f"network{draw(strategies.integers(1, 4))}"
    region = draw(strategies.sampled_from(["", "region1", "region2"]))
    place = Locality(region, "zone1" if region else "")
    return ClusterSpec(name, network, role, control_plane, place)
