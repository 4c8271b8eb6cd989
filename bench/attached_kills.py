"""``python -m bench.attached_kills -n 40``: kill runs that disrupt clusters which stay; sweep them.

A lab is started that stays, and attached to as if it were somebody's production. Each round starts
a run that disrupts it. At a random moment, pytest, its workers and every dead-man timer get SIGKILL
at once. One ``istio-mc sweep --kubeconfig`` follows, from another home, another cache and another
host name. Every object of every namespace is then compared with what it was before.

- Every third round runs with ``-n 2``.
- A quarter of the moments are drawn from what a whole run takes, which is measured first, the
  others from the seconds after one of its journals is there: then something is changed.
- Heartbeats are brief (``ISTIO_MC_HEARTBEAT_SECONDS``), so that a round does not take two minutes.
- The exit code is 1 where anything differs. The seed is printed; ``--seed`` repeats the moments.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from bench.certification import PYTEST, TOPOLOGY
from pytest_istio_mc.faults.journal import journals
from pytest_istio_mc.istio_names import SERVICE_LABEL
from pytest_istio_mc.kube import Kube
from pytest_istio_mc.kube.lease import HEARTBEAT_VARIABLE

DISRUPTING = (
    "--mesh-profile=disruptive",
    "--mesh-disruptive",
    "--mesh-allow=every-service,remote-secrets,single-gateways",
    "--mesh-checks=MC-CLUSTERLOCAL,MC-APISERVER-007,MC-EASTWEST-008",
)
"""The checks that change what is not theirs, and the leave to do so."""

HEARTBEAT_SECONDS = 10
SWEPT_WITHIN_SECONDS = 120.0
GONE_WITHIN_SECONDS = 90.0
MOST_JOURNALS = 6
AFTER_A_JOURNAL_SECONDS = 6.0
CLI = [sys.executable, "-m", "pytest_istio_mc.cli"]
SYSTEM = "istio-system"
NODE_LEASES = "kube-node-lease"  # kubelets make theirs some seconds after a cluster is up

KINDS = (
    "Namespace",
    "ConfigMap",
    "Secret",
    "Service",
    "ServiceAccount",
    "Deployment",
    "Lease.coordination.k8s.io",
    "EndpointSlice.discovery.k8s.io",
    "Gateway.networking.istio.io",
    "VirtualService.networking.istio.io",
    "DestinationRule.networking.istio.io",
    "ServiceEntry.networking.istio.io",
    "Sidecar.networking.istio.io",
    "EnvoyFilter.networking.istio.io",
    "PeerAuthentication.security.istio.io",
    "AuthorizationPolicy.security.istio.io",
    "Role.rbac.authorization.k8s.io",
    "RoleBinding.rbac.authorization.k8s.io",
    "ClusterRole.rbac.authorization.k8s.io",
    "ClusterRoleBinding.rbac.authorization.k8s.io",
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
)
_LEADER = "control-plane.alpha.kubernetes.io/leader"
"""An annotation that controllers renew all the time, as they do their Leases."""

Json = dict[str, Any]


@dataclass(frozen=True)
class Round:
    """The outcome of one kill."""

    workers: int
    moment: float
    killed: int
    journals: int
    code: int
    seconds: float
    during: str
    differences: tuple[str, ...] = ()

    def __str__(self) -> str:
        kill = f"{self.workers or '-':>3} {self.moment:>8.1f} s {self.killed:>9}"
        return f"{kill} {self.journals:>9} {self.code:>6} {self.seconds:>6.1f} s  {self.during}"


@dataclass(frozen=True)
class Lab:
    """The lab that stays."""

    kubeconfig: str
    spec: str
    kubes: Mapping[str, Kube]

    def state(self) -> dict[str, Json]:
        """What every object says, without what changes by itself."""
        return {
            f"{name} {kind} {key}": said
            for name, kube in self.kubes.items()
            for kind in KINDS
            for item in kube.list(kind)
            if item["metadata"].get("namespace") != NODE_LEASES
            for key, said in [_said(kind, item)]
        }

    def journals(self) -> set[str]:
        """The names of the journals in all clusters."""
        return {
            f"{name}/{found.written.name}"
            for name, kube in self.kubes.items()
            for found in journals(kube, SYSTEM)
        }


def _said(kind: str, item: Mapping[str, Any]) -> tuple[str, Json]:
    """An object's name, and what it says, but for what others write all the time."""
    metadata, name = dict(item["metadata"]), kind.partition(".")[0]
    namespace = metadata.get("namespace", "")
    key = f"{namespace}/{metadata['name']}"
    mesh = (name, key) == ("ConfigMap", f"{SYSTEM}/istio")
    for volatile in ("resourceVersion", "generation", "uid", "creationTimestamp"):
        metadata.pop(volatile, None)
    if not mesh and name != "Secret":
        metadata.pop("managedFields", None)  # status has its own entry, with times
    if name == "EndpointSlice":  # pods come and go with addresses; whose slices there are, stays
        return f"{namespace}/{metadata['labels'].get(SERVICE_LABEL)}", {"there": True}
    if name == "Lease":
        return key, {"there": True}
    notes = metadata.get("annotations") or {}
    metadata["annotations"] = {entry: notes[entry] for entry in notes if entry != _LEADER}
    rest = {part: item[part] for part in item if part not in ("metadata", "status")}
    if name == "Namespace":
        rest["phase"] = item["status"]["phase"]
    return key, {"metadata": metadata, **rest}


