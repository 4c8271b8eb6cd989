"""Connections to all clusters of a mesh."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from ..eventually import Timeouts
from ..spec import MeshSpec
from .client import Kube


@contextmanager
def connected(spec: MeshSpec, timeouts: Timeouts) -> Iterator[dict[str, Kube]]:
    """A connection to each cluster by its name; closed at the end."""
    wait = timeouts.kube_request
    with ExitStack() as stack:
        kubes = {
            cluster.name: Kube(
                cluster.name, spec.kubeconfig, cluster.context, request_timeout_seconds=wait
            )
            for cluster in spec
        }
        for kube in kubes.values():
            stack.callback(kube.close)
        yield kubes
