"""Controls: what a mesh's provider can break beyond the Kubernetes API."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from ..errors import MeshError, NotBroken, NotHealed, ProvisionError
from ..mesh import Mesh

MENDING_SECONDS = 240.0
"""How long mending may take: a killed API server starts, and its clients with it."""


class Controls(Protocol):
    """What a provider offers.

    The words of ``what`` are those of ``Mesh.capabilities``, each with details of its own.
    """

    def broken(self, what: str, *, for_seconds: float, **details: Any) -> Any:
        """A context in which it is broken.

        - It is mended at the end of the context.
        - The provider mends it at once where this process ends before that.
        - The provider mends it after ``for_seconds`` in any case; the end of a longer context
          then raises :class:`NotHealed`.
        """


class LabControls:
    """A lab's controls, over the control socket in its folder.

    Each breakage is a conversation, whose end mends it.
    """

    def __init__(self, home: Path) -> None:
        self._home = home

    @contextmanager
    def broken(self, what: str, *, for_seconds: float, **details: Any) -> Iterator[None]:
        """See :class:`Controls`."""
        from ..lab.orders import Conversation

        with Conversation(self._home) as conversation:
            try:
                number = conversation.order(
                    "break", what=what, details=details, for_seconds=for_seconds
                )
            except ProvisionError as error:
                raise NotBroken(
                    error.thing,
                    error.step,
                    error.detail,
                    advice=error.advice,
                    log_tail=error.log_tail,
                ) from error
            try:
                yield
            except BaseException as error:
                try:
                    conversation.order("mend", number=number, timeout_seconds=MENDING_SECONDS)
                except ProvisionError as second:
                    error.add_note(f"and {what} could not be mended: {second}")
                raise
            mended = conversation.order("mend", number=number, timeout_seconds=MENDING_SECONDS)
        if mended["by_timer"]:
            raise NotHealed(
                what,
                f"was undone after {for_seconds:g} s by its dead-man timer, before its end",
                "what was observed after that was observed without it",
                advice="on a slow machine give --mesh-timeout-factor=2",
            )


def controls_of(mesh: Mesh) -> Controls:
    """The controls of a mesh; :class:`MeshError` where its provider has none."""
    if not mesh.controls:
        advice = "the lab can: --mesh-provider=lab"
        raise MeshError(f'provider "{mesh.provider}"', "cannot break clusters", advice=advice)
    return LabControls(Path(mesh.controls))
