"""Hostile: meshes whose names want to act, and a shell in which it shows what they get done."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from pytest_istio_mc.recorded import AccessFacts
from pytest_istio_mc.snapshot import Snapshot
from pytest_istio_mc.verdicts import Finding
from tests.static_checks import STATIC

Rename = Callable[[str], str]

_RENAMED_KINDS = (
    "Gateway.networking.istio.io",
    "DestinationRule.networking.istio.io",
    "PeerAuthentication.security.istio.io",
    "MutatingWebhookConfiguration",
    "EndpointSlice",
    "Service",
    "Node",
    "Pod",
)
_KEPT = ("default", "kubernetes", "istiod", "istio", "true", "enabled")
"""Words that checks know: with others in their place, there is less to find."""


def with_names(snapshot: Snapshot, rename: Rename) -> Snapshot:
    """The snapshot with all names that clusters and people give renamed, wherever they stand."""
    tokens = sorted(set(_names(snapshot)) - {"", *_KEPT}, key=len, reverse=True)
    found = re.compile("|".join(map(re.escape, tokens)))

    def renamed(text: str) -> str:
        if "-----BEGIN" in text:
            return text
        return found.sub(lambda match: rename(match[0]), text)

    made: Snapshot = _mapped(snapshot, renamed)
    spec = made.spec
    contexts = (replace(one, context=rename(one.context or "context")) for one in spec.clusters)
    return replace(made, spec=replace(spec, clusters=tuple(contexts)))


def _names(snapshot: Snapshot) -> Iterator[str]:
    yield snapshot.spec.istio_namespace
    if snapshot.probes:
        yield from (snapshot.probes.namespace, snapshot.probes.service)
    for cluster in snapshot.spec:
        yield from (cluster.name, cluster.network)
    for found in snapshot:
        yield from (secret.name for secret in found.secrets)
        yield from (key for secret in found.secrets for key in secret.kubeconfigs)
        yield from (access.server for access in found.access)
        for kind in _RENAMED_KINDS:
            for item in found.objects.get(kind, ()):
                yield item["metadata"]["name"]
                selector = item.get("spec", {}).get("selector") or {}
                yield from (value for value in selector.values() if isinstance(value, str))


def with_errors(snapshot: Snapshot, text: str) -> Snapshot:
    """The snapshot with a text behind everything that API servers were heard to say."""

    def spoilt(access: AccessFacts) -> AccessFacts:
        said = ("connect_error", "message", "unprobed")
        changes = {key: old + text for key in said if (old := getattr(access, key))}
        return replace(access, **changes)

    clusters = {
        found.name: replace(found, access=tuple(map(spoilt, found.access))) for found in snapshot
    }
    return replace(snapshot, clusters=clusters)


def _mapped(value: Any, renamed: Rename) -> Any:
    """A value of frozen dataclasses with every text in it renamed."""
    if isinstance(value, str):
        return renamed(value)
    if is_dataclass(value) and not isinstance(value, type):
        changes = {one.name: _mapped(getattr(value, one.name), renamed) for one in fields(value)}
        return replace(value, **changes)
    if isinstance(value, Mapping):
        return {_mapped(key, renamed): _mapped(entry, renamed) for key, entry in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(_mapped(entry, renamed) for entry in value)
    return value


def findings_of(snapshot: Snapshot) -> list[Finding]:
    """All findings of the static checks that such a mesh can have."""
    return [
        finding
        for check in STATIC.values()
        if set(check.requires) <= snapshot.spec.features
        for finding in check.judge(snapshot).findings
    ]


@dataclass(frozen=True)
class Call:
    """A program that a command line ran: its words, and what it read."""

    words: tuple[str, ...]
    read: str

    def texts(self) -> Iterator[str]:
        """Each word and what was read; of JSON, each text in it."""
        for text in (*self.words, self.read):
            try:
                yield from _texts(json.loads(text))
            except ValueError:
                yield text


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, entry in value.items():
            yield from (key, *_texts(entry))
    elif isinstance(value, list):
        for entry in value:
            yield from _texts(entry)


_PROGRAMS = (
    "kubectl",
    "istioctl",
    "istio-mc",
    "grep",
    "sed",
    "samples/multicluster/gen-eastwest-gateway.sh",
)

_SHELL = r"""
PATH=
stub() {
  local read=
  IFS= read -r -d '' read
  printf '%s\0' "$@" "$read" > "$CALLS/$BASHPID.$RANDOM$RANDOM"
}
PROGRAMS
for file in "$REMEDIES"/*; do
  CALLS="$RECORDS/${file##*/}"
  ( eval "$(<"$file")" ) </dev/null || echo "$file"
done
"""


def typed_in(remedies: Iterable[str], folder: Path) -> list[list[Call]]:
    """The calls of each remedy in a bash in which only stubs and builtins can be run.

    Asserts that bash takes each as it is, and that nothing else came of it.
    """
    texts = list(remedies)
    lines, records, empty = folder / "remedies", folder / "records", folder / "empty"
    for made in (lines, records, empty):
        made.mkdir(parents=True)
    for number, text in enumerate(texts):
        (lines / f"{number:05}").write_text(text, encoding="utf-8")
        (records / f"{number:05}").mkdir()
    stubs = "\n".join(f'function {name} {{ stub {name} "$@"; }}' for name in _PROGRAMS)
    done = subprocess.run(
        ["/bin/bash", "-c", _SHELL.replace("PROGRAMS", stubs)],
        cwd=empty,
        env={"REMEDIES": str(lines), "RECORDS": str(records), "LC_ALL": "C.UTF-8"},
        capture_output=True,
        timeout=120,
    )
    assert (done.stdout, done.stderr) == (b"", b""), done.stderr.decode(errors="replace")
    assert list(empty.iterdir()) == [], "a name was run"
    assert {file.name for file in folder.iterdir()} == {"remedies", "records", "empty"}
    return [list(_recorded(records / f"{number:05}")) for number in range(len(texts))]


def _recorded(folder: Path) -> Iterator[Call]:
    for file in sorted(folder.iterdir()):
        *words, read, _ = file.read_bytes().decode("utf-8", "surrogateescape").split("\0")
        yield Call(tuple(words), read)
