"""Providers: where the clusters of a mesh come from."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from ..errors import MeshError
from ..eventually import Timeouts
from ..mesh import Mesh
from ..progress import Progress
from ..spec import MeshSpec

if TYPE_CHECKING:
    from ..snapshot import Snapshot


@dataclass(frozen=True)
class ProvisionRequest:
    """What a provider is asked for.

    ``declared`` says that the user described the mesh in a file, so that nothing is guessed. ``tell_failure`` is to be called, from
    any thread, with what breaks the provider's own clusters while they are used: what is observed from then on means nothing.
    """

    spec: MeshSpec
    run_id: str
    timeouts: Timeouts
    keep: bool = False
    declared: bool = False
    probe_image: str = ""
    tell_failure: Callable[[MeshError], None] = lambda error: None


class Provider(Protocol):
    """Gives a mesh for as long as the context lasts, and undoes what it did."""

    name: str
    summary: str

    def provide(
        self, request: ProvisionRequest, progress: Progress
    ) -> AbstractContextManager[Mesh]:
        """The mesh, with a kubeconfig and a context for every cluster and no probes in it.

        Raises ``UsageProblem`` where the request cannot be met as it stands and ``ProvisionError`` where building or reading the
        mesh failed; then nothing is left behind.
        """
        ...


def known() -> dict[str, Provider]:
    """The providers that come with this package, by the name that ``--mesh-provider`` takes."""
    from .attach import AttachProvider
    from .lab import LabProvider

    return {provider.name: provider for provider in (LabProvider(), AttachProvider())}


@runtime_checkable
class Recorder(Protocol):
    """A provider that brings its own observations: no probes are deployed, and nothing is collected from the clusters."""

    def record(self, mesh: Mesh, progress: Progress) -> Snapshot:
        """What the static checks shall read."""
