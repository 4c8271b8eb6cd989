"""The lab provider: builds real clusters with a real Istio on this machine, without a container engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import GivenUp, MeshError, ProvisionError
from ..eventually import Timeouts
from ..mesh import Mesh
from ..progress import Progress
from ..spec import MeshSpec, with_contexts
from . import ProvisionRequest

if TYPE_CHECKING:
    from ..lab.binaries.toolchain import Toolchain
    from ..lab.lab import Lab
    from ..topologies import Topology

NOTES = (
    "lab: the proxies are upstream Envoy, not Istio's build, so Istio's own filters (metadata exchange, ALPN, telemetry) are off",
    "lab: every cluster has one node, and all of them share this machine's processors",
)
"""What differs between the lab and a production mesh; every certificate made in the lab says so."""


class LabProvider:
    """``--mesh-provider=lab``, the default."""

    name = "lab"
    summary = (
        "builds real Kubernetes clusters and a real Istio on this machine and removes them again"
    )

    @contextmanager
    def provide(self, request: ProvisionRequest, progress: Progress) -> Iterator[Mesh]:
        """Build, yield, take down (or, with ``keep``, leave it and say how to remove it)."""
        name = f"run-{request.run_id}"
        with bring_up(request.spec, name, request.timeouts, progress) as (lab, mesh):
            lab.when_it_fails(request.tell_failure)
            yield replace(
                mesh, run_id=request.run_id, probe_image=request.probe_image or mesh.probe_image
            )
            if request.keep:
                lab.detach()
                progress.note(
                    f'kept: lab "{name}"; kubeconfig {lab.kubeconfig}; remove it with: istio-mc lab down --name {name}'
                )


@contextmanager
def bring_up(
    spec: MeshSpec, name: str, timeouts: Timeouts, progress: Progress
) -> Iterator[tuple[Lab, Mesh]]:
    """A lab of that name with the spec's mesh installed.

    At the end the lab is stopped unless it is detached by then; after an error it is stopped always. A lab that lost something while
    it was in use raises :class:`ProvisionError` at its end: what was found in it since then may be the lab's fault.
    """
    from .. import topologies
    from ..lab import doctor, lab
    from ..lab.binaries import images, toolchain
    from ..lab.breakages import BREAKAGES
    from ..lab.leftovers import sweep

    topology = topologies.known()[spec.topology]
    topology.check(spec)
    lab.check_name(name)
    doctor.require(len(spec.clusters))
    for leftover in sweep():
        progress.note(f"swept: {leftover}")
    tools = toolchain.ensure(progress)
    running = lab.start(spec, name, tools, progress, within_seconds=timeouts.cluster_ready)
    located = with_contexts(
        spec, {cluster.name: cluster.name for cluster in spec}, str(running.kubeconfig)
    )
    try:
        _install(topology, located, running, tools, timeouts, progress)
        running.wait_ready()
        yield (
            running,
            Mesh(
                spec=located,
                run_id=name,
                provider=LabProvider.name,
                probe_image=images.PYTHON,
                capabilities=BREAKAGES,
                controls=str(running.plan.home),
                notes=NOTES,
                versions={cluster.name: dict(tools.versions) for cluster in spec},
            ),
        )
    except BaseException as error:
        failure = running.failure
        running.stop()
        if failure and failure is not error and isinstance(error, MeshError | GivenUp):
            raise failure from error
        raise
    if not running.plan.detached:
        failure = running.failure
        with progress.step("lab taken down"):
            running.stop()
        if failure:
            raise failure


def _install(
    topology: Topology,
    spec: MeshSpec,
    running: Lab,
    tools: Toolchain,
    timeouts: Timeouts,
    progress: Progress,
) -> None:
    from ..kube import Kube
    from ..lab.binaries import images
    from ..lab.istio_settings import LAB_SETTINGS
    from ..topologies.access import ClusterAccess
    from ..topologies.istio import IstioDistribution

    distribution = IstioDistribution(
        istioctl=tools.bin / "istioctl",
        hub=images.ISTIO_HUB,
        tag=images.ISTIO_TAG,
        cache=tools.home.parent / "rendered",
        settings=LAB_SETTINGS,
    )
    with ExitStack() as closing:
        clusters = {}
        for cluster, node in zip(spec, running.plan.nodes, strict=True):
            kube = Kube(
                cluster.name,
                spec.kubeconfig,
                cluster.context,
                request_timeout_seconds=timeouts.kube_request,
            )
            closing.callback(kube.close)
            # after an error or Ctrl-C work for other clusters may still be under way; it ends with its next request
            closing.callback(
                kube.give_up,
                ProvisionError(f'cluster "{cluster.name}"', "the installation is over"),
            )
            clusters[cluster.name] = ClusterAccess(
                cluster.name, spec.kubeconfig, cluster.context, node.peer_server, kube
            )

        def give_up(failure: MeshError) -> None:
            for access in clusters.values():
                access.kube.give_up(failure)

        running.when_it_fails(give_up)
        topology.install(spec, clusters, distribution, progress, timeouts=timeouts)
