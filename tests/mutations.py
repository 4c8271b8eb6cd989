"""Mutations: random damage to a plain JSON document, as strangers and broken disks do it."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

DEPTHS = (50, 190, 3000)

VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, 1e18, 1e308, 1700000000000, 10**30, "", "x", "\x1b[2J\x07", "a\x00",
    "a;b $(x)\n'\"", "\u202e", "9" * 400, "1970-01-01", "0001-01-01T00:00:00Z", "../../etc", "1",
    "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", [], {}, [None], [[]],
    {"": None}, {"a": {"b": [1]}}, ["x"], [1],
)  # fmt: skip
"""What may come into the place of a value."""

Path = tuple[Any, ...]


def mutated(document: Any, rng: random.Random) -> tuple[str, Path]:
    """The JSON text of a document that was damaged in one place, and that place."""
    document = json.loads(json.dumps(document))
    path = rng.choice(list(_places(document)))
    deep = rng.choice(DEPTHS)
    if not path:
        document = rng.choice(VALUES)
    else:
        _spoil(document, path, rng)
    text = json.dumps(document)
    return text.replace('"@deep"', "[" * deep + "]" * deep), path


def _spoil(document: Any, path: Path, rng: random.Random) -> None:
    holder, last = _at(document, path[:-1]), path[-1]
    match rng.choice(
        ("delete", "delete", "rename", "twice", "deep", "other", *["letter"] * 3, *["value"] * 5)
    ):
        case "delete":
            del holder[last]
        case "rename" if isinstance(holder, dict):
            holder[rng.choice(("zz", "name", "", "\x1b"))] = holder.pop(last)
        case "twice" if isinstance(holder, list):
            holder.append(_copied(holder[last]))
        case "deep":
            holder[last] = "@deep"
        case "letter" if isinstance(holder[last], str) and holder[last]:
            text, place = holder[last], rng.randrange(len(holder[last]))
            holder[last] = text[:place] + rng.choice("\0\n/A=é\x9b") + text[place + 1 :]
        case "other":
            holder[last] = _copied(_at(document, rng.choice(list(_places(document)))))
        case _:
            holder[last] = _copied(rng.choice(VALUES))


def _places(value: Any, path: Path = ()) -> Iterator[Path]:
    yield path
    entries: Any = ()
    if isinstance(value, dict):
        entries = value.items()
    elif isinstance(value, list):
        entries = enumerate(value)
    for key, entry in entries:
        yield from _places(entry, (*path, key))


def _at(value: Any, path: Path) -> Any:
    for part in path:
        value = value[part]
    return value


def _copied(value: Any) -> Any:
    return json.loads(json.dumps(value))
