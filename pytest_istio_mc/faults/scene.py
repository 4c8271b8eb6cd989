"""Scene: what faults need to break, to mend, and to prove mended."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import MeshError, NotBroken, NotHealed
from ..eventually import Timeouts, eventually
from ..mesh import Mesh
from ..probes.manifests import labelled
from ..probes.prepared import kind_of
from ..together import for_each
from . import deadman
from .controls import Controls, controls_of
from .steps import Remove
from .undo import Step

if TYPE_CHECKING:
    from ..kube import Kube


@dataclass(frozen=True)
class Scene:
    """A mesh, connections to its clusters, and the time limits of faults.

    A fault's dead-man timer undoes it after ``longest_seconds``.
    """

    mesh: Mesh
    kubes: Mapping[str, Kube]
    timeouts: Timeouts
    longest_seconds: float = 180.0

    @property
    def controls(self) -> Controls:
        """What the provider can break."""
        return controls_of(self.mesh)

    @contextmanager
    def undone(self, steps: Sequence[Step]) -> Iterator[None]:
        """Carry out ``steps`` at the end, whatever happens until then."""
        with deadman.undone(self.mesh, self.kubes, steps, self.longest_seconds):
            yield

    @contextmanager
    def made(
        self, namespace: str, wanted: Mapping[str, Sequence[dict[str, Any]]]
    ) -> Iterator[None]:
        """Objects of each cluster in a namespace that is not the run's; gone at the end."""
        run_id = self.mesh.run_id
        steps = [
            Remove(cluster, kind_of(one), one["metadata"]["name"], namespace, run_id)
            for cluster, manifests in wanted.items()
            for one in reversed(manifests)
        ]

        def apply(cluster: str) -> None:
            self.kubes[cluster].apply(*labelled(wanted[cluster], run_id), namespace=namespace)

        with self.undone(steps):
            for_each(apply, wanted)
            yield

    @contextmanager
    def healed(self, what: str, proof: Callable[[], None]) -> Iterator[None]:
        """Run ``proof`` once what is inside has been mended, also after an error.

        Raises :class:`NotHealed` where it fails; beside an earlier error, it is only noted there.
        """
        try:
            yield
        except NotBroken:
            raise
        except BaseException as error:
            try:
                self._prove(what, proof)
            except MeshError as second:
                error.add_note(str(second))
            raise
        self._prove(what, proof)

    def _prove(self, what: str, proof: Callable[[], None]) -> None:
        try:
            proof()
        except MeshError as error:
            step = "was undone, and yet it does not work again"
            advice = "the mesh is not as it was"
            raise NotHealed(what, step, str(error), advice=advice) from error

    def until(self, what: str, good: Callable[[], bool], *, every_seconds: float = 0.2) -> None:
        """Wait until something works again; what cannot be asked does not."""
        seconds = self.timeouts.heal
        eventually(good, bool, within_seconds=seconds, what=what, every_seconds=every_seconds)
