"""Facts of a watched change: the command, traffic, injection, control planes and proxies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ...counted import Count, Step

NO_CHANGE = "no change was watched: istio-mc gate, or --mesh-gate=COMMAND"
"""Why a check that judges a change does not apply."""

INJECTION_SECONDS = 30.0
"""For so long in a row injection may be refused: who makes pods tries again."""

UNSENT_SHARE = 0.02
"""A tester that was too late for more than this share of what was due has not kept its rate."""


@dataclass(frozen=True)
class Commanded:
    """The user's command, as it ran.

    - ``exit_code``: negative where a signal ended it, as in ``subprocess``.
    - ``interrupted``: by somebody who stopped the gate meanwhile.
    - ``problem``: why it could not be started.
    """

    text: str
    began: float
    ended: float
    exit_code: int = 0
    interrupted: bool = False
    problem: str = ""
    steps: tuple[Step, ...] = ()

    @property
    def failure(self) -> str:
        """Why it did not succeed, in a few words; empty where it did."""
        if self.problem:
            return f"the command could not be started: {self.problem}"
        if self.interrupted:
            return f"the command was interrupted, and ended with exit code {self.exit_code}"
        return f"the command failed with exit code {self.exit_code}" if self.exit_code else ""


@dataclass(frozen=True)
class Admission:
    """A pod admitted in a dry run, or refused: ``error`` says why; ``injected``: with sidecar."""

    cluster: str
    when: float
    injected: bool = False
    error: str = ""

    @property
    def accepted(self) -> bool:
        """Whether the pod would run in the mesh."""
        return self.injected and not self.error


@dataclass(frozen=True)
class IstiodLook:
    """What one istiod said of itself at a moment.

    - ``gateways``: the addresses of the network gateways that it knows, by network.
    - ``remotes``: the state of each cluster that it watches.
    - ``rejects`` and ``pushes``: counters since it started.
    - ``unread``: what could not be read, and why.
    """

    cluster: str
    pod: str
    when: float
    gateways: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    remotes: Mapping[str, str] = field(default_factory=dict)
    rejects: float | None = None
    pushes: float | None = None
    unread: tuple[str, ...] = ()


@dataclass(frozen=True)
class IstiodPod:
    """A pod of an istiod at a moment.

    ``restarts`` are those of its containers; ``ended_with`` is the reason and the exit code of the
    one that ended last, empty where none did.
    """

    cluster: str
    pod: str
    when: float
    ready: bool = False
    restarts: int = 0
    ended_with: str = ""


@dataclass(frozen=True)
class EndpointLook:
    """How many endpoints a client's proxy had for the service of ``target`` at a moment."""

    source: str
    target: str
    when: float
    endpoints: int


@dataclass(frozen=True)
class ProxyLook:
    """What a probe's proxy had: Envoy clusters by name, and its roots' SHA-256."""

    cluster: str
    pod: str
    role: str
    inbound: tuple[str, ...] = ()
    outbound: tuple[str, ...] = ()
    roots: tuple[str, ...] = ()


@dataclass(frozen=True)
class Unread:
    """Something that could not be read: how often, and why at last."""

    what: str
    times: int
    why: str


@dataclass(frozen=True)
class Watched:
    """A change, and what was counted and seen while it went on.

    - Times are seconds since the epoch, by the gate's clock.
    - ``unready``: pairs of clusters that got no answers before the change, and why.
    - ``apart``: the clusters are separate meshes, so that traffic stays within each.
    - ``control``: the same with a command that restarts the same things and changes nothing.
    """

    began: float
    ended: float
    command: Commanded
    counts: tuple[Count, ...] = ()
    admissions: tuple[Admission, ...] = ()
    istiods: tuple[IstiodLook, ...] = ()
    pods: tuple[IstiodPod, ...] = ()
    endpoints: tuple[EndpointLook, ...] = ()
    proxies_before: tuple[ProxyLook, ...] = ()
    proxies_after: tuple[ProxyLook, ...] = ()
    unread: tuple[Unread, ...] = ()
    unready: Mapping[str, str] = field(default_factory=dict)
    namespace: str = ""
    apart: bool = False
    control: Watched | None = None

    def missing(self, *words: str) -> Iterator[str]:
        """What of this kind could not be read, in sentences."""
        for one in self.unread:
            if one.what.startswith(words):
                times = "once" if one.times == 1 else f"{one.times} times"
                yield f"{one.what} could not be read {times}: {one.why}"
