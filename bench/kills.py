"""``python -m bench.kills -n 20``: kill real certifications at random moments; find leftovers.

One whole run is measured first. Each round then starts ``pytest --mesh-topology=…`` in a folder of
its own and, at a moment drawn uniformly from that length, kills it in one of four ways in turn:

==============  ==================================================================================
``SIGKILL``     pytest, once; its workers are left to notice
``SIGINT``      pytest and, with ``-n``, its workers, once: Ctrl-C in a terminal
``SIGTERM``     pytest, once: a cancelled job
``supervisor``  SIGKILL for the lab's supervisor: pytest goes on, says so, and clears up by itself
==============  ==================================================================================

- Every third round runs with ``-n 2``.
- Within 20 seconds after the end of pytest nothing may be left: no process, mount, cgroup, lab
  folder, listener on 127.0.0.1, nor anything in the host's network.
- ``istio-mc sweep`` may clear up where the supervisor was killed and pytest could not do it any
  more. It also removes the temporary folder of a pytest that died of SIGKILL. The table says who
  cleared up.
- The exit code is 1 where something was left.
- The seed is printed; ``--seed`` repeats the same moments.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.certification import PYTEST, TOPOLOGY
from pytest_istio_mc.lab import homes
from tests.host_state import HostState, left_of

WAYS = ("SIGKILL", "SIGINT", "SIGTERM", "supervisor")
GONE_WITHIN_SECONDS = 20.0
ENDED_WITHIN_SECONDS = 120.0
_MOUNTS = ("istio-mc", "netns", "containerd", "kubelet", "/run/cni")
_RUN_ID = re.compile(r"^mesh: .*run ([0-9a-f]{8})$", re.MULTILINE)


@dataclass(frozen=True)
class Round:
    """The outcome of one kill."""

    way: str
    workers: int
    moment: float
    during: str
    code: int
    ended_seconds: float
    gone_seconds: float
    cleared_by: str
    left: tuple[str, ...] = ()

    def __str__(self) -> str:
        kill = f"{self.way:<11} {self.workers or '-':>3} {self.moment:>7.1f} s  {self.code:>4}"
        times = f"{self.ended_seconds:>6.1f} s {self.gone_seconds:>6.1f} s"
        return f"{kill} {times}  {self.cleared_by:<10} {self.during}"


class Certification:
    """A real run of pytest in its own folder, with its output there."""

    def __init__(self, folder: Path, workers: int) -> None:
        self.folder = folder
        self.output = folder / "output"
        command = [*PYTEST, f"--mesh-topology={TOPOLOGY}", *([f"-n{workers}"] if workers else [])]
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env=dict(os.environ, TMPDIR=str(folder), PYTHONUNBUFFERED="1"),
            )

    @property
    def home(self) -> Path | None:
        """The folder of its lab; None before it tells its run id."""
        said = _RUN_ID.search(self.output.read_text())
        return homes.labs_folder() / f"run-{said[1]}" if said else None

    @property
    def last_line(self) -> str:
        """The last line that it told."""
        lines = [line.strip() for line in self.output.read_text().splitlines() if line.strip()]
        return lines[-1][:60] if lines else "starting"

    def kill(self, way: str) -> None:
        """Kill it that way, or pytest itself where there is no supervisor."""
        supervisors = _processes("pytest_istio_mc.lab.supervisor", str(self.home))
        if way == "supervisor" and (supervisor := next(supervisors, None)):
            os.kill(supervisor, signal.SIGKILL)
        elif way == "SIGINT":
            os.killpg(self.process.pid, signal.SIGINT)
        elif way == "SIGTERM":
            self.process.terminate()
        else:
            self.process.kill()


def main() -> int:
    """Measure, kill, print the table; 1 where something was left."""
    parser = argparse.ArgumentParser("python -m bench.kills", description=__doc__)
    parser.formatter_class = argparse.RawTextHelpFormatter
    add = parser.add_argument
    add("-n", "--rounds", type=int, default=20, help="how many kills (default 20)")
    add("--seed", type=int, help="repeat the moments of an earlier campaign")
    add("--length", type=float, help="seconds of a whole run, instead of measuring one")
    arguments = parser.parse_args()
    # A job in the background has SIGINT ignored, and would hand that on.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    seed = arguments.seed if arguments.seed is not None else int(time.time())
    length = arguments.length or _measured_length()
    print(f"seed {seed}, a whole run takes {length:.1f} s")
    heading = "what was    -n  killed at  exit  ended after  gone after  cleared by  told last"
    print(heading, flush=True)
    chance = random.Random(seed)  # noqa: S311 - moments, not secrets
    rounds = []
    for number in range(arguments.rounds):
        workers = 2 if number % 3 == 2 else 0
        rounds.append(_round(WAYS[number % len(WAYS)], workers, chance.uniform(0.0, length)))
        print(rounds[-1], *(f"    LEFT: {line}" for line in rounds[-1].left), sep="\n", flush=True)
    bad = [entry for entry in rounds if entry.left]
    swept = sum(entry.cleared_by == "sweep" for entry in rounds)
    kills = f"{len(rounds)} kills: {len(bad)} left something"
    print(f"{kills}; {swept} left something for the sweep (itself+: a temporary folder only)")
    return 1 if bad else 0


def _measured_length() -> float:
    with tempfile.TemporaryDirectory(prefix="istio-mc-kills-") as folder:
        began = time.monotonic()
        run = Certification(Path(folder), 0)
        if run.process.wait():
            raise SystemExit(f"a run without a kill fails:\n{run.output.read_text()[-3000:]}")
        return time.monotonic() - began


def _round(way: str, workers: int, moment: float) -> Round:
    before = HostState.now()
    with tempfile.TemporaryDirectory(prefix="istio-mc-kills-") as name:
        folder = Path(name)
        run = Certification(folder, workers)
        try:
            run.process.wait(moment)
        except subprocess.TimeoutExpired:
            pass  # the usual case: it is at work
        during, home = run.last_line, run.home
        ports = _ports(home)
        if run.process.poll() is None:
            run.kill(way)
        killed = time.monotonic()
        code = run.process.wait(ENDED_WITHIN_SECONDS)
        ended = time.monotonic()

        def left() -> list[str]:
            found = left_of(home) if home else []
            found += [f"process {pid} of the run" for pid in _processes(str(folder))]
            listening = sorted(ports & _listening())
            return found + [f"listener on 127.0.0.1:{port}" for port in listening]

        cleared_by = "itself"
        found = _remaining(left)
        gone = time.monotonic()
        scratch = list(folder.glob("istio-mc-*"))
        if (found and way == "supervisor") or (scratch and code == -signal.SIGKILL):
            cleared_by = "sweep" if found else "itself+"
            sweep = [sys.executable, "-m", "pytest_istio_mc.cli", "sweep"]
            environment = dict(os.environ, TMPDIR=name)
            subprocess.run(sweep, check=True, capture_output=True, env=environment)
            found = left()
        found += [f"temporary folder {entry}" for entry in folder.glob("istio-mc-*")]
        changed = _difference(before, HostState.now())
        if changed:
            found.append(f"the host's network or mounts changed: {changed}")
    times = (ended - killed, gone - ended)
    return Round(way, workers, moment, during, code, *times, cleared_by, tuple(found))


def _difference(before: HostState, after: HostState) -> str:
    """The changes in the host's network and in containers' mounts; others come and go."""
    old, new = (
        {
            *state.network.splitlines(),
            *state.namespaces,
            *(mount for mount in state.mounts if any(word in mount for word in _MOUNTS)),
        }
        for state in (before, after)
    )
    gone, come = sorted(old - new), sorted(new - old)
    return "; ".join([*(f"- {line}" for line in gone), *(f"+ {line}" for line in come)])


def _processes(*words: str) -> Iterator[int]:
    """The processes with all these words in their command line or working folder."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ")
                text = command.decode(errors="replace") + str((entry / "cwd").readlink())
            except OSError:
                continue
            if all(word in text for word in words):
                yield int(entry.name)


def _ports(home: Path | None) -> set[int]:
    """The ports on 127.0.0.1 in the lab's kubeconfig; none without one."""
    try:
        text = (home / "kubeconfig.yaml").read_text() if home else ""
    except OSError:
        return set()
    return {int(port) for port in re.findall(r"https://127\.0\.0\.1:(\d+)", text)}


def _listening() -> set[int]:
    """The TCP ports with a listener on this machine (proc(5), net/tcp)."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A"}


def _remaining(left: Callable[[], list[str]]) -> list[str]:
    """The leftovers when their time to go is up."""
    deadline = time.monotonic() + GONE_WITHIN_SECONDS
    while (found := left()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return found


if __name__ == "__main__":
    sys.exit(main())
