"""Connections to all clusters of a mesh."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from ..eventually import Timeouts
from ..mesh import Mesh

if TYPE_CHECKING:
    from . import Kube


@contextmanager
def connected(mesh: Mesh, timeouts: Timeouts) -> Iterator[dict[str, Kube]]:
    """A connection to each cluster of the mesh, by cluster name; closed at the end."""
    from . import Kube

    with ExitStack() as stack:
        kubes = {
            cluster.name: Kube(
                cluster.name,
                mesh.spec.kubeconfig,
                cluster.context,
                request_timeout_seconds=timeouts.kube_request,
            )
            for cluster in mesh.spec
        }
        for kube in kubes.values():
            stack.callback(kube.close)
        yield kubes
