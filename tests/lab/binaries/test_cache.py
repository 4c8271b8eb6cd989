"""The build cache: its entries are whole, built once, and mended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pytest_istio_mc.errors import ProvisionError
from pytest_istio_mc.lab.binaries.cache import (
    MANIFEST,
    SCRATCH_PARENT,
    SCRATCH_PREFIX,
    BuildCache,
    cache_home,
    note_scratch,
)
from pytest_istio_mc.progress import Progress

KEY = "toolchain-0123"


class Builder:
    """Builds two files and a link, and counts how often."""

    def __init__(self) -> None:
        self.builds = 0

    def __call__(self, folder: Path) -> dict[str, Any]:
        self.builds += 1
        (folder / "bin").mkdir()
        (folder / "bin" / "etcd").write_text("etcd")
        (folder / "bin" / "kubelet").write_text("kubelet")
        (folder / "bin" / "link").symlink_to("etcd")
        return {"versions": {"etcd": "v3"}}


@pytest.fixture
def cache(tmp_path: Path) -> BuildCache:
    return BuildCache(tmp_path / "cache")


@pytest.fixture
def builder() -> Builder:
    return Builder()


def test_an_entry_is_built_once_and_found_from_then_on(cache: BuildCache, builder: Builder) -> None:
    built = cache.obtain(KEY, builder, Progress())

    assert cache.obtain(KEY, builder, Progress()) == built == cache.find(KEY)
    assert builder.builds == 1
    assert built.facts == {"versions": {"etcd": "v3"}}
    assert (built.folder / "bin" / "etcd").read_text() == "etcd"


def test_another_key_is_another_entry(cache: BuildCache, builder: Builder) -> None:
    first = cache.obtain(KEY, builder, Progress())
    second = cache.obtain("toolchain-4567", builder, Progress())

    assert builder.builds == 2
    assert {entry.folder for entry in cache.entries()} == {first.folder, second.folder}


def remove(folder: Path) -> None:
    (folder / "bin" / "kubelet").unlink()


def shorten(folder: Path) -> None:
    (folder / "bin" / "kubelet").write_text("kube")


def write_into(folder: Path) -> None:
    (folder / "bin" / "kubelet").write_text("KUBELET")
    os.utime(folder / "bin" / "kubelet", (0, 1))


def point_elsewhere(folder: Path) -> None:
    (folder / "bin" / "link").unlink()
    (folder / "bin" / "link").symlink_to("kubelet")


def remove_manifest(folder: Path) -> None:
    (folder / MANIFEST).unlink()


def cut_manifest(folder: Path) -> None:
    text = (folder / MANIFEST).read_text()
    (folder / MANIFEST).write_text(text[: len(text) // 2])


def replace_manifest(folder: Path) -> None:
    (folder / MANIFEST).write_text(
        json.dumps({"format": 1, "key": "toolchain-other", "facts": {}, "files": {}})
    )


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (remove, "bin/kubelet is missing"),
        (shorten, "bin/kubelet is [4, "),
        (write_into, "bin/kubelet is [7, 1]"),
        (point_elsewhere, "bin/link is -> kubelet, was -> etcd"),
        (remove_manifest, "no manifest.json"),
        (cut_manifest, "manifest.json cannot be read"),
        (replace_manifest, "manifest.json belongs to something else"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_broken_entry_is_found_out_and_built_anew(
    cache: BuildCache, builder: Builder, spoil: Callable[[Path], None], said: str
) -> None:
    lines: list[str] = []
    entry = cache.obtain(KEY, builder, Progress())
    spoil(entry.folder)

    assert cache.find(KEY) is None
    mended = cache.obtain(KEY, builder, Progress(lines.append))

    assert builder.builds == 2
    assert (mended.folder / "bin" / "kubelet").read_text() == "kubelet"
    assert cache.find(KEY) == mended
    assert any(said in line for line in lines), lines
    assert sorted(path.name for path in cache.home.iterdir()) == ["build.lock", KEY]


def test_a_build_that_fails_leaves_nothing(cache: BuildCache, builder: Builder) -> None:
    def fail(folder: Path) -> dict[str, Any]:
        builder(folder)
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        cache.obtain(KEY, fail, Progress())

    assert cache.find(KEY) is None
    assert [path.name for path in cache.home.iterdir()] == ["build.lock"]
    assert cache.obtain(KEY, builder, Progress()).folder.is_dir()


def test_a_folder_that_cannot_be_written_to_is_named_with_the_way_out(
    tmp_path: Path, builder: Builder
) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ProvisionError, match="cannot be written to") as caught:
        BuildCache(tmp_path / "file" / "cache").obtain(KEY, builder, Progress())
    assert "ISTIO_MC_CACHE" in caught.value.advice


# A run in a process of its own; it builds an entry until the file "go" appears.
RUN = """
import os
import sys
from pathlib import Path
from pytest_istio_mc.eventually import eventually
from pytest_istio_mc.errors import ProvisionError
from pytest_istio_mc.lab.binaries.cache import SCRATCH_PARENT, SCRATCH_PREFIX
from pytest_istio_mc.lab.binaries.cache import BuildCache, note_scratch
from pytest_istio_mc.progress import Progress

