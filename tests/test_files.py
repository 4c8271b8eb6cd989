"""Files of others: regular ones only, and never more than was allowed."""

from __future__ import annotations

import gzip
import os
import socket
from pathlib import Path

import pytest

from pytest_istio_mc.files import Unreadable, read_file, unpacked


def test_a_file_is_read_as_it_is_up_to_its_cap(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")

    assert read_file(tmp_path / "a", largest=5) == b"12345"
    assert read_file(tmp_path / "a", largest=None) == b"12345"
    with pytest.raises(Unreadable, match="has more than 4 bytes"):
        read_file(tmp_path / "a", largest=4)


def test_only_regular_files_are_read_and_nothing_is_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        for name, told in (
            ("pipe", "is a pipe"),
            ("folder", "is a folder"),
            ("socket", "is a socket"),
            ("absent", "No such file"),
            ("x" * 300, "File name too long"),
            ("a\0b", "null"),
        ):
            with pytest.raises(Unreadable, match=told):
                read_file(tmp_path / name)


def test_a_link_to_a_device_is_refused_and_others_only_where_they_are_not_meant(
    tmp_path: Path,
) -> None:
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "loop").symlink_to("loop")

    assert read_file(tmp_path / "link") == b"1"
    for name, links, told in (
        ("zero", True, "is a device"),
        ("zero", False, "is a symbolic link"),
        ("link", False, "is a symbolic link"),
        ("loop", True, "symbolic links"),
    ):
        with pytest.raises(Unreadable, match=told):
            read_file(tmp_path / name, links=links)


def test_gzip_is_unpacked_as_it_was_packed() -> None:
    content = os.urandom(3_000_000)

    assert unpacked(gzip.compress(content)) == content
    assert unpacked(gzip.compress(b"")) == b""
    assert unpacked(gzip.compress(b"a") + gzip.compress(b"b") + b"\0\0") == b"ab"


@pytest.mark.parametrize("end", [0, 1, 9, 10, 20, -9, -8, -1])
def test_gzip_that_is_cut_off_is_refused(end: int) -> None:
    with pytest.raises(Unreadable, match=r"is cut off|is empty"):
        unpacked(gzip.compress(os.urandom(1000))[:end])


def test_gzip_that_is_damaged_is_refused() -> None:
    packed = bytearray(gzip.compress(os.urandom(1000)))
    packed[500] ^= 0xFF

    with pytest.raises(Unreadable, match="is damaged"):
        unpacked(bytes(packed))
    with pytest.raises(Unreadable, match="is damaged"):
        unpacked(b"no gzip")


def test_a_gzip_bomb_is_unpacked_no_further_than_its_cap() -> None:
    bomb = gzip.compress(bytes(20_000_000))

    with pytest.raises(Unreadable, match="holds more than 1 MiB"):
        unpacked(bomb, largest=1024 * 1024)
