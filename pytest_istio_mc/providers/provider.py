"""Provider: what gives the clusters of a mesh, and what it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from ..errors import MeshError
from ..eventually import Timeouts
from ..mesh import Mesh
from ..progress import Progress
from ..spec import MeshSpec

if TYPE_CHECKING:
    from ..snapshot import Snapshot
    from ..topologies import Topology


@dataclass(frozen=True)
class ProvisionRequest:
    """What a provider is asked for.

    - ``topology`` builds the mesh of ``spec``; None where nobody knows it, as of a recorded mesh.
    - ``declared``: the user described the mesh in a file, so nothing is to be guessed.
    - ``istio`` and ``kubernetes`` are the minor versions to build; empty where it chooses.
    - ``tell_failure`` is to be called, from any thread, with what breaks the provider's own
      clusters while they are used: observations from then on mean nothing.
    """

    spec: MeshSpec
    run_id: str
    timeouts: Timeouts
    keep: bool = False
    declared: bool = False
    probe_image: str = ""
    istio: str = ""
    kubernetes: str = ""
    tell_failure: Callable[[MeshError], None] = lambda error: None
    topology: Topology | None = None


class Provider(Protocol):
    """Gives a mesh while the context lasts, then undoes what it did.

    It may have attributes more, each False or empty where it is missing:

    - ``disposable``: its clusters end with the run, with everything in them. Then checks may break
      them without ``--mesh-disruptive``, and ``--mesh-contexts`` is refused.
    - ``on_this_machine``: its clusters share the machine that runs the tests. Then live checks
      excuse what goes wrong while the machine is overloaded.
    - ``istio_versions``, ``kubernetes_versions``: the minor versions that it can build, first the
      one that it builds unasked. Then --mesh-istio and --mesh-kubernetes choose.
    """

    name: str
    summary: str

    def provide(
        self, request: ProvisionRequest, progress: Progress
    ) -> AbstractContextManager[Mesh]:
        """The mesh, without probes in it.

        - Every cluster has a kubeconfig and a context.
        - Raises ``UsageProblem`` where the request cannot be met as it stands.
        - Raises ``ProvisionError`` where building or reading the mesh failed; then nothing is left
          behind.
        """
        ...


@runtime_checkable
class Recorder(Protocol):
    """A provider with observations of its own.

    No probes are deployed, and nothing is collected from the clusters.
    """

    def record(self, mesh: Mesh, progress: Progress) -> Snapshot:
        """The snapshot for the static checks to read."""


def is_disposable(provider: Provider) -> bool:
    """Whether the provider's clusters end with the run."""
    return bool(getattr(provider, "disposable", False))


VERSIONED = ("istio", "kubernetes")
"""The projects of which a provider may build several versions."""


def versions_of(provider: Provider, project: str) -> tuple[str, ...]:
    """The minor versions of a project that the provider can build; empty where it builds none."""
    return tuple(getattr(provider, f"{project}_versions", ()))


def as_provided(mesh: Mesh, provider: Provider) -> Mesh:
    """The mesh with what its provider says of the clusters."""
    here = bool(getattr(provider, "on_this_machine", False))
    return replace(mesh, disposable=is_disposable(provider), on_this_machine=here)