home = Path(sys.argv[1])

def build(folder):
    (folder / "half").write_text("half")
    scratch = SCRATCH_PARENT / f"{SCRATCH_PREFIX}test-{os.getpid()}"
    scratch.mkdir()
    note_scratch(folder, scratch)
    print("building", flush=True)
    eventually((home.parent / "go").exists, bool, within_seconds=30, what="go")
    (folder / "whole").write_text("whole")
    return {"pid": __import__("os").getpid()}

progress = Progress(lambda line: print(line, flush=True))
print(BuildCache(home).obtain("toolchain-0123", build, progress).facts, flush=True)
"""


@contextmanager
def run(home: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, str(home)], stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def lines_of(process: subprocess.Popen[str], last: str) -> list[str]:
    """The lines of a run, up to one that holds ``last``."""
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line.rstrip())
        if last in line:
            return lines
    raise AssertionError(f"never said {last!r}: {lines}")


def test_of_two_runs_one_builds_and_the_other_waits_and_says_for_whom(cache: BuildCache) -> None:
    with run(cache.home) as first:
        lines_of(first, "building")
        with run(cache.home) as second:
            waiting = lines_of(second, "waiting")[-1]
            assert f"another run is building (pid {first.pid}, for " in waiting
            (cache.home.parent / "go").touch()
            built, got = lines_of(first, "{")[-1], lines_of(second, "{")

    assert built == got[-1] == f"{{'pid': {first.pid}}}"
    assert "building" not in got


def test_a_run_killed_while_it_builds_leaves_nothing_that_counts_and_the_next_one_clears_it(
    cache: BuildCache, builder: Builder
) -> None:
    with run(cache.home) as killed:
        lines_of(killed, "building")
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    left = [path.name for path in cache.home.iterdir() if path.is_dir()]
    assert len(left) == 1
    assert cache.find(KEY) is None
    assert list(cache.entries()) == []

    cache.obtain(KEY, builder, Progress())

    assert [path.name for path in cache.home.iterdir() if path.is_dir()] == [KEY]
    assert not (SCRATCH_PARENT / f"{SCRATCH_PREFIX}test-{killed.pid}").exists()


def test_the_next_in_line_builds_when_the_builder_is_killed(cache: BuildCache) -> None:
    with run(cache.home) as first:
        lines_of(first, "building")
        with run(cache.home) as second:
            lines_of(second, "waiting")
            first.kill()
            lines_of(second, "building")
            (cache.home.parent / "go").touch()
            assert lines_of(second, "{")[-1] == f"{{'pid': {second.pid}}}"


def test_the_cache_lies_where_the_environment_says_or_in_the_user_s_cache_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ISTIO_MC_CACHE", str(tmp_path / "elsewhere"))
    assert cache_home() == tmp_path / "elsewhere"

    monkeypatch.delenv("ISTIO_MC_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_home() == tmp_path / "xdg" / "istio-mc"


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o1777])
def test_a_cache_that_others_can_write_to_is_refused(cache: BuildCache, mode: int) -> None:
    cache.home.mkdir()
    cache.home.chmod(mode)

    with pytest.raises(ProvisionError) as caught:
        cache.find(KEY)

    assert f"{cache.home} can be written to by others" in str(caught.value)


def test_a_cache_in_a_place_where_others_could_replace_it_is_refused(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)

    with pytest.raises(ProvisionError, match=r"shared can be written to by others"):
        BuildCache(shared / "cache").find(KEY)

    shared.chmod(0o1777)  # as /tmp is: nobody can rename what others made there
    assert BuildCache(shared / "cache").find(KEY) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders away")
def test_a_cache_of_somebody_else_is_refused(cache: BuildCache) -> None:
    cache.home.mkdir()
    os.chown(cache.home, 4711, -1)

    with pytest.raises(ProvisionError, match="belongs to user 4711"):
        cache.find(KEY)


def test_a_note_in_the_cache_cannot_aim_the_clean_up_at_other_folders(
    cache: BuildCache, builder: Builder, tmp_path: Path
) -> None:
    precious = tmp_path / "istio-mc-precious"
    precious.mkdir()
    (precious / "file").touch()
    unfinished = cache.home / "unfinished-x-1"
    unfinished.mkdir(parents=True)
    note_scratch(unfinished, precious)

    cache.obtain(KEY, builder, Progress())

    assert not unfinished.exists()
    assert (precious / "file").exists()
