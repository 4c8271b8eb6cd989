"""The state of this machine that a lab must not change, or must give back."""

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
    """The host's network (devices, addresses, routes, packet filter, named namespaces), its mounts, and the files of Kubernetes in
    the usual places."""

    network: str
    namespaces: tuple[str, ...]
    mounts: tuple[str, ...]
    files: tuple[str, ...]

    @classmethod
    def now(cls) -> HostState:
        """As it is now."""
        commands = (
            ["ip", "-o", "link"],
            ["ip", "-o", "addr"],
            ["ip", "route"],
            ["iptables-save"],
            ["nft", "list", "ruleset"],
        )
        named = Path("/run/netns")
        return cls(
            network="\n".join(_output(command) for command in commands),
            namespaces=tuple(sorted(entry.name for entry in named.iterdir()))
            if named.is_dir()
            else (),
            mounts=tuple(
                line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()
            ),
            files=tuple(
                sorted(str(file) for folder in _KUBERNETES for file in Path(folder).rglob("*"))
            ),
        )


def _output(command: list[str]) -> str:
    environment = dict(os.environ, PATH=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    except FileNotFoundError:
        return ""
    # iptables-save writes the time into comments; byte counters of devices are not shown by these commands
    return "\n".join(line for line in done.stdout.splitlines() if not line.startswith("#"))


def left_of(home: Path) -> list[str]:
    """What is still there of the lab that lived in ``home``: its folder, cgroups, mounts, and processes that name it or its namespaces."""
    left = [str(home)] if home.exists() else []
    left += [str(folder) for folder in cgroups.folders(f"/istio-mc-{home.name}")]
    left += [
        line for line in Path("/proc/self/mounts").read_text().splitlines() if str(home) in line
    ]
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and start_time_of(int(entry.name)) is not None:
            try:
                command = (
                    (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                )
            except OSError:
                continue
            if f"{home}/" in command or command.rstrip().endswith(str(home)):
                left.append(f"process {entry.name}: {command}")
    return left
