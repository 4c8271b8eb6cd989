"""The cgroups of a lab's pods, in every mounted hierarchy."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

PREFIX = "istio-mc-"


def hierarchies() -> Iterator[Path]:
    """The mount point of every cgroup hierarchy, old (v1) and unified (v2)."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mount_point, file_system, *_ = line.split()
        if file_system in ("cgroup", "cgroup2"):
            yield Path(mount_point)


def folders(parent: str) -> list[Path]:
    """The folders of that cgroup: one in each hierarchy that has it."""
    return [
        folder for hierarchy in hierarchies() if (folder := hierarchy / parent.lstrip("/")).is_dir()
    ]


def is_ours(parent: str) -> bool:
    """Whether this can be a lab's cgroup: named as such, and nowhere else."""
    parts = PurePosixPath(parent.lstrip("/")).parts
    return bool(parts) and parts[0].startswith(PREFIX) and ".." not in parts


def create(*names: str) -> None:
    """Make these cgroups in every hierarchy.

    In the unified one, all controllers are handed down to them (cgroups(7)).
    """
    for hierarchy in hierarchies():
        for name in names:
            folder = hierarchy / name.lstrip("/")
            folder.mkdir(parents=True, exist_ok=True)
            if (hierarchy / "cgroup.controllers").exists():
                _hand_down(hierarchy, folder)


def _hand_down(hierarchy: Path, folder: Path) -> None:
    for ancestor in reversed([folder, *folder.parents]):
        if ancestor.is_relative_to(hierarchy):
            available = (ancestor / "cgroup.controllers").read_text().split()
            if available:
                enabled = " ".join(f"+{name}" for name in available)
                (ancestor / "cgroup.subtree_control").write_text(enabled)


def remove(parent: str) -> list[Path]:
    """Remove that cgroup with all below it, and return its folders.

    Its processes must have ended. Raises :class:`ValueError` for one that is no lab's.
    """
    if not is_ours(parent):
        raise ValueError(f"{parent!r} is no lab's cgroup")
    removed = []
    for folder in folders(parent):
        for path, _, _ in os.walk(folder, topdown=False):
            Path(path).rmdir()
        removed.append(folder)
    return removed
