"""What can go wrong, as values: every error names the thing, the step and the next move."""

from __future__ import annotations

from collections.abc import Sequence


class MeshError(Exception):
    """A failure that a user can act on.

    ``thing`` is what failed (``cluster "east"``), ``step`` what was being done to it, ``detail`` what was seen, ``advice`` the
    next move, and ``log_tail`` the last lines that the component wrote. The text is put together only when it is shown.
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
        text = f"{self.thing}: {self.step}"
        if self.detail:
            text += f" ({self.detail})"
        if self.log_tail:
            text += "\n  last log lines:\n" + "\n".join(f"    {line}" for line in self.log_tail)
        if self.advice:
            text += f"\n  next: {self.advice}"
        return text


class UsageProblem(MeshError):
    """What the user asked for makes no sense; nothing was started. The pytest layer turns it into ``pytest.UsageError``."""


class ProvisionError(MeshError):
    """Clusters or the mesh on them could not be built or adopted."""


class KubeError(MeshError):
    """A Kubernetes API request failed. ``status`` is the HTTP status, or 0 when no answer came."""

    def __init__(
        self, thing: str, step: str, detail: str = "", *, status: int = 0, advice: str = ""
    ) -> None:
        super().__init__(thing, step, detail, advice=advice)
        self.status = status


class ObservationError(MeshError):
    """A fact that a check needs could not be had; the verdict becomes inconclusive, never green."""


class NotInTime(MeshError):
    """A condition did not come true within its budget; ``detail`` holds the last observation."""


class NotBroken(MeshError):
    """What was to be broken on purpose could not be, so that there is nothing to heal."""


class NotHealed(MeshError):
    """What was broken on purpose does not work again; whatever is observed after that means nothing."""


class GivenUp(Exception):
    """Raised by every request to a cluster that will not come back. No wait goes on after it, unlike after a :class:`MeshError`, of which
    ``why`` is the one to show; as text it is that one's first line."""

    def __init__(self, why: MeshError) -> None:
        super().__init__(str(why).partition("\n")[0])
        self.why = why


class NonConformant(AssertionError):
    """Raised by the pytest layer for a non-conformant verdict, so that pytest and Allure say *failed*."""


class Inconclusive(Exception):
    """Raised by the pytest layer for an inconclusive verdict, so that Allure says *broken*."""
