"""What a run writes is for its owner alone, whatever was there and whatever the umask."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_istio_mc import private


@pytest.fixture(params=[0o022, 0o077, 0o000, 0o277], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """The umask of the test."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_is_read_by_its_owner_alone(tmp_path: Path, umask: int) -> None:
    private.write(tmp_path / "new", "text")
    (tmp_path / "old").write_text("before")
    (tmp_path / "old").chmod(0o666)
    private.write(tmp_path / "old", b"bytes")

    assert {mode(tmp_path / name) for name in ("new", "old")} == {0o600 & ~umask}
    assert [(tmp_path / name).read_text() for name in ("new", "old")] == ["text", "bytes"]


def test_folders_are_their_owners_alone(tmp_path: Path) -> None:
    private.make_folder(tmp_path / "a" / "b")
    private.make_folder(tmp_path / "a" / "b")

    assert [mode(tmp_path / "a"), mode(tmp_path / "a" / "b")] == [0o700, 0o700]


def test_a_link_in_the_place_of_a_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("theirs")
    (tmp_path / "ours").symlink_to(tmp_path / "theirs")

    private.write(tmp_path / "ours", "ours")

    assert (tmp_path / "theirs").read_text() == "theirs"
