"""The lab's needs of the kernel, tried in namespaces that end at once."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from ..together import for_each
from .binaries import commands
from .host import Examined, existing

CGROUPS = Path("/sys/fs/cgroup")
CONTROLLERS = ("cpu", "cpuset", "memory", "pids")  # what the kubelet and runc set limits with

_PRIVATE = ["unshare", "--net", "--mount", "--propagation", "private", "--"]
_MODULES = "modprobe {0}, or use a kernel that has {0}"
_CONTAINER = "inside a container, run that one privileged"

# The matches and targets that kube-proxy, the CNI, istio-init and the fabric use.
_IPTABLES = """
set -e
iptables -t nat -N EXAMINED
iptables -t nat -A EXAMINED -p tcp -m statistic --mode random --probability 0.5 \\
  -m comment --comment x -j DNAT --to-destination 127.0.0.1:1
iptables -t nat -A EXAMINED -p tcp -m owner --uid-owner 1337 -j RETURN
iptables -t nat -A EXAMINED -p tcp -j REDIRECT --to-ports 15001
iptables -t nat -A EXAMINED -j MASQUERADE
iptables -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
iptables -A FORWARD -j REJECT
"""
_IPTABLES_MODULES = (
    "nf_tables, nft_compat, nf_nat, xt_statistic, xt_owner, xt_REDIRECT, xt_MASQUERADE, "
    "xt_conntrack, xt_comment"
)


def examine(folder: Path) -> list[Examined]:
    """Examine every feature, and leave nothing behind.

    - ``folder`` is where nodes keep their images: its file system must carry overlayfs.
    - What cannot be tried for want of root or of namespaces is not blamed: only that one want is.
    """
    is_root = os.geteuid() == 0
    spaces = namespaces() if is_root else _untried("namespaces", "that takes root")
    checks: dict[str, Callable[[], Examined]] = {
        "veth": veth,
        "bridge": bridge,
        "iptables rules": iptables_rules,
        "overlayfs": lambda: overlayfs(folder),
        "cgroups": cgroups,
    }
    if not is_root or not spaces.good:
        why = "that takes namespaces" if is_root else "that takes root"
        return [spaces, *(_untried(name, why) for name in checks)]
    return [spaces, *for_each(lambda check: check(), checks.values())]


def namespaces() -> Examined:
    """Network, mount and PID namespaces with a /proc of their own."""
    command = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child=KILL"]
    command += ["--mount-proc", "--propagation", "private", "--", "true"]
    seen = "network, mount and PID namespaces"
    return _tried("namespaces", command, seen, f"run as root; {_CONTAINER}")


def veth() -> Examined:
    """Pairs of network links: nodes to the fabric, pods to nodes."""
    command = [*_PRIVATE, "ip", "link", "add", "examined0", "type", "veth"]
    command += ["peer", "name", "examined1"]
    return _tried("veth", command, "links can be made", _MODULES.format("veth"))


def bridge() -> Examined:
    """The network bridge of a node's pods."""
    command = [*_PRIVATE, "ip", "link", "add", "examined0", "type", "bridge"]
    return _tried("bridge", command, "bridges can be made", _MODULES.format("bridge"))


def iptables_rules() -> Examined:
    """The iptables rules of services, pods' networks and sidecars."""
    if shutil.which("iptables") is None:
        return _untried("iptables rules", "that takes iptables")
    command = [*_PRIVATE, "sh", "-c", _IPTABLES]
    fix = f"use a kernel with {_IPTABLES_MODULES}"
    return _tried("iptables rules", command, "nat, owner, statistic, conntrack", fix)


def overlayfs(folder: Path) -> Examined:
    """The file system of stacked image layers, on the lab's file system."""
    try:
        with tempfile.TemporaryDirectory(prefix="examined-", dir=existing(folder)) as scratch:
            for name in ("lower", "upper", "work", "merged"):
                Path(scratch, name).mkdir()
            options = f"lowerdir={scratch}/lower,upperdir={scratch}/upper,workdir={scratch}/work"
            command = [*_PRIVATE, "mount", "-t", "overlay", "-o", options]
            command += ["overlay", f"{scratch}/merged"]
            fix = "set ISTIO_MC_CACHE to a folder on ext4 or xfs; modprobe overlay"
            return _tried("overlayfs", command, f"works on {folder}", fix)
    except OSError as error:
        fix = "set ISTIO_MC_CACHE to a folder that can be written to"
        return Examined("overlayfs", False, f"{error.strerror}: {error.filename}", fix)


def cgroups() -> Examined:
    """A writable hierarchy of control groups, old or unified."""
    unified = (CGROUPS / "cgroup.controllers").exists()
    if unified:
        there = set((CGROUPS / "cgroup.controllers").read_text().split())
    else:
        there = {name for name in CONTROLLERS if (CGROUPS / name / "cgroup.procs").exists()}
    missing = [name for name in CONTROLLERS if name not in there]
    if missing:
        seen = f"no {', '.join(missing)} controller below {CGROUPS}"
        return Examined("cgroups", False, seen, f"mount the cgroup hierarchy with it; {_CONTAINER}")
    group = (CGROUPS if unified else CGROUPS / "memory") / f"istio-mc-examined-{os.getpid()}"
    try:
        group.mkdir()
        group.rmdir()
    except OSError as error:
        fix = f"run as root, with {CGROUPS} writable; {_CONTAINER}"
        return Examined("cgroups", False, f"{group.parent}: {error.strerror}", fix)
    return Examined("cgroups", True, f"{'unified' if unified else 'old'} hierarchy at {CGROUPS}")


def _untried(name: str, why: str) -> Examined:
    return Examined(name, True, f"not tried: {why}")


def _tried(name: str, command: list[str], seen: str, fix: str) -> Examined:
    try:
        done = commands.ask(command, timeout_seconds=10)
    except FileNotFoundError:
        seen = f"cannot be tried without {command[0]}"
        return Examined(name, False, seen, "apt-get install util-linux")
    except subprocess.TimeoutExpired:
        return Examined(name, False, "no answer from the kernel within 10 s", fix)
    if done.returncode == 0:
        return Examined(name, True, seen)
    said = (done.stderr or done.stdout).strip().splitlines()
    return Examined(name, False, said[0] if said else f"exit code {done.returncode}", fix)
