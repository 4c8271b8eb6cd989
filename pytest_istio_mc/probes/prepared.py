"""Prepared namespaces: those of somebody else, in which a run may make objects.

Everything of a run in them has its label. Nothing else is changed there, and nothing else removed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .. import shell
from ..errors import KubeError, ObservationError, ProvisionError
from ..eventually import eventually
from ..istio_names import INJECTION_LABEL, REVISION_LABEL
from ..mesh import Mesh
from ..snapshot import is_injected
from ..together import try_each
from .leftovers import Leftover, heartbeat_in, ownership, standing_of
from .manifests import OWNER_ANNOTATION, RUN_LABEL, Manifest

if TYPE_CHECKING:
    from ..kube import Kube

_RUN = re.compile(r"[0-9a-f]{8}")

CLAIM = "istio-mc"
"""The ConfigMap that says whose turn it is in a prepared namespace."""

KINDS = (
    "Deployment.apps",
    "Service",
    "EndpointSlice.discovery.k8s.io",
    "ServiceAccount",
    "NetworkPolicy.networking.k8s.io",
    "AuthorizationPolicy.security.istio.io",
    "PeerAuthentication.security.istio.io",
    "DestinationRule.networking.istio.io",
    "ServiceEntry.networking.istio.io",
    "Sidecar.networking.istio.io",
    "VirtualService.networking.istio.io",
    "Lease.coordination.k8s.io",
    "ConfigMap",
)
"""What a run makes in namespaces, in the order of removal; the claim goes last."""


def is_own(mesh: Mesh, namespace: str) -> bool:
    """Whether a namespace is this run's, with all that is in it."""
    own = f"istio-mc-{mesh.run_id}"
    return not mesh.wishes.namespaces and f"{namespace}-".startswith(f"{own}-")


def claim(kube: Kube, namespace: str, run_id: str) -> None:
    """Take a prepared namespace for a run, until :func:`cleared`.

    Raises :class:`ProvisionError` where it is missing, asks for no sidecars, or has another run.
    """
    where = f'cluster "{kube.name}": namespace {namespace}'
    _require_serving(kube, where, namespace)
    metadata = {"name": CLAIM, "namespace": namespace, "labels": {RUN_LABEL: run_id}}
    metadata["annotations"] = ownership()
    try:
        kube.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
    except KubeError as error:
        other = kube.read("ConfigMap", CLAIM, namespace) if error.status == 409 else None
        if other is None:
            raise
        raise ProvisionError(where, *_whose(kube, namespace, other["metadata"])) from error


def _require_serving(kube: Kube, where: str, namespace: str) -> None:
    try:
        there = kube.read("Namespace", namespace)
    except KubeError as error:
        if error.status != 403:
            raise
        return  # what may not be read may be right all the same
    if there is None:
        advice = "have it made, or name another one with --mesh-namespace"
        raise ProvisionError(where, "is not there", advice=advice)
    labels = there["metadata"].get("labels") or {}
    if not is_injected(there):
        raise ProvisionError(
            where,
            "asks for no sidecars, which probes need",
            f"labels: {', '.join(sorted(labels)) or 'none'}",
            advice=shell.with_note(
                shell.kubectl(
                    kube.context, "label", f"namespace/{namespace}", f"{INJECTION_LABEL}=enabled"
                ),
                f"or {REVISION_LABEL}=REVISION",
            ),
        )


def _whose(kube: Kube, namespace: str, claimed: Mapping[str, Any]) -> tuple[str, str]:
    run_id = (claimed.get("labels") or {}).get(RUN_LABEL, "")
    notes = claimed.get("annotations") or {}
    if not run_id:
        return "cannot be used", f"it has a ConfigMap {CLAIM} that is not a run's"
    whom = f"run {run_id} of {notes.get(OWNER_ANNOTATION, '?')}"
    since = claimed.get("creationTimestamp", "?")
    swept = shell.command("istio-mc sweep", *_where(kube), f"--run={run_id}")
    return "is in use", f"by {whom}, since {since}; if that has ended: {swept}"


