"""The lab provider: real clusters and Istio, without a container engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import GivenUp, MeshError, ProvisionError, UsageProblem
from ..eventually import Timeouts
from ..lab import releases
from ..mesh import Mesh
from ..progress import Progress
from ..rights import Permission
from ..spec import MeshSpec, with_contexts
from .provider import ProvisionRequest

if TYPE_CHECKING:
    from ..lab.binaries.toolchain import IstioBuild, Toolchain
    from ..lab.lab import Lab
    from ..topologies import ClusterAccess, Topology
    from ..topologies.istio import IstioDistribution

NOTES = (
    (
        "lab: the proxies are upstream Envoy, not Istio's build, "
        "so Istio's own filters (metadata exchange, ALPN, telemetry) are off"
    ),
    "lab: every cluster has one node, and all of them share this machine's processors",
)
"""How the lab differs from a production mesh; every certificate made in the lab says so."""


class LabProvider:
    """``--mesh-provider=lab``, the default."""

    name = "lab"
    summary = (
        "builds real Kubernetes clusters and a real Istio on this machine and removes them again"
    )
    disposable = True
    on_this_machine = True
    istio_versions = releases.ISTIO
    kubernetes_versions = releases.KUBERNETES

    @contextmanager
    def provide(self, request: ProvisionRequest, progress: Progress) -> Iterator[Mesh]:
        """Build, yield, take down; with ``keep``, leave it and say how to remove it."""
        name, spec, topology = f"run-{request.run_id}", request.spec, request.topology
        if topology is None:
            raise UsageProblem(f'topology "{spec.topology}"', "is not known: nothing can build it")
        up = bring_up(
            topology,
            spec,
            name,
            request.timeouts,
            progress,
            istio=request.istio,
            kubernetes=request.kubernetes,
        )
        with up as (lab, mesh):
            lab.when_it_fails(request.tell_failure)
            image = request.probe_image or mesh.probe_image
            yield replace(mesh, run_id=request.run_id, probe_image=image)
            if request.keep:
                lab.detach()
                remove = f"istio-mc lab down --name {name}"
                kept = f'kept: lab "{name}"; kubeconfig {lab.kubeconfig}'
                progress.note(f"{kept}; remove it with: {remove}")


@contextmanager
def bring_up(
    topology: Topology,
    spec: MeshSpec,
    name: str,
    timeouts: Timeouts,
    progress: Progress,
    *,
    audited: bool = False,
    istio: str = "",
    kubernetes: str = "",
) -> Iterator[tuple[Lab, Mesh]]:
    """A lab of that name with the spec's mesh installed.

    - At the end the lab is stopped, unless it is detached by then; after an error, always.
    - ``istio`` and ``kubernetes`` are minor versions of ``lab.releases``, by default the first.
    - ``audited``: its API servers write down every request (``LabPlan.audit_log``).
    - A lab that lost something while in use raises :class:`ProvisionError` at its end: later
      findings may be the lab's fault.
    """
    import yaml

    from ..lab import doctor, homes, lab
    from ..lab.binaries import editions, images
    from ..lab.breakages import BREAKAGES
    from ..lab.leftovers import sweep
    from ..spec_file import document_of

    topology.check(spec)
    lab.check_name(name)
    doctor.require(len(spec.clusters))
    for leftover in sweep():
        progress.note(f"swept: {leftover}")
    tools = editions.ensure(progress, istio, kubernetes)
    within = timeouts.cluster_ready
    running = lab.start(spec, name, tools, progress, within_seconds=within, audited=audited)
    contexts = {cluster.name: cluster.name for cluster in spec}
    mesh = Mesh(
        spec=with_contexts(spec, contexts, str(running.kubeconfig)),
        run_id=name,
        provider=LabProvider.name,
        probe_image=images.PYTHON,
        capabilities=BREAKAGES,
        controls=str(running.plan.home),
        notes=NOTES,
        permissions=tuple(Permission),
        versions={cluster.name: dict(tools.versions) for cluster in spec},
    )
    specification = yaml.safe_dump(document_of(mesh.spec), sort_keys=False)
    (running.plan.home / homes.MESH_SPEC).write_text(specification)
    try:
        _install(topology, mesh.spec, running, tools, timeouts, progress)
        running.wait_ready()
        yield running, mesh
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
    distribution = _distribution(tools, tools.istio[0])
    with reached(running, spec, timeouts) as clusters:
        topology.install(spec, clusters, distribution, progress, timeouts=timeouts)


@contextmanager
def reached(running: Lab, spec: MeshSpec, timeouts: Timeouts) -> Iterator[dict[str, ClusterAccess]]:
    """Access to the lab's clusters, for as long as the lab is whole.

    At the end, whatever still works for a cluster ends with its next request.
    """
    from ..kube.connecting import connected
    from ..topologies.access import ClusterAccess

    with connected(spec, timeouts) as kubes:
        config = spec.kubeconfig

        def give_up(failure: MeshError) -> None:
            for kube in kubes.values():
                kube.give_up(failure)

        try:
            running.when_it_fails(give_up)
            yield {
                one.name: ClusterAccess(
                    one.name, config, one.context, node.peer_server, kubes[one.name]
                )
                for one, node in zip(spec, running.plan.nodes, strict=True)
            }
        finally:
            # after an error or Ctrl-C work for other clusters ends with its next request
            for kube in kubes.values():
                over = ProvisionError(f'cluster "{kube.name}"', "the work on it is over")
                kube.give_up(over)


def distributions(running: Lab, progress: Progress) -> dict[str, IstioDistribution]:
    """The Istios whose images a lab's nodes have, by minor version, first the one installed."""
    from ..lab.binaries import editions

    installed = running.plan.istio[0] if running.plan.istio else ""
    tools = editions.ensure(progress, installed)
    return {build.minor: _distribution(tools, build) for build in tools.istio}


def _distribution(tools: Toolchain, build: IstioBuild) -> IstioDistribution:
    from ..lab.binaries import images
    from ..lab.istio_settings import LAB_SETTINGS
    from ..topologies.istio import IstioDistribution

    return IstioDistribution(
        istioctl=build.istioctl,
        hub=images.ISTIO_HUB,
        tag=build.tag,
        cache=tools.home.parent / "rendered",
        settings=LAB_SETTINGS,
    )
