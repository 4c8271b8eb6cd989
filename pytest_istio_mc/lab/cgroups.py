"""The cgroups of a lab's pods: found in every mounted hierarchy and removed, innermost first."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def hierarchies() -> Iterator[Path]:
    """The mount point of every cgroup hierarchy, old (v1) and unified (v2)."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mount_point, file_system, *_ = line.split()
        if file_system in ("cgroup", "cgroup2"):
            yield Path(mount_point)


def folders(parent: str) -> list[Path]:
    """Where that cgroup exists: one folder a hierarchy."""
    return [
        folder for hierarchy in hierarchies() if (folder := hierarchy / parent.lstrip("/")).is_dir()
    ]


def create(*names: str) -> None:
    """Make these cgroups in every hierarchy, and in the unified one hand all controllers down to them (cgroups(7))."""
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
                (ancestor / "cgroup.subtree_control").write_text(
                    " ".join(f"+{name}" for name in available)
                )


def remove(parent: str) -> list[Path]:
    """Remove that cgroup and all below it in every hierarchy; what was removed. Processes in it must have ended."""
    removed = []
    for folder in folders(parent):
        for path, _, _ in os.walk(folder, topdown=False):
            Path(path).rmdir()
        removed.append(folder)
    return removed
