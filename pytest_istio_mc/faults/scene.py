"""Scene: what every fault needs to break something, to mend it, and to prove that it is mended."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import MeshError, NotBroken, NotHealed
from ..eventually import Timeouts, eventually
from ..mesh import Mesh
from . import deadman
from .controls import Controls, controls_of
from .undo import Undo

if TYPE_CHECKING:
    from ..kube import Kube


@dataclass(frozen=True)
class Scene:
    """A mesh, connections to its clusters, and how long a fault may last before its dead-man timer undoes it."""

    mesh: Mesh
    kubes: Mapping[str, Kube]
    timeouts: Timeouts
    longest_seconds: float = 180.0

    @property
    def controls(self) -> Controls:
        """What the provider can break."""
        return controls_of(self.mesh)

    @contextmanager
    def undone(self, steps: Sequence[Undo]) -> Iterator[None]:
        """Carry out ``steps`` at the end, whatever becomes of this process."""
        with deadman.undone(self.mesh, self.kubes, steps, self.longest_seconds):
            yield

    @contextmanager
    def healed(self, what: str, proof: Callable[[], None]) -> Iterator[None]:
        """Run ``proof`` once what is inside has been mended, also after an error; :class:`NotHealed` where it fails."""
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
            raise NotHealed(
                what,
                "was undone, and yet it does not work again",
                str(error),
                advice="the mesh is not as it was",
            ) from error

    def until(self, what: str, good: Callable[[], bool], *, every_seconds: float = 0.2) -> None:
        """Wait until something works again; what cannot be asked does not."""
        eventually(
            good, bool, within_seconds=self.timeouts.heal, what=what, every_seconds=every_seconds
        )
