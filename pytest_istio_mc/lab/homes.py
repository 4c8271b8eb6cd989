"""Homes: the folders of labs, their makers, and their life signs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

from ..errors import ProvisionError, UsageProblem
from ..eventually import eventually
from .binaries.cache import cache_home, require_private
from .journal import SupervisorLock

PLAN = "plan.json"
LOG = "supervisor.log"
MESH_SPEC = "mesh-spec.yaml"
"""The mesh of the lab, as --mesh-spec takes it."""

_LOCK_SECONDS = 10.0


def labs_folder() -> Path:
    """Where labs keep their files (``ISTIO_MC_CACHE`` moves it).

    It is on the toolchain's file system, because images are hard-linked.
    """
    return cache_home() / "labs"


def labs_lock() -> FileLock:
    """The lock under which lab folders are made and swept.

    Raises :class:`ProvisionError` where this user may not take it.
    """
    lock = labs_folder() / ".lock"
    try:
        labs_folder().mkdir(mode=0o700, parents=True, exist_ok=True)
        require_private(cache_home())
        lock.touch()
    except OSError as error:
        raise ProvisionError(
            "labs",
            f"{labs_folder()} cannot be written to",
            str(error),
            advice="run it as the user whose labs they are (root), "
            "or set ISTIO_MC_CACHE to a folder that can be written to",
        ) from error
    return FileLock(lock)


def make(home: Path) -> None:
    """Make a lab's folder; this process owns it until its end.

    Raises :class:`UsageProblem` where there is one of that name.
    """
    with labs_lock():
        try:
            home.mkdir(mode=0o700)
        except FileExistsError:
            raise UsageProblem(
                f'lab "{home.name}"',
                "exists already",
                advice=f"istio-mc lab down --name {home.name}, "
                "or istio-mc sweep if nothing runs there any more",
            ) from None
        # who only looks (`lab list`) holds the lock for a moment, too
        eventually(
            SupervisorLock(home).take,
            bool,
            within_seconds=_LOCK_SECONDS,
            what=f'the lock of lab "{home.name}"',
            every_seconds=0.01,
        )


def is_alive(home: Path) -> bool:
    """Whether a supervisor holds that lab."""
    return SupervisorLock(home).is_held


def made_by(home: Path) -> int:
    """The pid of that folder's maker, dead or alive; 0 without a folder."""
    return SupervisorLock(home).taken_by


def homes() -> list[Path]:
    """The folders of all labs, by name."""
    folder = labs_folder()
    return sorted(entry for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []


def dead_homes() -> Iterator[Path]:
    """The folders of labs whose supervisor is gone. The caller holds the lock."""
    for home in homes():
        if not is_alive(home):
            yield home
