"""Errors, each with the thing, the step and the next move."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from .redact import scrub_text
from .visible import visible, visible_lines


def missing_package(error: ModuleNotFoundError) -> str:
    """One sentence for a package that is not installed, whoever needs it."""
    package = (error.name or "").partition(".")[0]
    return f"{error}; install the package that has it beside pytest-istio-mc" + (
        f", likely: {sys.executable} -m pip install {package}" if package else ""
    )


class MeshError(Exception):
    """A failure that a user can act on.

    - ``thing``: what failed (``cluster "east"``).
    - ``step``: what was being done to it.
    - ``detail``: what was seen.
    - ``advice``: the next move.
    - ``log_tail``: the last lines that the component wrote.

    The text is put together only when it is shown, and has no secrets then.
    """

    def __init__(
        self,
        thing: str,
        step: str,
        detail: str = "",
        *,
        advice: str = "",
        log_tail: Sequence[str] = (),
    ) -> None:
        super().__init__(thing, step, detail)
        self.thing = thing
        self.step = step
        self.detail = detail
        self.advice = advice
        self.log_tail = tuple(log_tail)

    def __str__(self) -> str:
        text = f"{visible(scrub_text(self.thing))}: {visible(scrub_text(self.step))}"
        if self.detail:
            text += f" ({visible_lines(scrub_text(self.detail))})"
        if self.log_tail:
            lines = scrub_text("\n".join(self.log_tail)).split("\n")
            tail = (f"\n    {visible(line)}" for line in lines)
            text += "\n  last log lines:" + "".join(tail)
        if self.advice:
            text += f"\n  next: {visible_lines(scrub_text(self.advice))}"
        return text


class UsageProblem(MeshError):
    """The user's wishes make no sense; nothing was started.

    The pytest layer turns it into ``pytest.UsageError``.
    """


class ProvisionError(MeshError):
    """Clusters or the mesh on them could not be built or adopted."""


class KubeError(MeshError):
    """A Kubernetes API request failed; the HTTP ``status`` is 0 without an answer."""

    def __init__(
        self, thing: str, step: str, detail: str = "", *, status: int = 0, advice: str = ""
    ) -> None:
        super().__init__(thing, step, detail, advice=advice)
        self.status = status


class ObservationError(MeshError):
    """A check lacks a fact; its verdict becomes inconclusive, never green."""


class NotInTime(MeshError):
    """A condition did not come true in time; ``detail`` is the last observation."""


class NotBroken(MeshError):
    """A fault could not be brought about; there is nothing to heal."""


class NotAllowed(MeshError):
    """What this run was not allowed to do to clusters that others use; nothing was done.

    A check that raises it did not run, and is claimed all the same.
    """


class NotHealed(MeshError):
    """What a fault broke does not work again; later observations mean nothing."""


class GivenUp(Exception):
    """Raised by every request to a cluster that will not come back.

    - No wait goes on after it, unlike after a :class:`MeshError`.
    - ``why`` is the error to show; as text it is the first line of that one.
    """

    def __init__(self, why: MeshError) -> None:
        super().__init__(str(why).partition("\n")[0])
        self.why = why


class NonConformant(AssertionError):
    """Raised by the pytest layer for a non-conformant verdict; Allure says *failed*."""


class Inconclusive(Exception):
    """Raised by the pytest layer for an inconclusive verdict; Allure says *broken*."""
