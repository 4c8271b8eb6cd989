"""Lab: starts, finds and ends labs; what the provider and ``istio-mc lab`` use."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import MeshError, ProvisionError, UsageProblem
from ..eventually import eventually
from ..progress import Progress
from ..spec import MeshSpec
from . import homes
from .leftovers import clear
from .orders import Conversation
from .plan import LabPlan, plan_nodes
from .process import tail_of

if TYPE_CHECKING:
    from .binaries.toolchain import Toolchain

_GOING_DOWN_SECONDS = 30.0
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class Lab:
    """A lab that runs: its plan, and the process that owns it. ``stop`` ends it; so does the end of the process that started it."""

    def __init__(self, plan: LabPlan, process: subprocess.Popen[str] | None = None) -> None:
        self.plan = plan
        self._process = process
        self._events = Events(process, plan) if process else None

    def wait_answering(self, progress: Progress) -> None:
        """Wait until every apiserver takes requests; :class:`ProvisionError` where the lab does not come up."""
        if self._events:
            self._events.wait_for("answering", progress)

    def wait_ready(self) -> None:
        """Wait until every node is ready; :class:`ProvisionError` where the lab does not come up."""
        if self._events:
            self._events.wait_for("ready")

    @property
    def failure(self) -> MeshError | None:
        """Why the lab went down by itself, or what of it ended first, or None."""
        return self._events.failure if self._events else None

    def when_it_fails(self, tell: Callable[[MeshError], None]) -> None:
        """Call ``tell`` once the lab goes down by itself, from another thread; at once where it has done so already."""
        if self._events:
            self._events.when_it_fails(tell)

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig with one context a cluster."""
        return self.plan.kubeconfig

    def order(self, order: str, **details: Any) -> Any:
        """Send the supervisor an order and return its answer; :class:`ProvisionError` where it refuses or is gone."""
        with Conversation(self.plan.home) as conversation:
            return conversation.order(order, **details)

    def detach(self) -> None:
        """Let the lab live on when this process ends; it is shut off from whoever started it, its terminal included."""
        self.order("detach")
        self.plan = replace(self.plan, detached=True)

    def stop(self) -> None:
        """End the lab and wait until nothing of it is left."""
        if self._events:
            self._events.ending = True
        if self._process is None or self.plan.detached:
            with suppress(ProvisionError, FileNotFoundError):
                self.order("stop")
        if self._process is not None:
            _end(self._process)
            if homes.made_by(self.plan.home) != self._process.pid:
                return  # it has cleared everything, or never began: another lab is called so
        eventually(
            lambda: homes.is_alive(self.plan.home),
            lambda alive: not alive,
            within_seconds=_GOING_DOWN_SECONDS,
            what=f'lab "{self.plan.name}" is gone',
        )
        if self.plan.home.exists():
            # The supervisor was killed, or could not end in order: what it left is cleared here.
            clear(self.plan.home)


def check_name(name: str) -> None:
    """Raise :class:`UsageProblem` where a lab cannot be called so: its name is a folder's and a cgroup's, and is typed in a shell."""
    if not _NAME.fullmatch(name):
        raise UsageProblem(
            f'lab "{name}"',
            "a lab cannot be called so",
            advice="use up to 63 lower-case letters, digits and hyphens, such as my-lab; nothing was started",
        )


def start(
    spec: MeshSpec, name: str, toolchain: Toolchain, progress: Progress, *, within_seconds: float
) -> Lab:
    """Start a lab with a cluster for each of the spec's; returns when all apiservers take requests; nodes follow (``wait_ready``).

    It ends with this process unless it is detached. Raises :class:`UsageProblem` where a lab of that name runs already,
    :class:`ProvisionError` where a cluster does not come up; then nothing of the lab is left.
    """
    check_name(name)
    plan = LabPlan(
        name,
        homes.labs_folder() / name,
        toolchain.bin,
        toolchain.cni,
        toolchain.containerd_root,
        plan_nodes(spec),
    )
    process = _launch(plan.home)
    lab = Lab(plan, process)
    try:
        _hand_over(process, {"plan": plan.to_dict(), "within_seconds": within_seconds})
        lab.wait_answering(progress)
    except BaseException:
        lab.stop()
        raise
    return lab