def claims(kube: Kube, namespaces: Sequence[str] | None = None) -> Iterator[Leftover]:
    """What runs have in prepared namespaces: in these, or in all.

    As if the namespace were the run's; its ``uid`` and ``resource_version`` are the claim's.
    """
    if namespaces is None:
        found = kube.list("ConfigMap", labels=RUN_LABEL, metadata_only=True)
    else:
        read = [kube.read("ConfigMap", CLAIM, name) for name in namespaces]
        found = [item for item in read if item is not None]
    for metadata in (item["metadata"] for item in found):
        run_id = str((metadata.get("labels") or {}).get(RUN_LABEL, ""))
        if metadata["name"] != CLAIM or not _RUN.fullmatch(run_id):
            continue
        now, namespace = kube.now(), metadata["namespace"]
        standing, beat = standing_of(metadata, heartbeat_in(kube, namespace, run_id, now), now)
        yield Leftover(
            namespace, run_id, standing, metadata["uid"], metadata["resourceVersion"], beat
        )


def removal(kube: Kube, namespace: str, run_id: str) -> str:
    """The command that removes what a run left in a prepared namespace."""
    words = ("-n", namespace, "delete", ",".join(KINDS), "-l", f"{RUN_LABEL}={run_id}")
    return shell.command("kubectl", *_where(kube), *words)


def _where(kube: Kube) -> list[str]:
    return [f"--kubeconfig={kube.kubeconfig}", f"--context={kube.context}"]


def require_free(mesh: Mesh, kube: Kube, namespace: str, objects: Sequence[Manifest]) -> None:
    """Raise :class:`ObservationError` where an object of that name is not this run's."""
    if is_own(mesh, namespace):
        return
    for one in objects:
        name = one["metadata"]["name"]
        there = kube.read(kind_of(one), name, namespace)
        if there is not None and _run_of(there) != mesh.run_id:
            what = f"it has a {one['kind']} {name} that is not of this run"
            advice = "name a namespace without it (--mesh-namespace)"
            where = f'cluster "{kube.name}": namespace {namespace}'
            raise ObservationError(where, "cannot be used", what, advice=advice)


def remove(mesh: Mesh, kube: Kube, namespace: str, kind: str, name: str) -> None:
    """Delete an object, if it is this run's; a kind as :class:`Objects` names it."""
    if is_own(mesh, namespace):
        kube.delete(kind, name, namespace)
        return
    there = kube.read(kind, name, namespace)
    if there is not None and _run_of(there) == mesh.run_id:
        _delete(kube, kind, namespace, there["metadata"])


def cleared(kube: Kube, namespace: str, run_id: str, within_seconds: float) -> None:
    """Remove everything of a run from a prepared namespace, one by one.

    Returns once its pods are gone. An error does not stop the rest.
    """
    labels = f"{RUN_LABEL}={run_id}"

    def clear(kind: str) -> None:
        for item in kube.list(kind, namespace, labels=labels):
            metadata = item["metadata"]
            if kind != "ConfigMap" or metadata["name"] != CLAIM:
                _delete(kube, kind, namespace, metadata)

    try_each(clear, KINDS)
    eventually(
        lambda: [pod["metadata"]["name"] for pod in kube.list("Pod", namespace, labels=labels)],
        lambda pods: not pods,
        within_seconds=within_seconds,
        every_seconds=0.25,
        what=f'cluster "{kube.name}": pods of run {run_id} in {namespace} to be gone',
    )
    for item in kube.list("ConfigMap", namespace, labels=labels):
        _delete(kube, "ConfigMap", namespace, item["metadata"])


def _delete(kube: Kube, kind: str, namespace: str, metadata: Mapping[str, Any]) -> None:
    try:
        kube.delete(kind, metadata["name"], namespace, uid=metadata.get("uid", ""))
    except KubeError as error:
        if error.status != 409:  # another one has that name now, which is not ours
            raise


def kind_of(manifest: Manifest) -> str:
    """The kind of a manifest with its group."""
    group = str(manifest["apiVersion"]).rpartition("/")[0]
    return f"{manifest['kind']}.{group}" if group else str(manifest["kind"])


def _run_of(item: Mapping[str, Any]) -> str:
    return str((item["metadata"].get("labels") or {}).get(RUN_LABEL, ""))
