"""The build cache, with entries that are complete or not there at all."""

from __future__ import annotations

import json
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import ProvisionError
from ...progress import Progress

MANIFEST = "manifest.json"
FORMAT = 1
WAIT_NOTE_SECONDS = 20.0  # a waiting run says so again after this time

# A socket's path has at most 107 bytes (unix(7)), and the cache may be anywhere.
SCRATCH_PARENT = Path("/tmp")  # noqa: S108 - mkdtemp makes a folder of this user's in it
SCRATCH_PREFIX = "istio-mc-"

_UNFINISHED = "unfinished-"
_SCRATCH_NOTE = "scratch.path"


def cache_home() -> Path:
    """The folder of everything that outlives a run.

    ``ISTIO_MC_CACHE`` names it; by default it is in the user's cache directory.
    """
    chosen = os.environ.get("ISTIO_MC_CACHE")
    if chosen:
        return Path(chosen).absolute()
    import platformdirs

    return Path(platformdirs.user_cache_dir("istio-mc"))


def require_private(home: Path) -> None:
    """Raise :class:`ProvisionError` where others could have put something into the cache.

    What is in it runs as this user, who may be root. So nobody else may write to the folder, nor
    put another one in its place.
    """
    users = (0, os.geteuid())
    for folder in (home, *home.resolve().parents):
        try:
            found = folder.stat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        others = stat.S_IWOTH if folder != home else stat.S_IWOTH | stat.S_IWGRP
        writable = found.st_mode & others and not found.st_mode & stat.S_ISVTX
        if found.st_uid not in users:
            step, advice = f"{folder} belongs to user {found.st_uid}", f"chown {os.geteuid()}"
        elif writable or (folder == home and found.st_mode & others):
            step, advice = f"{folder} can be written to by others", "chmod go-w"
        else:
            continue
        raise ProvisionError(
            "build cache",
            step,
            "what is in it would run as this user",
            advice=f"set ISTIO_MC_CACHE to a folder of your own, or: {advice} {folder}",
        )


@dataclass(frozen=True)
class Entry:
    """A complete, verified entry: its folder, and its builder's facts."""

    key: str
    folder: Path
    facts: Mapping[str, Any]