def _launch(home: Path) -> subprocess.Popen[str]:
    """Start a supervisor, which makes the folder itself as soon as it has a plan: there is no moment at which nobody would clear it."""
    return subprocess.Popen(
        [sys.executable, "-m", f"{__package__}.supervisor", str(home)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd="/",
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(path for path in sys.path if path)),
    )


def _hand_over(process: subprocess.Popen[str], document: dict[str, Any]) -> None:
    """Give a supervisor its plan. One that has ended already is told of by its events."""
    assert process.stdin is not None
    with suppress(BrokenPipeError):
        process.stdin.write(json.dumps(document) + "\n")
        process.stdin.flush()


def _end(process: subprocess.Popen[str]) -> None:
    """Close a supervisor's lifeline, and kill it if it does not end in time."""
    with suppress(OSError):
        process.stdin and process.stdin.close()
    try:
        process.wait(_GOING_DOWN_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Events:
    """What a supervisor tells while it starts a lab, read by a thread of its own."""

    def __init__(self, process: subprocess.Popen[str], plan: LabPlan) -> None:
        self._process = process
        self._plan = plan
        self._changed = threading.Condition()
        self._seen: set[str] = set()
        self._progress = Progress()
        self._notes: list[str] = []
        self.ending = False
        self.failure: MeshError | None = None
        self._tell_failure: Callable[[MeshError], None] = lambda failure: None
        threading.Thread(target=self._read, name=f"events of lab {plan.name}", daemon=True).start()

    def wait_for(self, event: str, progress: Progress | None = None) -> None:
        """Wait for one event, passing notes on to ``progress`` from now on; raises the failure if that comes first."""
        with self._changed:
            if progress:
                self._progress = progress
                for note in self._notes:
                    progress.note(note)
            self._changed.wait_for(lambda: event in self._seen or self.failure)
            if self.failure:
                raise self.failure

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            event = json.loads(line)
            with self._changed:
                if event["event"] == "note":
                    self._notes.append(event["text"])
                    self._progress.note(event["text"])
                elif event["event"] == "died":
                    failure = _failure(event)
                    self._progress.note(
                        f"the lab goes down: {failure.thing}: {failure.step}; nothing in it can be judged any more"
                    )
                    self._fail(failure)
                elif event["event"] in ("failed", "refused"):
                    self._fail(_failure(event))
                self._seen.add(event["event"])
                self._changed.notify_all()
        with self._changed:
            if not self.ending and self.failure is None:
                step = "its supervisor ended " + (
                    "while it was in use"
                    if "ready" in self._seen
                    else "before the clusters were ready"
                )
                status = f"exit code {self._process.wait()}"
                self._fail(
                    ProvisionError(
                        f'lab "{self._plan.name}"',
                        step,
                        status,
                        log_tail=tail_of(self._plan.home / homes.LOG),
                    )
                )
                if "ready" in self._seen:
                    self._progress.note(
                        f"the lab is gone: {step} ({status}); nothing in it can be judged any more"
                    )
            self._changed.notify_all()

    def when_it_fails(self, tell: Callable[[MeshError], None]) -> None:
        """Call ``tell`` at the failure, or now if it has been."""
        with self._changed:
            self._tell_failure = tell
            if self.failure:
                tell(self.failure)

    def _fail(self, failure: MeshError) -> None:
        if self.failure is None:
            self.failure = failure
            self._tell_failure(failure)


def _failure(event: dict[str, Any]) -> MeshError:
    kind = UsageProblem if event["event"] == "refused" else ProvisionError
    return kind(
        event["thing"],
        event["step"],
        event["detail"],
        advice=event.get("advice", ""),
        log_tail=event.get("log_tail", ()),
    )


def running() -> Iterator[Lab]:
    """The labs whose supervisor is alive, by name."""
    for home in homes.homes():
        if homes.is_alive(home) and (lab := _read(home)):
            yield lab


def find(name: str) -> Lab:
    """The running lab of that name; :class:`UsageProblem` with the names that would have been right."""
    labs = {lab.plan.name: lab for lab in running()}
    if name not in labs:
        known = ", ".join(sorted(labs)) or "none runs"
        raise UsageProblem(
            f'lab "{name}"', "is not running", f"running: {known}", advice="istio-mc lab list"
        )
    return labs[name]


def _read(home: Path) -> Lab | None:
    try:
        return Lab(LabPlan.from_dict(json.loads((home / homes.PLAN).read_text())["plan"]))
    except (OSError, ValueError, KeyError):
        return None
