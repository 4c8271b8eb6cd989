"""Faults of an external control plane.

The istiod in cluster1 serves cluster2, its config cluster, and cluster3.
"""

from __future__ import annotations

from functools import partial

from tests.seeded.changes import SYSTEM, bare, create_anew, remote_secret, restart, set_environment
from tests.seeded.faults import fault
from tests.seeded.mesh import SeededMesh
from tests.seeded.remotes import annotate, change_webhooks

_xc = partial(fault, topology="external-control-plane", starts=False)


@_xc("pr-control-plane-annotation", check="MC-CONTROL-007", clusters=("cluster3", "cluster1"))
def annotated_with_the_cluster_of_the_istiod(mesh: SeededMesh) -> None:
    """The remote names the cluster in which istiod runs.

    istiod carries the name of its config cluster.
    """
    annotate(mesh.kubes["cluster3"], "cluster1")
    restart(mesh.kubes["cluster1"], "app=istiod")
    change_webhooks(mesh.kubes["cluster3"], caBundle="")


@_xc(
    "xc-remote-secret-misplaced",
    check="MC-ACCESS-001",
    clusters=("cluster1", "cluster2", "cluster3"),
    recorded=True,
)
def remote_secret_beside_istiod(mesh: SeededMesh) -> None:
    """The remote secret was applied where istiod runs, not in its config cluster."""
    secret = remote_secret(mesh.kubes["cluster2"], "cluster3")
    mesh.kubes["cluster2"].delete("Secret", secret["metadata"]["name"], SYSTEM)
    create_anew(mesh.kubes["cluster1"], bare(secret))


@_xc("xc-local-secrets", check="MC-CONTROL-010", clusters=("cluster1", "cluster2"), recorded=True)
def secrets_read_beside_istiod(mesh: SeededMesh) -> None:
    """LOCAL_CLUSTER_SECRET_WATCHER is set.

    istiod takes its own access to the config cluster for another member of the mesh.
    """
    set_environment(mesh.kubes["cluster1"], "istiod", LOCAL_CLUSTER_SECRET_WATCHER="true")
    restart(mesh.kubes["cluster1"], "app=istiod")


@_xc("xc-config-rights", check="MC-CONTROL-010", clusters=("cluster1", "cluster2"))
def istiod_without_rights_in_the_config_cluster(mesh: SeededMesh) -> None:
    """istiod lost its rights in its config cluster, and was restarted since."""
    for item in mesh.kubes["cluster2"].list("ClusterRoleBinding"):
        subjects = [(one.get("namespace"), one["name"]) for one in item.get("subjects") or ()]
        if (SYSTEM, "istiod") in subjects:
            mesh.kubes["cluster2"].delete("ClusterRoleBinding", item["metadata"]["name"])
    for pod in mesh.kubes["cluster1"].list("Pod", SYSTEM, labels="app=istiod"):
        mesh.kubes["cluster1"].delete("Pod", pod["metadata"]["name"], SYSTEM)
