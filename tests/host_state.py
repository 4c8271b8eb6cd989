"""The state of this machine, which a lab must not change or must give back."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from pytest_istio_mc.lab import cgroups
from pytest_istio_mc.lab.namespaces import OWN_FOLDERS
from pytest_istio_mc.lab.process import start_time_of

_KUBERNETES = (*OWN_FOLDERS[1:], "/usr/libexec/kubernetes")
"""Where Kubernetes' programs leave files unless they are kept from it; ``/run`` is everybody's."""


@dataclass(frozen=True)
class HostState:
    """The state of the host.

    - ``network``: devices, addresses, routes, packet filter.
    - ``namespaces``: the named network namespaces.
    - ``files``: those of Kubernetes in the usual places.
    """

    network: str
    namespaces: tuple[str, ...]
    mounts: tuple[str, ...]
    files: tuple[str, ...]

    @classmethod
    def now(cls) -> HostState:
        """The state of now."""
        commands = ("ip -o link", "ip -o addr", "ip route", "iptables-save", "nft list ruleset")
        mounts = Path("/proc/self/mounts").read_text().splitlines()
        files = [str(file) for folder in _KUBERNETES for file in Path(folder).rglob("*")]
        return cls(
            network="\n".join(_output(command.split()) for command in commands),
            namespaces=tuple(sorted(entry.name for entry in Path("/run/netns").glob("*"))),
            mounts=tuple(line.split()[1] for line in mounts),
            files=tuple(sorted(files)),
        )


def _output(command: list[str]) -> str:
    environment = dict(os.environ, PATH=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    except FileNotFoundError:
        return ""
    # iptables-save writes the time into comments; none of the commands shows byte counters.
    return "\n".join(line for line in done.stdout.splitlines() if not line.startswith("#"))


def left_of(home: Path) -> list[str]:
    """The leftovers of the lab that lived in ``home``: folder, cgroups, mounts, processes.

    The processes are those that name it or its namespaces.
    """
    left = [str(home)] if home.exists() else []
    left += [str(folder) for folder in cgroups.folders(f"/istio-mc-{home.name}")]
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    left += [line for line in mounts if str(home) in line]
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and start_time_of(int(entry.name)) is not None:
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            command = b" ".join(words).decode(errors="replace")
            if f"{home}/" in command or command.rstrip().endswith(str(home)):
                left.append(f"process {entry.name}: {command}")
    return left