class BuildCache:
    """The entries below ``home``, a folder for each key.

    A builder fills another folder, which is renamed to its place when it is complete.
    """

    def __init__(self, home: Path) -> None:
        self.home = home

    def find(self, key: str) -> Entry | None:
        """The whole entry of ``key``, or None.

        - It reads only the manifest and the files' sizes and times: nobody else could have written
          there (:func:`require_private`, which raises :class:`ProvisionError`).
        """
        require_private(self.home)
        entry, _ = self._examine(self.home / key)
        return entry

    def entries(self) -> Iterator[Entry]:
        """All whole entries, newest first."""
        folders = (manifest.parent for manifest in self.home.glob(f"*/{MANIFEST}"))
        finished = [folder for folder in folders if not folder.name.startswith(_UNFINISHED)]
        for folder in sorted(finished, key=lambda folder: folder.stat().st_mtime, reverse=True):
            entry, _ = self._examine(folder)
            if entry:
                yield entry

    def obtain(
        self, key: str, build: Callable[[Path], Mapping[str, Any]], progress: Progress
    ) -> Entry:
        """The entry of ``key``; where it is not there, ``build(folder)`` fills it.

        - Of several processes at a time, one builds and the others wait for it.
        - ``build`` gets an empty folder on the same file system and returns the facts to note down
          (plain JSON). When it raises, nothing of it stays.
        - The leftovers of a killed builder are removed by the next one.
        """
        entry = self.find(key)
        if entry:
            return entry
        try:
            self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
            require_private(self.home)
            (self.home / "build.lock").touch()
        except OSError as error:
            step = f"{self.home} cannot be written to"
            advice = "set ISTIO_MC_CACHE to a folder that can be written to"
            raise ProvisionError("build cache", step, str(error), advice=advice) from error
        with self._locked(progress):
            entry, fault = self._examine(self.home / key)
            if entry:
                progress.note("toolchain: the other run has built it")
                return entry
            self._remove_unfinished()
            if (self.home / key).exists():
                why = f"the cached build is not whole ({fault})"
                progress.note(f"toolchain: {why}; building it anew")
                self._discard(self.home / key)
            return self._build(key, build)

    def _build(self, key: str, build: Callable[[Path], Mapping[str, Any]]) -> Entry:
        folder = self.home / f"{_UNFINISHED}{key}-{os.getpid()}"
        folder.mkdir()
        try:
            facts = json.loads(json.dumps(build(folder)))
            manifest = {"format": FORMAT, "key": key, "facts": facts, "files": _files(folder)}
            (folder / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True))
            folder.rename(self.home / key)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return Entry(key, self.home / key, facts)

    def _examine(self, folder: Path) -> tuple[Entry | None, str]:
        """The entry and an empty text, or None and the fault."""
        try:
            manifest = json.loads((folder / MANIFEST).read_text())
            if manifest["format"] != FORMAT or manifest["key"] != folder.name:
                return None, f"{MANIFEST} belongs to something else"
            facts, expected = manifest["facts"], manifest["files"]
            for name, noted in expected.items():
                seen = _stamp(folder / name)
                if seen != noted:
                    now = "missing" if seen is None else f"{seen}, was {noted}"
                    return None, f"{name} is {now}"
        except FileNotFoundError:
            return None, f"no {MANIFEST}"
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            return None, f"{MANIFEST} cannot be read: {error}"
        return Entry(folder.name, folder, facts), ""

    @contextmanager
    def _locked(self, progress: Progress) -> Iterator[None]:
        """Be the only builder; the kernel's lock ends with its holder."""
        import filelock

        lock = filelock.FileLock(self.home / "build.lock")
        holder = self.home / "build.holder"
        patience = 0.0
        while True:
            try:
                lock.acquire(timeout=patience)
                break
            except filelock.Timeout:
                other = _read_holder(holder)
                progress.note(f"toolchain: another run is building ({other}), waiting for it")
                patience = WAIT_NOTE_SECONDS
        try:
            holder.write_text(f"{os.getpid()} {time.time():.0f}")
            yield
        finally:
            holder.unlink(missing_ok=True)
            lock.release()

    def _remove_unfinished(self) -> None:
        """Remove the leftovers of killed builders. The caller holds the lock: nobody builds."""
        for folder in self.home.glob(f"{_UNFINISHED}*"):
            _remove_scratch(folder / _SCRATCH_NOTE)
            self._remove(folder)

    def _discard(self, folder: Path) -> None:
        """Remove an entry, renamed first: half of it is none."""
        doomed = folder.with_name(f"{_UNFINISHED}discarded-{folder.name}-{os.getpid()}")
        folder.rename(doomed)
        self._remove(doomed)

    @staticmethod
    def _remove(folder: Path) -> None:
        try:
            shutil.rmtree(folder)
        except OSError as error:
            step = "what an earlier build left cannot be removed"
            advice = f"rm -rf {folder}"
            raise ProvisionError("build cache", step, str(error), advice=advice) from error


def _remove_scratch(note: Path) -> None:
    """Remove the folder that a note names, if it is one of ours and nothing else."""
    try:
        scratch = Path(note.read_text())
        found = scratch.lstat()
    except (OSError, ValueError):
        return
    made_so = scratch.parent == SCRATCH_PARENT and scratch.name.startswith(SCRATCH_PREFIX)
    if made_so and stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid():
        shutil.rmtree(scratch, ignore_errors=True)


def note_scratch(folder: Path, scratch: Path) -> None:
    """Note that the build in ``folder`` uses ``scratch``, to be removed after a kill."""
    (folder / _SCRATCH_NOTE).write_text(str(scratch))


def forget_scratch(folder: Path) -> None:
    """Note that the scratch folder is gone."""
    (folder / _SCRATCH_NOTE).unlink(missing_ok=True)


def _files(folder: Path) -> dict[str, list[int] | str]:
    found: dict[str, list[int] | str] = {}
    for parent, folders, names in os.walk(folder):
        for path in (Path(parent, name) for name in names + folders):
            stamp = None if path.is_dir() and not path.is_symlink() else _stamp(path)
            if stamp is not None:
                found[str(path.relative_to(folder))] = stamp
    return found


def _stamp(path: Path) -> list[int] | str | None:
    """The mark of a file: its size and time of change, or a link's target.

    - It is None where the file is gone.
    - The time is in seconds: archives keep no finer.
    - It tells of a write into a file that others hard-link, such as a node's into prepared images.
    """
    try:
        if path.is_symlink():
            return f"-> {path.readlink()}"
        found = path.lstat()
    except FileNotFoundError:
        return None
    return [found.st_size, int(found.st_mtime)]


def _read_holder(holder: Path) -> str:
    try:
        pid, since = holder.read_text().split()
        return f"pid {pid}, for {time.time() - float(since):.0f} s"
    except (OSError, ValueError):
        return "it has just begun"