class Run:
    """A run of pytest that disrupts the lab, in its own folder."""

    def __init__(self, lab: Lab, folder: Path, workers: int) -> None:
        self.output = folder / "output"
        options = ["--mesh-provider=attach", f"--mesh-topology={TOPOLOGY}"]
        options += [f"--mesh-spec={lab.spec}", *DISRUPTING]
        command = [*PYTEST, *options, *([f"-n{workers}"] if workers else [])]
        environment = dict(os.environ, TMPDIR=str(folder), PYTHONUNBUFFERED="1")
        environment[HEARTBEAT_VARIABLE] = str(HEARTBEAT_SECONDS)
        self._folder = str(folder)
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env=environment,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()

    @property
    def last_line(self) -> str:
        """The last line that it told."""
        lines = [line.strip() for line in self.output.read_text().splitlines() if line.strip()]
        return lines[-1][-70:] if lines else "starting"

    def kill(self) -> int:
        """SIGKILL for all of its processes at once; how many there were.

        They are stopped first: none sees the end of another and acts upon it.
        """
        killed: set[int] = set()
        while found := self._processes() - killed:
            for number in (signal.SIGSTOP, signal.SIGKILL):
                for pid in found:
                    try:
                        os.kill(pid, number)
                    except ProcessLookupError:
                        continue
            killed |= found
        self.process.wait(30)
        return len(killed)

    def _processes(self) -> set[int]:
        """Pytest, its workers and dead-man timers: whoever has this run's TMPDIR."""
        wanted, found = f"TMPDIR={self._folder}".encode(), set[int]()
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                    if state != "Z" and wanted in (entry / "environ").read_bytes().split(b"\0"):
                        found.add(int(entry.name))
                except OSError:
                    continue
        return found


@contextmanager
def standing_lab(name: str) -> Iterator[Lab]:
    """A lab that stays, until the end of the campaign."""
    up = [*CLI, "lab", "up", f"--name={name}", f"--topology={TOPOLOGY}", "--json"]
    told = json.loads(subprocess.run(up, check=True, stdout=subprocess.PIPE).stdout)
    try:
        with ExitStack() as stack:
            kubes = {
                cluster: stack.enter_context(closing(Kube(cluster, told["kubeconfig"], context)))
                for cluster, context in told["contexts"].items()
            }
            yield Lab(told["kubeconfig"], told["meshSpec"], kubes)
    finally:
        subprocess.run([*CLI, "lab", "down", f"--name={name}"], check=True)


def swept_from_elsewhere(lab: Lab) -> tuple[int, float]:
    """The exit code of one sweep and its seconds: another home, cache and host name."""
    with tempfile.TemporaryDirectory(prefix="istio-mc-elsewhere-") as home:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": home,
            "TMPDIR": home,
            "ISTIO_MC_CACHE": f"{home}/cache",
            HEARTBEAT_VARIABLE: str(HEARTBEAT_SECONDS),
        }
        sweep = [*CLI, "sweep", f"--kubeconfig={lab.kubeconfig}"]
        script = 'hostname "$1" && shift && exec "$@"'
        command = ["unshare", "--uts", "sh", "-c", script, "sh", "another-machine", *sweep]
        began = time.monotonic()
        done = subprocess.run(
            command,
            env=environment,
            cwd=Path(__file__).parents[1],
            capture_output=True,
            text=True,
            timeout=SWEPT_WITHIN_SECONDS,
            check=False,
        )
        seconds = time.monotonic() - began
    if done.returncode:
        print(f"{done.stdout}{done.stderr}", file=sys.stderr)
    return done.returncode, seconds


