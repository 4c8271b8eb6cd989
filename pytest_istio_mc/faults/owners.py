"""Owners: who manages which fields of an object, and gets them back.

The shapes are those of ``metadata.managedFields`` (Kubernetes, "Server-Side Apply").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import KubeError

if TYPE_CHECKING:
    from ..kube import Kube

FIELD_MANAGER = "istio-mc-fault"
"""Who owns what a fault changes in an object of others."""

_TRIES = 5

Entry = Mapping[str, Any]
Fields = Mapping[str, Any]


def given_back(now: Sequence[Entry], before: Sequence[Entry]) -> list[dict[str, Any]]:
    """The owners of an object without ourselves.

    What we own goes back to those who owned it ``before``. All else stays as it is ``now``, also
    what others did meanwhile.
    """
    ours: Fields = {}
    for entry in now:
        if entry.get("manager") == FIELD_MANAGER:
            ours = _union(ours, entry.get("fieldsV1") or {})
    owners = {_key(one): dict(one) for one in now if one.get("manager") != FIELD_MANAGER}
    for entry in before:
        lost = _common(entry.get("fieldsV1") or {}, ours)
        if lost and entry.get("manager") != FIELD_MANAGER:
            held = owners.setdefault(_key(entry), {**entry, "fieldsV1": {}})
            held["fieldsV1"] = _union(held.get("fieldsV1") or {}, lost)
    return list(owners.values())


def changed(
    kube: Kube,
    kind: str,
    name: str,
    namespace: str,
    change: Callable[[Mapping[str, Any]], Mapping[str, Any]],
) -> dict[str, Any]:
    """Patch an object of others with what ``change`` makes of it; the result.

    - ``change`` is asked anew where somebody else wrote the object in between.
    - :class:`KubeError` with status 404 where it is gone.
    """
    for _ in range(_TRIES):
        item = kube.read(kind, name, namespace)
        if item is None:
            break
        try:
            return _merge(kube, kind, name, namespace, item, change(item))
        except KubeError as error:
            if error.status != 409:
                raise
    thing, step = f'cluster "{kube.name}": {kind} {namespace}/{name}', "cannot be changed"
    if item is None:
        raise KubeError(thing, step, "it is gone", status=404)
    raise KubeError(thing, step, "somebody else writes it all the time", status=409)


def put_back(
    kube: Kube,
    kind: str,
    name: str,
    namespace: str,
    before: Sequence[Entry],
    change: Callable[[Mapping[str, Any]], dict[str, Any] | None],
) -> None:
    """Patch an object with what ``change`` makes of it, and give fields back to their owners.

    - ``change`` is asked anew where somebody else wrote the object in between; None is no change.
    - What changes a field also takes it, so that the owners follow in a second patch. Each is only
      for the version that was read: nobody's write is lost between the two.
    - An object that is gone stays gone.
    """
    for attempt in range(_TRIES):
        item = kube.read(kind, name, namespace)
        if item is None:
            return
        owners = given_back(item["metadata"].get("managedFields") or [], before)
        try:
            patch = change(item)
            if patch is not None:
                item = _merge(kube, kind, name, namespace, item, patch)
            held = [one.get("manager") for one in item["metadata"].get("managedFields") or []]
            if owners and FIELD_MANAGER in held:
                _merge(kube, kind, name, namespace, item, {"metadata": {"managedFields": owners}})
            return
        except KubeError as error:
            if error.status != 409 or attempt == _TRIES - 1:
                raise
            before = owners


def _merge(
    kube: Kube,
    kind: str,
    name: str,
    namespace: str,
    item: Mapping[str, Any],
    patch: Mapping[str, Any],
) -> dict[str, Any]:
    version = {"resourceVersion": item["metadata"]["resourceVersion"]}
    whole = {**patch, "metadata": {**patch.get("metadata", {}), **version}}
    return kube.merge(kind, name, namespace, whole, field_manager=FIELD_MANAGER)


def _key(entry: Entry) -> tuple[str, ...]:
    names = ("manager", "operation", "apiVersion", "subresource")
    return tuple(str(entry.get(name, "")) for name in names)


def _union(one: Fields, other: Fields) -> dict[str, Any]:
    return {key: _union(one.get(key) or {}, other.get(key) or {}) for key in {**one, **other}}


def _common(one: Fields, other: Fields) -> dict[str, Any]:
    """The fields in both; a leaf is an empty mapping, as is ``.``, the field itself."""
    found = {}
    for key in one:
        if key in other:
            below = _common(one[key], other[key])
            if below or not one[key] or not other[key]:
                found[key] = below
    return found
