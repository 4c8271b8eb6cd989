"""Breakages: what a supervisor breaks in its lab on order, and mends again.

It mends on order, when the time is up, or when the one who gave the order is gone.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import MeshError, ProvisionError
from .cluster import LabCluster
from .namespaces import Namespaces
from .plan import LabPlan

STOP_COMPONENT, KILL_COMPONENT, BLOCK_ADDRESS = "stop-component", "kill-component", "block-address"
BREAKAGES = (STOP_COMPONENT, KILL_COMPONENT, BLOCK_ADDRESS)
"""What can be broken, in this order:

- a program hangs (SIGSTOP);
- a program is gone (SIGKILL);
- an address swallows what some clusters send to it.
"""

_API_SERVER = "kube-apiserver"
_ITS_CLIENTS = ("kube-controller-manager", "kube-scheduler")
_BACK_SECONDS = 180.0
_AFTERMATH_SECONDS = 120.0


@dataclass
class Breakage:
    """One thing that is broken until ``mend`` is called."""

    number: int
    what: str
    mend: Callable[[], None]
    began: float
    timer: threading.Timer
    lock: threading.Lock = field(default_factory=threading.Lock)
    mended: float = 0.0
    by_timer: bool = False
    problem: str = ""


class Breakages:
    """All that is broken on purpose in one lab."""

    def __init__(
        self, plan: LabPlan, clusters: Mapping[str, LabCluster], fabric: Callable[[], Namespaces]
    ) -> None:
        self._plan = plan
        self._clusters = clusters
        self._fabric = fabric
        self._lock = threading.Lock()
        self._last = 0
        self._broken: dict[str, Breakage] = {}
        self._lost_until: dict[str, float] = {}

    def excuses(self, cluster: str, component: str) -> bool:
        """Whether a program may have ended because its apiserver was broken on purpose.

        - That holds while the apiserver is broken, and for a short while after.
        - The apiserver's clients give up when they do not reach it at their start. Elsewhere the
          kubelet starts them again, as static pods.
        """
        return component in _ITS_CLIENTS and time.monotonic() < self._lost_until.get(cluster, 0.0)

    def begin(self, what: str, details: Mapping[str, Any], for_seconds: float) -> Breakage:
        """Break something for at most ``for_seconds``.

        Raises :class:`ProvisionError` where it is broken already.
        """
        name = " ".join([what, *(f"{key}={value}" for key, value in sorted(details.items()))])
        with self._lock:
            if name in self._broken:
                raise ProvisionError(f'lab "{self._plan.name}"', f"{name} is in force already")
            ways: Mapping[str, Callable[..., Callable[[], None]]] = {
                STOP_COMPONENT: self._stop,
                KILL_COMPONENT: self._kill,
                BLOCK_ADDRESS: self._block,
            }
            mend = ways[what](**details)
            self._last += 1
            timer = threading.Timer(for_seconds, lambda: self.end(breakage, by_timer=True))
            timer.daemon = True
            breakage = Breakage(self._last, name, mend, time.monotonic(), timer)
            self._broken[name] = breakage
            if details.get("component") == _API_SERVER:
                until = time.monotonic() + for_seconds + _AFTERMATH_SECONDS
                self._lost_until[details["cluster"]] = until
        timer.start()
        return breakage

    def end(self, breakage: Breakage, *, by_timer: bool = False) -> None:
        """Mend it once; a second call waits for the first and does nothing."""
        with breakage.lock:
            if breakage.mended:
                return
            breakage.timer.cancel()
            try:
                breakage.mend()
            except (MeshError, OSError) as error:
                breakage.problem = str(error)
                print(f"{breakage.what} could not be mended: {error}", file=sys.stderr, flush=True)
            breakage.mended, breakage.by_timer = time.monotonic(), by_timer
        with self._lock:
            self._broken.pop(breakage.what, None)

    def _stop(self, cluster: str, component: str) -> Callable[[], None]:
        program = self._clusters[cluster].components[component]
        program.signal(signal.SIGSTOP)
        return lambda: program.signal(signal.SIGCONT)

    def _kill(self, cluster: str, component: str) -> Callable[[], None]:
        owner = self._clusters[cluster]
        owner.components[component].end()
        return lambda: self._start(owner, component)

    def _start(self, owner: LabCluster, component: str) -> None:
        """Start a program that was killed; after an apiserver, its clients too.

        They would be silent for up to half a minute more: client-go's reflectors try again at ever
        longer intervals, up to 30 s.
        """
        owner.components[component].start()
        if component != _API_SERVER:
            return
        owner.wait_for_apiserver(_BACK_SECONDS)
        for name in _ITS_CLIENTS:
            owner.components[name].end()
            owner.components[name].start()

    def _block(self, address: str, sources: list[str], port: int = 0) -> Callable[[], None]:
        """Drop what the clusters in ``sources`` send to ``address``, on open connections too."""
        fabric = self._fabric()
        rules = list(self._rules(address, sources, port))
        for rule in rules:
            fabric.run(["iptables", "-w", "-I", "FORWARD", "1", *rule])

        def mend() -> None:
            for rule in rules:
                fabric.run(["iptables", "-w", "-D", "FORWARD", *rule])

        return mend

    def _rules(self, address: str, sources: list[str], port: int) -> Iterator[list[str]]:
        numbers = {node.name: node.number for node in self._plan.nodes}
        for source in sources:
            protocol = ["-p", "tcp", "--dport", str(port)] if port else []
            yield ["-i", f"node{numbers[source]}", "-d", address, *protocol, "-j", "DROP"]
