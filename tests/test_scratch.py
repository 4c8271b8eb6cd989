"""Scratch folders: a living run's is never taken for one that was left behind."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_istio_mc.lab.leftovers import sweep
from pytest_istio_mc.scratch import Scratch, left_behind


@pytest.fixture(autouse=True)
def _own_temporary_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("ISTIO_MC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield
    tempfile.tempdir = None


def test_a_scratch_folder_belongs_to_its_run_until_it_is_removed() -> None:
    scratch = Scratch("0123abcd")
    (scratch.folder / "file").write_text("x")

    assert scratch.folder.name.startswith("istio-mc-run-0123abcd-")
    assert list(left_behind()) == []
    scratch.remove()
    scratch.remove()
    assert not scratch.folder.exists()


def test_what_a_killed_run_left_is_found_and_swept() -> None:
    scratch = "from pytest_istio_mc.scratch import Scratch; s = Scratch('dead0001')"
    killed = f"import os, signal; {scratch}; os.kill(os.getpid(), signal.SIGKILL)"
    subprocess.run([sys.executable, "-c", killed], check=False)
    living = Scratch("0123abcd")

    (left,) = left_behind()
    assert [str(found) for found in sweep(dry_run=True)] == [
        f'temporary folder {left} of lab "run-dead0001"'
    ]
    assert left.exists()
    sweep()
    assert not left.exists()
    assert living.folder.exists()
    living.remove()
