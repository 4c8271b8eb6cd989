"""Apply: many manifests to one cluster in few steps."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..errors import KubeError, NotInTime
from ..eventually import eventually
from ..together import for_each
from .objects import Objects

Manifest = Mapping[str, Any]

PATIENCE_SECONDS = 15.0
_AT_ONCE = 6

# Pods of these mount and impersonate what the other manifests make, and read what CRDs define.
# What comes too early for them is tried again by others only seconds later.
_WORKLOADS = {"Deployment", "DaemonSet", "StatefulSet", "ReplicaSet", "Job", "CronJob", "Pod"}

_NOT_READY_YET = (
    "failed calling webhook",  # the webhook's server is starting
    "storage is (re)initializing",  # a CRD has just been accepted
    "the server could not find the requested resource",  # the same, a moment earlier
    "page not found",
    "does not serve it",
    "the object has been modified",
)

_BUSY = (429, 502, 503, 504)


def apply(
    kube: Objects,
    manifests: Sequence[Manifest],
    namespace: str,
    field_manager: str,
    patience_seconds: float,
) -> None:
    """Do what :meth:`Kube.apply` promises."""
    definitions = [entry for entry in manifests if entry["kind"] == "CustomResourceDefinition"]
    defined = {(crd["spec"]["group"], crd["spec"]["names"]["kind"]) for crd in definitions}
    namespaces, others, late = [], [], []
    for manifest in manifests:
        if manifest["kind"] == "Namespace":
            namespaces.append(manifest)
        elif manifest["kind"] in _WORKLOADS or _group_and_kind(manifest) in defined:
            late.append(manifest)
        elif manifest["kind"] != "CustomResourceDefinition":
            others.append(manifest)

    def one(manifest: Manifest) -> KubeError | None:
        return _until_accepted(kube, manifest, namespace, field_manager, patience_seconds)

    _raise_first(for_each(one, [*namespaces, *definitions], _AT_ONCE))
    _raise_first(for_each(one, others, _AT_ONCE))
    _wait_served(kube, definitions, patience_seconds)
    _raise_first(for_each(one, late, _AT_ONCE))


def _group_and_kind(manifest: Manifest) -> tuple[str, str]:
    return str(manifest["apiVersion"]).rpartition("/")[0], str(manifest["kind"])


def _until_accepted(
    kube: Objects, manifest: Manifest, namespace: str, field_manager: str, patience_seconds: float
) -> KubeError | None:
    """Apply one manifest with patience; the error if it is refused."""

    def attempt() -> KubeError | None:
        try:
            kube.apply_one(manifest, namespace, field_manager)
        except KubeError as error:
            return error
        return None

    what = f"{manifest['kind']} {manifest['metadata']['name']} is accepted"
    try:
        return eventually(
            attempt,
            lambda error: not _may_pass(error),
            within_seconds=patience_seconds,
            what=what,
            every_seconds=0.05,
        ).value
    except NotInTime as error:
        return KubeError(f'cluster "{kube.name}"', what, f"{error.step}, {error.detail}")


def _may_pass(error: KubeError | None) -> bool:
    """Whether patience helps: the API server is busy, or something behind it is starting."""
    if error is None:
        return False
    told = any(text in error.detail for text in _NOT_READY_YET)
    return error.status in _BUSY or (error.status in (404, 409, 500) and told)


def _wait_served(kube: Objects, definitions: Sequence[Manifest], patience_seconds: float) -> None:
    """Wait until every new kind can be listed.

    A CRD is established, and in the discovery documents, earlier than that.
    """
    for crd in definitions:
        spec = crd["spec"]
        version = next(version["name"] for version in spec["versions"] if version["storage"])
        path = f"/apis/{spec['group']}/{version}/{spec['names']['plural']}"
        eventually(
            functools.partial(kube.get_path, path, limit="1"),
            bool,
            within_seconds=patience_seconds,
            what=f'cluster "{kube.name}": {crd["metadata"]["name"]} is served',
            every_seconds=0.05,
        )


def _raise_first(errors: Iterable[KubeError | None]) -> None:
    """Raise the first error, with the number of others."""
    found = [error for error in errors if error is not None]
    if len(found) > 1:
        found[0].detail += f"; {len(found) - 1} other objects were refused, too"
    if found:
        raise found[0]
