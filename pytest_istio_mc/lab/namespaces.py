"""Namespaces without names, kept by one process, with which all others end."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import ProvisionError
from .binaries.commands import ends_with_parent
from .journal import Entry, Journal
from .process import child_of, start_time_of

OWN_FOLDERS = ("/run", "/var/lib/kubelet", "/var/lib/cni", "/var/log/containers")
"""The folders that every node has for itself; they vanish with its mount namespace.

- ``/run`` holds sockets, lock files and network namespaces.
- The kubelet (device plugins, links to logs) and libcni (results) use the others wherever their
  other files are.
- In shared folders, one kubelet would remove the socket of another that starts at the same moment,
  or the socket of the host's kubelet.
"""

# It becomes process 1 of its PID namespace. Ignoring SIGCHLD makes the kernel reap its orphans.
_INIT = """
for folder in {folders}; do
  mkdir -p "$folder" && mount -t tmpfs -o mode=0755 tmpfs "$folder" || exit 1
done
: > "$0" && exec env --ignore-signal=CHLD sleep infinity
""".format(folders=" ".join(OWN_FOLDERS))


@dataclass(frozen=True)
class Namespaces:
    """Network, mount and PID namespaces of one owner, kept by process ``init``.

    ``init`` is its pid on the host; ``keeper`` is the ``unshare`` that started it.
    """

    name: str
    init: int
    keeper: subprocess.Popen[bytes]

    @classmethod
    def create(cls, name: str, home: Path, journal: Journal) -> Namespaces:
        """Make the namespaces; they end with the caller, even by a kill.

        Its thread must live as long as the lab: the parent-death signal is tied to that thread
        (prctl(2), PR_SET_PDEATHSIG).
        """
        ready = home / f"{name}.namespaces"
        log = home / f"{name}.namespaces.log"
        command = [*ends_with_parent(), "unshare", "--net", "--mount", "--pid", "--fork"]
        command += ["--kill-child=KILL", "--mount-proc", "--propagation", "private", "--"]
        command += ["sh", "-c", _INIT, str(ready)]
        with log.open("wb") as output:
            keeper = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd="/",
            )
        started = start_time_of(keeper.pid) or 0
        journal.add(Entry("process", f"namespaces of {name}", keeper.pid, started))
        deadline = time.monotonic() + 10
        while not ready.exists():
            if keeper.poll() is not None or time.monotonic() > deadline:
                keeper.kill()
                raise ProvisionError(
                    f'"{name}"',
                    "namespaces could not be made",
                    log.read_text(errors="replace").strip() or "no answer within 10 s",
                    advice="run `istio-mc lab doctor`; "
                    "the lab needs root and a kernel with namespaces",
                )
            time.sleep(0.002)
        init = child_of(keeper.pid)
        if init is None:
            raise ProvisionError(f'"{name}"', "namespaces ended as soon as they were made")
        journal.add(Entry("process", f"process 1 of {name}", init, start_time_of(init) or 0))
        return cls(name, init, keeper)

    def command(self, *words: str | Path) -> list[str]:
        """The command line that runs ``words`` inside."""
        join = ["nsenter", "-t", str(self.init), "--net", "--mount", "--pid", "--"]
        return [*join, *map(str, words)]

    def run(
        self, words: Sequence[str | Path], *, stdin: str = "", env: Mapping[str, str] | None = None
    ) -> str:
        """Run a short command inside and return its output.

        - It stays in the host's PID namespace: pids in ``stdin`` are the caller's.
        - A failure raises :class:`ProvisionError` with the command's own words.
        """
        command = ["nsenter", "-t", str(self.init), "--net", "--mount", "--", *map(str, words)]
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=30, check=False, env=env
        )
        if done.returncode:
            step = f"`{' '.join(map(str, words))}` failed"
            raise ProvisionError(f'"{self.name}"', step, done.stderr.strip() or stdin[-300:])
        return done.stdout

    def end(self) -> None:
        """End every process inside; network devices, mounts and namespaces go with them."""
        try:
            os.kill(self.init, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.keeper.wait(30)


def enter_network(pid: int) -> None:
    """Move the calling thread into the network namespace of a process.

    Sockets that it makes later belong there.
    """
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    clone_newnet = 0x40000000
    with Path(f"/proc/{pid}/ns/net").open() as namespace:
        if libc.setns(namespace.fileno(), clone_newnet):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), f"/proc/{pid}/ns/net")
