"""Service settings: entries put into the text of a mesh configuration, and taken out again.

Every entry of ours has one more host, which no service can have: it tells ours from others'
whatever becomes of the text around it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

KEY = "serviceSettings"

_MARKER = re.compile(r"istio-mc-([0-9a-f]{8})\.invalid")

Settings = Sequence[Mapping[str, Any]]


def marker(run_id: str) -> str:
    """The host by which entries of a run are known (``.invalid`` is reserved by RFC 2606)."""
    return f"istio-mc-{run_id}.invalid"


def runs_in(text: str) -> set[str]:
    """The runs that have entries in a text."""
    return set(_MARKER.findall(text))


def marked(settings: Settings, run_id: str) -> list[dict[str, Any]]:
    """The entries with the host that marks them."""
    return [{**entry, "hosts": [*entry["hosts"], marker(run_id)]} for entry in settings]


def put_in(text: str, settings: Settings) -> str:
    """The text with more entries; the rest stays as it is written, where YAML's style allows."""
    import yaml

    document = _document(text)
    theirs = document.get(KEY) or []
    wanted = document | {KEY: [*theirs, *(dict(entry) for entry in settings)]}
    block = yaml.safe_dump([dict(entry) for entry in settings]).splitlines()
    lines = text.splitlines()
    place = _entries(text)
    if place is not None and place.items:
        last = place.items[-1]
        indented = [f"{' ' * place.column}{line}" for line in block]
        lines[last.stop : last.stop] = indented
    elif KEY not in document:
        lines += [f"{KEY}:", *block]
    return _if_it_says(lines, wanted)


def taken_out(text: str, run_id: str, hosts: Iterable[str], original: str) -> str:
    """The text without a run's entries; all that others wrote stays.

    - ``hosts`` are those that the run ever wrote: hosts that somebody else put into one of its
      entries stay.
    - Where it then says what ``original`` says, it is that, byte for byte.
    - ``ValueError`` or ``yaml.YAMLError`` where the text is no mesh configuration.
    """
    document, before = _document(text), _document(original)
    entries = document.get(KEY)
    if not isinstance(entries, list):
        return text
    written = {*hosts, marker(run_id)}
    theirs = before.get(KEY) or []
    kept: list[Any] = []
    gone: set[int] = set()
    for number, entry in enumerate(entries):
        named = entry.get("hosts") if isinstance(entry, Mapping) else None
        if not isinstance(named, list) or not _is_ours(entry, named, written, run_id, theirs):
            kept.append(entry)
        elif others := [host for host in named if host not in written]:
            kept.append({**entry, "hosts": others})
        else:
            gone.add(number)
    if kept == entries:
        return text
    wanted = document | {KEY: kept}
    if not kept and not theirs:  # as empty as it was: absent, null or an empty list
        wanted = {key: value for key, value in wanted.items() if key != KEY}
        wanted |= {key: before[key] for key in before if key == KEY}
    if wanted == before:
        return original
    return _if_it_says(_without(text, gone, key=KEY not in wanted), wanted)


def _is_ours(
    entry: Mapping[str, Any],
    hosts: Sequence[Any],
    written: set[str],
    run_id: str,
    theirs: Sequence[Any],
) -> bool:
    """Whether a run wrote the entry, even if it has lost its mark."""
    if marker(run_id) in hosts:
        return True
    local = entry.get("settings") == {"clusterLocal": True}
    return local and bool(hosts) and set(map(str, hosts)) <= written and entry not in theirs


def _document(text: str) -> dict[str, Any]:
    import yaml

    document = yaml.safe_load(text)
    if document is not None and not isinstance(document, dict):
        raise ValueError("a mesh configuration is a mapping")
    return document or {}


def _if_it_says(lines: Sequence[str], wanted: Mapping[str, Any]) -> str:
    """The lines where they mean what is wanted, else that in YAML's plainest style."""
    import yaml

    text = "\n".join(lines) + "\n"
    try:
        if yaml.safe_load(text) == wanted:
            return text
    except yaml.YAMLError:
        pass
    return yaml.safe_dump(dict(wanted), sort_keys=False)


class _Entries:
    """The lines of the sequence: its key and items, and how far they are indented."""

    def __init__(self, key: Any, sequence: Any) -> None:
        self.key = int(key.start_mark.line)
        self.column = int(sequence.start_mark.column)
        self.items = [range(item.start_mark.line, _last_line(item) + 1) for item in sequence.value]


def _entries(text: str) -> _Entries | None:
    """Where the entries are; None where there is no such key, or not in block style."""
    import yaml

    root = yaml.compose(text, Loader=yaml.SafeLoader)
    for key, value in root.value if isinstance(root, yaml.MappingNode) else ():
        if key.value == KEY and isinstance(value, yaml.SequenceNode) and not value.flow_style:
            return _Entries(key, value)
    return None


def _last_line(node: Any) -> int:
    """The last line of a node.

    The end mark of a block comes only after the comments that follow it.
    """
    while isinstance(node.value, list) and node.value and not node.flow_style:
        last = node.value[-1]
        node = last[1] if isinstance(last, tuple) else last
    return int(node.end_mark.line)


def _without(text: str, gone: set[int], *, key: bool) -> list[str]:
    lines, place = text.splitlines(), _entries(text)
    if place is None:
        return lines
    dropped = {line for number in gone for line in place.items[number]}
    if key:
        dropped.add(place.key)
    return [line for number, line in enumerate(lines) if number not in dropped]
