"""Visible: texts from outside, in which nothing acts on a terminal or hides."""

from __future__ import annotations

import re

_BLANK = "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\u180b\u180c\u180d\u180f"
"""Characters that count as printable, but leave nothing to see."""
_SELECTORS = (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))
_HIDDEN = frozenset((*_BLANK, *map(chr, _SELECTORS)))
_NAMED = {"\n": "\\n", "\r": "\\r", "\x1b": "\\e", "\t": "  "}
_STYLE = re.compile(r"(\x1b\[[0-9;]*m)")


def is_visible(text: str) -> bool:
    """Whether a terminal shows all of a text, in its order, on one line.

    Control characters, line ends, invisible characters and those that turn the direction of writing
    do not let it.
    """
    return text.isprintable() and _HIDDEN.isdisjoint(text)


def visible(text: str) -> str:
    r"""A text on one line; what is not visible is shown as an escape (``\e``, ``\u202e``).

    Tabulators become blanks.
    """
    return text if is_visible(text) else "".join(map(_shown, text))


def shortened(text: str, most: int) -> str:
    """A text of at most ``most`` characters; an ellipsis says that there was more."""
    return text if len(text) <= most else text[: most - 1] + "…"


def visible_lines(text: str, indent: str = "  ") -> str:
    """A text of several lines, none of which but the first begins at the margin.

    So a name that holds a line end never passes for a line of ours.
    """
    first, *others = text.split("\n")
    moved = (f"{indent}{line}" if line.strip() and line[0] != " " else line for line in others)
    return "\n".join(map(visible, (first, *moved)))


def as_written(text: str, *, styled: bool) -> str:
    """What a terminal may be sent: lines, and in ``styled`` texts the colours that we chose.

    A carriage return at the beginning stays: with it, progress is written over itself.
    """
    begin = "\r" if text.startswith("\r") else ""
    parts = _STYLE.split(text.removeprefix("\r")) if styled else [text.removeprefix("\r")]
    kept = [
        part if number % 2 else "\n".join(map(visible, part.split("\n")))
        for number, part in enumerate(parts)
    ]
    return begin + "".join(kept)


def _shown(character: str) -> str:
    if is_visible(character):
        return character
    code = ord(character)
    plain = f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
    return _NAMED.get(character, plain if code < 0x10000 else f"\\U{code:08x}")
