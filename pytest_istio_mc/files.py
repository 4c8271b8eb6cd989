"""Files that others made: regular ones only, and read no further than a cap."""

from __future__ import annotations

import os
import stat
import zlib
from pathlib import Path

LARGEST = 64 * 1024 * 1024
"""Bytes that a file may have, once it is unpacked."""

_PIECE = 1024 * 1024
_GZIP = 16 + zlib.MAX_WBITS


class Unreadable(ValueError):
    """A file cannot be read, or is more than what was allowed; as text: why."""


def read_file(path: Path, *, largest: int | None = LARGEST, links: bool = True) -> bytes:
    """The content of a regular file; :class:`Unreadable` for anything else.

    - Never waits: a pipe or a device is refused before it is read.
    - ``largest``: in bytes; None where the file is our own.
    - ``links``: whether a symbolic link may lead to it.
    """
    # O_NONBLOCK: opening a pipe that nobody writes to would wait for ever
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if links else os.O_NOFOLLOW)
    try:
        if not links and path.is_symlink():
            raise Unreadable("is a symbolic link")
        if kind := _special(path.stat().st_mode):
            raise Unreadable(f"is {kind}, not a file")
        descriptor = os.open(path, flags)
        with os.fdopen(descriptor, "rb") as stream:
            if kind := _special(os.fstat(descriptor).st_mode):
                raise Unreadable(f"is {kind}, not a file")
            content = stream.read() if largest is None else stream.read(largest + 1)
    except OSError as error:
        raise Unreadable(error.strerror or str(error)) from error
    except ValueError as error:
        # a NUL in the name
        raise error if isinstance(error, Unreadable) else Unreadable(str(error)) from error
    return _within(content, largest)


def unpacked(content: bytes, *, largest: int | None = LARGEST) -> bytes:
    """The content of a gzip file; :class:`Unreadable` where it is damaged or too large.

    It is unpacked piece by piece, so that a small file never becomes a large one in memory.
    """
    pieces: list[bytes] = []
    size, rest = 0, content
    try:
        while rest:
            unpacker = zlib.decompressobj(_GZIP)
            while not unpacker.eof:
                piece = unpacker.decompress(rest, _PIECE)
                rest = unpacker.unconsumed_tail
                size += len(piece)
                if largest is not None and size > largest:
                    raise Unreadable(f"holds more than {_size(largest)}")
                if not (piece or rest or unpacker.eof):
                    raise Unreadable("is cut off: its gzip data has no end")
                pieces.append(piece)
            rest = unpacker.unused_data.lstrip(b"\0")  # gzip allows padding
    except zlib.error as error:
        raise Unreadable(f"is damaged: {error}") from error
    if not content:
        raise Unreadable("is empty")
    return b"".join(pieces)


def _within(content: bytes, largest: int | None) -> bytes:
    if largest is not None and len(content) > largest:
        raise Unreadable(f"has more than {_size(largest)}")
    return content


def _size(count: int) -> str:
    mebibytes, rest = divmod(count, 1024 * 1024)
    return f"{count} bytes" if rest else f"{mebibytes} MiB"


def _special(mode: int) -> str:
    """The kind of what is no regular file, in words; empty for a regular file."""
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return "" if stat.S_ISREG(mode) else kinds.get(stat.S_IFMT(mode), "something else")
