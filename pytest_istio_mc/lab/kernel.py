"""What the lab needs of the kernel, found out by doing it once in namespaces that end with the attempt."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .binaries import commands
from .host import Examined, existing

CGROUPS = Path("/sys/fs/cgroup")
CONTROLLERS = ("cpu", "cpuset", "memory", "pids")  # what the kubelet and runc set limits with

_PRIVATE = ["unshare", "--net", "--mount", "--propagation", "private", "--"]
_MODULES = "modprobe {0}, or use a kernel that has {0}"
_CONTAINER = "inside a container, run that one privileged"

# The iptables matches and targets that kube-proxy, the CNI and istio-init use; an nft rule beside them, for what the lab filters itself.
_IPTABLES = """
set -e
iptables -t nat -N EXAMINED
iptables -t nat -A EXAMINED -p tcp -m statistic --mode random --probability 0.5 -m comment --comment x -j DNAT --to-destination 127.0.0.1:1
iptables -t nat -A EXAMINED -p tcp -m owner --uid-owner 1337 -j RETURN
iptables -t nat -A EXAMINED -p tcp -j REDIRECT --to-ports 15001
iptables -t nat -A EXAMINED -j MASQUERADE
iptables -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
iptables -A FORWARD -j REJECT
"""


def examine(folder: Path) -> list[Examined]:
    """Every feature; ``folder`` is where nodes keep their images, so its file system has to carry overlayfs. Leaves nothing behind.

    What cannot be tried for want of root or of namespaces is not blamed: there is one thing to mend then, and it is named.
    """
    spaces = namespaces() if os.geteuid() == 0 else _untried("namespaces", "that takes root")
    checks: dict[str, Callable[[], Examined]] = {
        "veth": veth,
        "bridge": bridge,
        "iptables rules": iptables_rules,
        "overlayfs": lambda: overlayfs(folder),
        "cgroups": cgroups,
    }
    if os.geteuid() != 0 or not spaces.good:
        why = "that takes namespaces" if os.geteuid() == 0 else "that takes root"
        return [spaces, *(_untried(name, why) for name in checks)]
    with ThreadPoolExecutor(len(checks)) as pool:
        return [spaces, *pool.map(lambda check: check(), checks.values())]


def namespaces() -> Examined:
    """Network, mount and PID namespaces with a /proc of their own."""
    command = [
        "unshare",
        "--net",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child=KILL",
        "--mount-proc",
        "--propagation",
        "private",
        "--",
    ]
    return _tried(
        "namespaces",
        [*command, "true"],
        "network, mount and PID namespaces",
        f"run as root; {_CONTAINER}",
    )


def veth() -> Examined:
    """Pairs of network links: nodes to the fabric, pods to nodes."""
    command = [
        *_PRIVATE,
        "ip",
        "link",
        "add",
        "examined0",
        "type",
        "veth",
        "peer",
        "name",
        "examined1",
    ]
    return _tried("veth", command, "links can be made", _MODULES.format("veth"))


def bridge() -> Examined:
    """The network bridge that a node's pods hang on."""
    command = [*_PRIVATE, "ip", "link", "add", "examined0", "type", "bridge"]
    return _tried("bridge", command, "bridges can be made", _MODULES.format("bridge"))


def iptables_rules() -> Examined:
    """The iptables rules that make services, pods' networks and sidecars work."""
    if shutil.which("iptables") is None:
        return _untried("iptables rules", "that takes iptables")
    modules = "nf_tables, nft_compat, nf_nat, xt_statistic, xt_owner, xt_REDIRECT, xt_MASQUERADE, xt_conntrack, xt_comment"
    return _tried(
        "iptables rules",
        [*_PRIVATE, "sh", "-c", _IPTABLES],
        "nat, owner, statistic, conntrack",
        f"use a kernel with {modules}",
    )


def overlayfs(folder: Path) -> Examined:
    """The file system that stacks image layers, on top of the file system that the lab keeps them on."""
    try:
        with tempfile.TemporaryDirectory(prefix="examined-", dir=existing(folder)) as scratch:
            for name in ("lower", "upper", "work", "merged"):
                Path(scratch, name).mkdir()
            options = f"lowerdir={scratch}/lower,upperdir={scratch}/upper,workdir={scratch}/work"
            command = [
                *_PRIVATE,
                "mount",
                "-t",
                "overlay",
                "-o",
                options,
                "overlay",
                f"{scratch}/merged",
            ]
            return _tried(
                "overlayfs",
                command,
                f"works on {folder}",
                "set ISTIO_MC_CACHE to a folder on ext4 or xfs; modprobe overlay",
            )
    except OSError as error:
        return Examined(
            "overlayfs",
            False,
            f"{error.strerror}: {error.filename}",
            "set ISTIO_MC_CACHE to a folder that can be written to",
        )


def cgroups() -> Examined:
    """A control group hierarchy, old or unified, in which groups can be made."""
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
        return Examined(
            "cgroups",
            False,
            f"{group.parent}: {error.strerror}",
            f"run as root, with {CGROUPS} writable; {_CONTAINER}",
        )
    return Examined("cgroups", True, f"{'unified' if unified else 'old'} hierarchy at {CGROUPS}")


def _untried(name: str, why: str) -> Examined:
    return Examined(name, True, f"not tried: {why}")


def _tried(name: str, command: list[str], seen: str, fix: str) -> Examined:
    try:
        done = commands.ask(command, timeout_seconds=10)
    except FileNotFoundError:
        return Examined(
            name, False, f"cannot be tried without {command[0]}", "apt-get install util-linux"
        )
    except subprocess.TimeoutExpired:
        return Examined(name, False, "no answer from the kernel within 10 s", fix)
    if done.returncode == 0:
        return Examined(name, True, seen)
    said = (done.stderr or done.stdout).strip().splitlines()
    return Examined(name, False, said[0] if said else f"exit code {done.returncode}", fix)