def differences(lab: Lab, before: Mapping[str, Json]) -> tuple[str, ...]:
    """What is not as it was, once namespaces have had time to go."""
    deadline = time.monotonic() + GONE_WITHIN_SECONDS
    while True:
        now = lab.state()
        found = [f"gone: {key}" for key in before if key not in now]
        found += [f"new: {key}" for key in now if key not in before]
        found += [
            f"other: {key}: {json.dumps(said)} instead of {json.dumps(before[key])}"
            for key, said in now.items()
            if key in before and said != before[key]
        ]
        if not found or time.monotonic() > deadline:
            return tuple(found)
        time.sleep(1)


def one_round(
    lab: Lab, before: Mapping[str, Json], workers: int, chance: random.Random, length: float
) -> Round:
    """Start, kill, sweep, compare."""
    with (
        tempfile.TemporaryDirectory(prefix="istio-mc-kills-") as name,
        Run(lab, Path(name), workers) as run,
    ):
        began = time.monotonic()
        wait_for(run, lab, chance, length)
        during, moment = run.last_line, time.monotonic() - began
        if run.process.poll():
            raise SystemExit(f"a run fails by itself:\n{run.output.read_text()[-5000:]}")
        killed = run.kill()
        found = len(lab.journals())
        code, seconds = swept_from_elsewhere(lab)
        changed = differences(lab, before)
    return Round(workers, moment, killed, found, code, seconds, during, changed)


def wait_for(run: Run, lab: Lab, chance: random.Random, length: float) -> None:
    """Until the moment of the kill, or the run's end."""
    if chance.random() < 0.25:
        _wait(run, chance.uniform(0.0, length), lambda: False)
        return
    seen, wanted = set[str](), chance.randint(1, MOST_JOURNALS)

    def are_there() -> bool:
        seen.update(lab.journals())
        return len(seen) >= wanted

    _wait(run, 2 * length, are_there)
    _wait(run, chance.uniform(0.0, AFTER_A_JOURNAL_SECONDS), lambda: False)


def _wait(run: Run, seconds: float, is_there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + seconds
    while run.process.poll() is None and time.monotonic() < deadline and not is_there():
        time.sleep(0.05)


def measured_length(lab: Lab, before: Mapping[str, Json]) -> float:
    """The seconds of a whole run, which must leave everything as it was by itself."""
    with (
        tempfile.TemporaryDirectory(prefix="istio-mc-kills-") as name,
        Run(lab, Path(name), 0) as run,
    ):
        began = time.monotonic()
        code = run.process.wait()
        length = time.monotonic() - began
        if code:
            raise SystemExit(f"a run without a kill fails:\n{run.output.read_text()[-5000:]}")
    left = differences(lab, before)
    if left:
        raise SystemExit("a run without a kill leaves something:\n" + "\n".join(left))
    return length


def main() -> int:
    """Measure, kill, sweep, compare, print the table; 1 where something differs."""
    parser = argparse.ArgumentParser("python -m bench.attached_kills", description=__doc__)
    parser.formatter_class = argparse.RawTextHelpFormatter
    add = parser.add_argument
    add("-n", "--rounds", type=int, default=20, help="how many kills (default 20)")
    add("--seed", type=int, help="repeat the moments of an earlier campaign")
    add("--length", type=float, help="seconds of a whole run, instead of measuring one")
    arguments = parser.parse_args()
    # also a campaign that is ended from outside takes its lab down
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    seed = arguments.seed if arguments.seed is not None else int(time.time())
    chance = random.Random(seed)  # noqa: S311 - moments, not secrets
    rounds: list[Round] = []
    with standing_lab(f"kills-{os.getpid()}") as lab:
        before = lab.state()
        length = arguments.length or measured_length(lab, before)
        print(f"seed {seed}, a whole run takes {length:.1f} s; {len(before)} objects are compared")
        print(" -n  killed at processes  journals  sweep  swept in  told last", flush=True)
        for number in range(arguments.rounds):
            workers = 2 if number % 3 == 2 else 0
            rounds.append(one_round(lab, before, workers, chance, length))
            print(rounds[-1], *(f"    {line}" for line in rounds[-1].differences), sep="\n")
            sys.stdout.flush()
            before = lab.state()  # what one round left is not told again by the next
    bad = [entry for entry in rounds if entry.differences or entry.code]
    changing = sum(entry.journals > 0 for entry in rounds)
    print(f"{len(rounds)} kills, {changing} while something was changed: {len(bad)} left something")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
