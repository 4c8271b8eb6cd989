"""Lab: starts, finds and ends labs, for the provider and for ``istio-mc lab``."""

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
_TOO_EARLY = "before the clusters were ready"
_NO_JUDGEMENT = "nothing in it can be judged any more"
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class Lab:
    """A running lab: its plan and, where this process started it, its supervisor.

    It ends with :meth:`stop`, or with the process that started it unless it is detached.
    """

    def __init__(self, plan: LabPlan, process: subprocess.Popen[str] | None = None) -> None:
        self.plan = plan
        self._process = process
        self._events = Events(process, plan) if process else None

    def wait_answering(self, progress: Progress) -> None:
        """Wait until every apiserver takes requests, or raise the failure."""
        if self._events:
            self._events.wait_for("answering", progress)

    def wait_ready(self) -> None:
        """Wait until every node is ready, or raise the failure."""
        if self._events:
            self._events.wait_for("ready")

    @property
    def failure(self) -> MeshError | None:
        """The reason of a lab's failure to come up or to stay up, or None."""
        return self._events.failure if self._events else None

    def when_it_fails(self, tell: Callable[[MeshError], None]) -> None:
        """Call ``tell`` from another thread at the failure, or now if that has been."""
        if self._events:
            self._events.when_it_fails(tell)

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig with one context a cluster."""
        return self.plan.kubeconfig

    def order(self, order: str, **details: Any) -> Any:
        """Send the supervisor an order and return the result.

        Raises :class:`ProvisionError` where the supervisor refuses or is gone.
        """
        with Conversation(self.plan.home) as conversation:
            return conversation.order(order, **details)

    def detach(self) -> None:
        """Let the lab live on when this process, or its terminal, ends."""
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
                return  # it has cleared everything, or it never began: another lab has the name
        eventually(
            lambda: homes.is_alive(self.plan.home),
            lambda alive: not alive,
            within_seconds=_GOING_DOWN_SECONDS,
            what=f'lab "{self.plan.name}" is gone',
        )
        if self.plan.home.exists():
            clear(self.plan.home)  # the supervisor was killed, or could not end in order


def check_name(name: str) -> None:
    """Raise :class:`UsageProblem` where a lab cannot have that name.

    It names a folder and a cgroup, and is typed in a shell.
    """
    if not _NAME.fullmatch(name):
        raise UsageProblem(
            f'lab "{name}"',
            "a lab cannot be called so",
            advice="use up to 63 lower-case letters, digits and hyphens, such as my-lab; "
            "nothing was started",
        )


def start(
    spec: MeshSpec,
    name: str,
    toolchain: Toolchain,
    progress: Progress,
    *,
    within_seconds: float,
    audited: bool = False,
) -> Lab:
    """Start a lab with the spec's clusters; return when all apiservers answer.

    - Nodes are ready later: ``wait_ready``.
    - The lab ends with this process unless it is detached.
    - ``audited``: its API servers write down every request.
    - :class:`UsageProblem`: a lab of that name exists already.
    - :class:`ProvisionError`: a cluster does not come up; then nothing of the lab is left.
    """
    check_name(name)
    home = homes.labs_folder() / name
    programs = (toolchain.bin, toolchain.cni, toolchain.containerd_root)
    plan = LabPlan(
        name,
        home,
        *programs,
        plan_nodes(spec),
        audited=audited,
        kubernetes=toolchain.kubernetes,
        istio=tuple(build.minor for build in toolchain.istio),
    )
    process = _launch(home)
    lab = Lab(plan, process)
    try:
        _hand_over(process, {"plan": plan.to_dict(), "within_seconds": within_seconds})
        lab.wait_answering(progress)
    except BaseException:
        lab.stop()
        raise
    return lab


def _launch(home: Path) -> subprocess.Popen[str]:
    """Start a supervisor; it makes, and so always clears, the folder itself."""
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
    """Give a supervisor its plan; its events tell whether it has ended."""
    assert process.stdin is not None
    with suppress(BrokenPipeError):
        process.stdin.write(json.dumps(document) + "\n")
        process.stdin.flush()


def _end(process: subprocess.Popen[str]) -> None:
    """Close a supervisor's lifeline; kill it if it does not end in time."""
    with suppress(OSError):
        process.stdin and process.stdin.close()
    try:
        process.wait(_GOING_DOWN_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Events:
    """The events of a supervisor, read by a thread of their own."""

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
        """Wait for one event, or raise the failure if that comes first.

        From now on ``progress`` gets the notes, those so far included.
        """
        with self._changed:
            if progress:
                self._progress = progress
                for note in self._notes:
                    progress.note(note)
            self._changed.wait_for(lambda: event in self._seen or self.failure)
            if self.failure:
                raise self.failure

    def when_it_fails(self, tell: Callable[[MeshError], None]) -> None:
        """Call ``tell`` at the failure, or now if that has been."""
        with self._changed:
            self._tell_failure = tell
            if self.failure:
                tell(self.failure)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            event = json.loads(line)
            with self._changed:
                self._take(event)
                self._seen.add(event["event"])
                self._changed.notify_all()
        with self._changed:
            if not self.ending and self.failure is None:
                self._lost()
            self._changed.notify_all()

    def _take(self, event: dict[str, Any]) -> None:
        if event["event"] == "note":
            self._notes.append(event["text"])
            self._progress.note(event["text"])
        elif event["event"] in ("died", "failed", "refused"):
            failure = _failure(event)
            if event["event"] == "died":
                what = f"{failure.thing}: {failure.step}"
                self._progress.note(f"the lab goes down: {what}; {_NO_JUDGEMENT}")
            self._fail(failure)

    def _lost(self) -> None:
        in_use = "ready" in self._seen
        step = f"its supervisor ended {'while it was in use' if in_use else _TOO_EARLY}"
        status = f"exit code {self._process.wait()}"
        log_tail = tail_of(self._plan.home / homes.LOG)
        self._fail(ProvisionError(f'lab "{self._plan.name}"', step, status, log_tail=log_tail))
        if in_use:
            self._progress.note(f"the lab is gone: {step} ({status}); {_NO_JUDGEMENT}")

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
    """The labs whose supervisor is alive, in the order of their names."""
    for home in homes.homes():
        if homes.is_alive(home) and (lab := _read(home)):
            yield lab


def find(name: str) -> Lab:
    """The running lab of that name, or :class:`UsageProblem` with the right names."""
    labs = {lab.plan.name: lab for lab in running()}
    if name not in labs:
        known = f"running: {', '.join(sorted(labs)) or 'none runs'}"
        raise UsageProblem(f'lab "{name}"', "is not running", known, advice="istio-mc lab list")
    return labs[name]


def _read(home: Path) -> Lab | None:
    try:
        return Lab(LabPlan.from_dict(json.loads((home / homes.PLAN).read_text())["plan"]))
    except (OSError, ValueError, KeyError):
        return None
