"""Documents that others wrote, YAML or JSON: parsed within bounds of size, depth and aliases."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .files import Unreadable, read_file

if TYPE_CHECKING:
    import yaml

LARGEST_DOCUMENT = 16 * 1024 * 1024
"""Bytes of a YAML document: parsing takes some hundred times its size in memory."""

DEEPEST = 100
"""How many lists and mappings may be inside each other; a certificate has 8."""

MOST_NODES = 2_000_000
"""How many values a document may have, each alias counted as what it stands for."""


def read_document(path: Path) -> Any:
    """The content of a YAML or JSON file; :class:`Unreadable` says why there is none."""
    return parse_document(read_file(path, largest=LARGEST_DOCUMENT))


def parse_document(content: bytes | str) -> Any:
    """The value of a YAML or JSON text; :class:`Unreadable` says why there is none.

    - Plain values only: no tag makes an object.
    - Deep nesting, aliases that grow without bound and halves of characters are refused before
      anything is made of them.
    """
    import yaml
    from pydantic_core import from_json

    # libyaml, where PyYAML was built with it, is ten times as fast
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        text = content.decode() if isinstance(content, bytes) else content
        if text.lstrip()[:1] in ("{", "[", '"'):
            # JSON says some things otherwise than YAML: pairs of surrogates, tabs
            with suppress(ValueError):
                return from_json(text, allow_inf_nan=False)
        _demand_bounds(yaml.parse(text, Loader=loader))
        return yaml.load(text, Loader=loader)  # noqa: S506 (both are safe loaders)
    except Unreadable:
        raise
    except UnicodeDecodeError as error:
        raise Unreadable(f"is not UTF-8 text: {error}") from error
    except yaml.YAMLError as error:
        raise Unreadable(f"is neither YAML nor JSON: {_on_one_line(error)}") from error
    except Exception as error:
        # what PyYAML lets through of Python's own: dates that cannot be, endless numbers, …
        told = f"holds a value that cannot be read: {_on_one_line(error)}"
        raise Unreadable(told) from error


def _demand_bounds(events: Iterable[yaml.Event]) -> None:
    """Raise :class:`Unreadable` for more than a document may have; builds nothing."""
    bounds = _Bounds()
    for event in events:
        bounds.take(event)


class _Bounds:
    """Counts values on the way through a document, each alias as what it stands for."""

    def __init__(self) -> None:
        self._open: list[str | None] = []
        self._sizes = [0]
        self._anchors: dict[str, int] = {}

    def take(self, event: yaml.Event) -> None:
        """Go past one event of the parser."""
        import yaml

        if isinstance(event, yaml.CollectionEndEvent):
            self._close(self._open.pop(), self._sizes.pop())
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor in self._open:
                raise Unreadable(f"holds *{event.anchor} inside of &{event.anchor} itself")
            self._close(None, self._anchors.get(str(event.anchor), 1))
        elif isinstance(event, yaml.CollectionStartEvent):
            self._open.append(event.anchor)
            self._sizes.append(1)
            if len(self._open) > DEEPEST:
                raise Unreadable(f"nests more than {DEEPEST} lists and mappings")
        elif isinstance(event, yaml.ScalarEvent):
            if not _is_whole(event.value):
                raise Unreadable("holds half of a character (a lone surrogate)")
            self._close(event.anchor, 1)

    def _close(self, anchor: str | None, size: int) -> None:
        if anchor is not None:
            self._anchors[anchor] = size
        self._sizes[-1] += size
        if self._sizes[-1] > MOST_NODES:
            raise Unreadable(f"holds more than {MOST_NODES} values")


def _is_whole(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _on_one_line(error: Exception) -> str:
    mark: yaml.Mark | None = getattr(error, "problem_mark", None)
    if mark is not None:
        problem = getattr(error, "problem", "") or "cannot be parsed"
        return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"
    return " ".join(str(error).split())
