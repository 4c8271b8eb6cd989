"""Patch: what a user adds to namespaces and pods of probes, validated and merged.

It is the content of ``--mesh-probe-patch``: sections ``namespace``, ``pod`` and ``container``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

SECTIONS = ("namespace", "pod", "container")

_TAKEN: Mapping[str, Any] = {"not": {}}
_OURS = {r"(^|\.)istio-mc\.dev/": _TAKEN}
_TEXT = {"type": ["string", "null"], "maxLength": 65536}
_TEXTS = {"type": "object", "additionalProperties": _TEXT}
_OBJECTS = {"type": ["array", "null"], "items": {"type": "object"}}
_OBJECT = {"type": ["object", "null"]}
_SWITCH = {"type": ["boolean", "null"]}


def _texts(taken: Mapping[str, Any], patterns: Sequence[str] = ()) -> dict[str, Any]:
    refused = dict.fromkeys(patterns, _TAKEN)
    return _TEXTS | {"properties": dict(taken), "patternProperties": _OURS | refused}


def _section(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "additionalProperties": False}


_INJECTED = {"enum": ["true", None]}
_NAMED = {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}
_VARIABLE = {"pattern": "^(?!ISTIO_MC_|TMPDIR$|PYTHON)"}

SCHEMA: Mapping[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    **_section(
        namespace=_section(
            labels=_texts({"istio-injection": {"enum": ["enabled", None]}}, ["^kubernetes[.]io/"]),
            annotations=_texts({}),
        ),
        pod=_section(
            metadata=_section(
                labels=_texts(
                    {
                        "app": _TAKEN,
                        "version": _TAKEN,
                        "istio-locality": _TAKEN,
                        "topology.istio.io/network": _TAKEN,
                        "topology.istio.io/cluster": _TAKEN,
                        "sidecar.istio.io/inject": _INJECTED,
                    }
                ),
                annotations=_texts(
                    {
                        "proxy.istio.io/config": _TAKEN,
                        "sidecar.istio.io/userVolumeMount": _TAKEN,
                        "sidecar.istio.io/inject": _INJECTED,
                    },
                    [r"^traffic\.sidecar\.istio\.io/"],
                ),
            ),
            spec=_section(
                affinity=_OBJECT,
                dnsConfig=_OBJECT,
                enableServiceLinks=_SWITCH,
                hostUsers=_SWITCH,
                imagePullSecrets={"type": ["array", "null"], "items": _NAMED},
                nodeSelector=_TEXTS,
                preemptionPolicy=_TEXT,
                priorityClassName=_TEXT,
                runtimeClassName=_TEXT,
                schedulerName=_TEXT,
                securityContext=_OBJECT,
                tolerations=_OBJECTS,
                topologySpreadConstraints=_OBJECTS,
            ),
        ),
        container=_section(
            env={"type": "array", "items": _NAMED | {"properties": {"name": _VARIABLE}}},
            imagePullPolicy={"enum": ["Always", "IfNotPresent", "Never", None]},
            resources=_OBJECT,
            securityContext=_OBJECT,
        ),
    ),
}
"""What may be patched: nothing by which probes are found, told apart or made to work."""


def problems(document: Any) -> list[str]:
    """What is wrong with a patch, a sentence each, beginning with the path."""
    from jsonschema import Draft202012Validator

    errors = Draft202012Validator(SCHEMA).iter_errors(document)
    ordered = sorted(errors, key=lambda error: [str(part) for part in error.absolute_path])
    return [problem for error in ordered for problem in _told(error)]


def _told(error: ValidationError) -> Iterator[str]:
    path = [str(part) for part in error.absolute_path]
    where = ".".join(path) or "the file"
    if error.validator == "additionalProperties":
        known = cast("Mapping[str, Any]", error.schema)["properties"]
        extra = set(cast("Mapping[str, Any]", error.instance)) - set(known)
        for name in sorted(map(str, extra)):
            valid = f"valid there are: {', '.join(known)}"
            yield f"{'.'.join([*path, name])}: cannot be patched; {valid}"
    elif error.validator == "not":
        yield f"{where}: belongs to the probes and cannot be patched"
    elif error.validator == "pattern":
        yield f"{where}: {error.instance} belongs to the probes and cannot be patched"
    elif error.validator == "type":
        wanted: Any = error.validator_value
        kinds = [wanted] if isinstance(wanted, str) else [kind for kind in wanted if kind != "null"]
        quoted = "; quote it" if kinds == ["string"] else ""
        named = {
            "object": "a mapping",
            "array": "a list",
            "string": "a text",
            "boolean": "a switch",
        }
        yield f"{where}: {error.instance!r} is not {named[kinds[0]]}{quoted}"
    else:
        yield f"{where}: {error.message}"


def merged(base: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """The base with the patch in it, which both stay as they are.

    - Mappings are merged, and null removes a key.
    - Lists of objects are joined, by ``name`` where they have one; other lists are replaced.
    """
    found = dict(base)
    for key, value in patch.items():
        before = found.get(key)
        if value is None:
            found.pop(key, None)
        elif isinstance(value, Mapping):
            found[key] = merged(before if isinstance(before, Mapping) else {}, value)
        elif isinstance(value, list) and isinstance(before, list):
            found[key] = _joined(before, value)
        else:
            found[key] = value
    return found


def _joined(before: list[Any], added: list[Any]) -> list[Any]:
    if not all(isinstance(one, Mapping) for one in (*before, *added)):
        return added
    names = {one["name"] for one in added if "name" in one}
    return [one for one in before if one.get("name") not in names and one not in added] + added
