"""Keeping: the snapshot of a run that found something, so that it can be judged again."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from .. import private
from ..errors import MeshError
from ..lab.binaries.cache import cache_home
from ..shell import command
from ..snapshot import Snapshot

NUMBER = 5
"""How many snapshots are kept; with one more the oldest goes."""

LARGEST = 64 * 1024 * 1024
"""Bytes of one snapshot, packed: larger ones are not kept, ``--mesh-snapshot`` takes any size."""


def keep(snapshot: Path, topology: str, run_id: str) -> Iterable[str]:
    """Keep a copy of the folder of a snapshot; what to tell of it, in lines.

    Nothing of it fails a run: where it cannot be kept, the line says why.
    """
    home = cache_home() / "snapshots"
    folder = home / f"{topology}-{run_id}"
    try:
        private.make_folder(home)
        Snapshot.load(snapshot, ours=True).save(folder, compress=True)
        if (size := _size(folder)) > LARGEST:
            shutil.rmtree(folder)
            return [f"snapshot    not kept: it has {size >> 20} MiB; --mesh-snapshot=DIR keeps it"]
        _forget(home)
    except (OSError, MeshError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        return [f"snapshot    not kept: {error}"]
    return [
        f"snapshot    {folder}",
        f"judge again {command('pytest', f'--mesh-replay={folder}')}",
    ]


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _forget(home: Path) -> None:
    """Remove the oldest snapshots beyond :data:`NUMBER`, and nothing else that lies there."""
    kept = [one for one in home.iterdir() if one.is_dir() and not one.is_symlink()]
    ours = [one for one in kept if (one / "snapshot.json.gz").is_file()]
    ours.sort(key=lambda one: (one / "snapshot.json.gz").stat().st_mtime_ns)
    for folder in ours[:-NUMBER]:
        shutil.rmtree(folder, ignore_errors=True)
