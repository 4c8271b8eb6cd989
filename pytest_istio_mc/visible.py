"""Visible: text from outside as a terminal may have it, with nothing in it that acts or hides."""

from __future__ import annotations

import re
from collections.abc import Iterable

_BLANK = "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"
"""Characters that count as printable, but leave nothing to see."""
_SELECTORS = ("\u180b\u180c\u180d\u180f", range(0xFE00, 0xFE10), range(0xE0100, 0xE01F0))
_HIDDEN = frozenset(_BLANK) | {
    chr(one) if isinstance(one, int) else one for group in _SELECTORS for one in group
}
_NAMED = {"\n": "\\n", "\r": "\\r", "\x1b": "\\e"}


def is_visible(text: str) -> bool:
    """Whether a terminal shows all of a text, and shows it in its order.

    Not so with control characters, line ends, invisible characters and those that turn the
    direction of writing.
    """
    return text.isprintable() and _HIDDEN.isdisjoint(text)


def visible(text: str) -> str:
    r"""A text as one line: what is not visible is shown as an escape (``\e``, ``\u202e``).

    Tabulators become blanks.
    """
    return text if is_visible(text) else "".join(map(_shown, text))


def visible_lines(text: str, indent: str = "  ") -> str:
    """A text of several lines, where no line but the first begins at the margin.

    A name that holds a line end can so never pass for a line of ours.
    """
    first, *others = text.split("\n")
    return "\n".join([visible(first), *map(visible, _indented(others, indent))])


def _indented(lines: Iterable[str], indent: str) -> Iterable[str]:
    return (line if not line or line[0] == " " else f"{indent}{line}" for line in lines)


_STYLE = re.compile(r"(\x1b\[[0-9;]*m)")


def visible_but_styled(text: str) -> str:
    """The same as :func:`visible` for text in which a terminal's colours are our own."""
    parts = _STYLE.split(text)
    return "".join(part if number % 2 else visible(part) for number, part in enumerate(parts))


def _shown(character: str) -> str:
    if is_visible(character):
        return character
    if character == "\t":
        return "  "
    if character in _NAMED:
        return _NAMED[character]
    code = ord(character)
    return (
        f"\\x{code:02x}"
        if code < 0x100
        else f"\\u{code:04x}"
        if code < 0x10000
        else (f"\\U{code:08x}")
    )
