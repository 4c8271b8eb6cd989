"""Faults of federated meshes, which share a root, and services by name."""

from __future__ import annotations

from functools import partial

from tests.seeded.changes import change_gateway, restart, set_mesh_config
from tests.seeded.faults import fault
from tests.seeded.mesh import SeededMesh

_fed = partial(fault, topology="federated")
BOTH = ("cluster1", "cluster2")


@_fed("trust-domain-mismatch", check="MC-TRUST-006", clusters=BOTH)
def no_aliases(mesh: SeededMesh) -> None:
    """cluster2 was not told the trust domain of cluster1."""
    set_mesh_config(mesh.kubes["cluster2"], trustDomainAliases=[])


@_fed("fed-remote-secret", check="MC-FEDERATION-002", clusters=BOTH, recorded=True)
def a_remote_secret(mesh: SeededMesh) -> None:
    """Somebody gave cluster1 access to cluster2, as the guide for one mesh says."""
    server = mesh.server_of("cluster2")
    mesh.shell(
        f"istioctl create-remote-secret --context=cluster2 --name=cluster2 --server={server}"
        " | kubectl --context=cluster1 apply -f -"
    )


@_fed("ew-hosts", check="MC-EASTWEST-002", clusters=("cluster2",))
def gateway_for_other_hosts(mesh: SeededMesh) -> None:
    """The gateway of cluster2 passes *.global only, as federated meshes of older releases did."""
    kube = mesh.kubes["cluster2"]
    change_gateway(kube, lambda spec: spec["servers"][0].update(hosts=["*.global"]))


@_fed("fed-dns-capture-off", check="MC-FEDERATION-001", clusters=("cluster1",))
def names_not_resolved(mesh: SeededMesh) -> None:
    """Sidecars of cluster1 resolve no names, so a ServiceEntry's has no address."""
    set_mesh_config(mesh.kubes["cluster1"], defaultConfig={"proxyMetadata": {}})
    restart(mesh.kubes["cluster1"], "app=istiod")
