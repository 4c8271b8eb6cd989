"""Workloads: the probes of one run, put into all clusters and taken away."""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..errors import MeshError, NotInTime, ObservationError, ProvisionError
from ..eventually import Timeouts, eventually
from ..istio_names import (
    EAST_WEST_PORT,
    INJECTION_LABEL,
    KUBE_SYSTEM,
    REMOTE_SECRETS,
    REVISION_LABEL,
)
from ..kube import lease
from ..mesh import Mesh, ProbePod, Probes
from ..progress import Progress
from ..spec import MeshSpec
from ..together import for_each, try_each
from . import manifests, objects, policies, prepared
from .causes import explained
from .leftovers import ownership
from .patch import merged
from .settling import settle
from .surroundings import (
    assigns_users,
    default_sidecar,
    discovery_labels,
    injection,
    mesh_config,
    opened,
)

if TYPE_CHECKING:
    from ..kube import Kube

PURPOSES = ("config", "imports", "local")
"""What checks need a namespace of their own for."""

_ASKED = (INJECTION_LABEL, REVISION_LABEL)
"""The labels by which a namespace asks for sidecars."""

_SERVER = re.compile(r"server:\s*[\"']?(https?://\S+?)[\"']?\s")


@contextmanager
def deployed(
    mesh: Mesh,
    kubes: Mapping[str, Kube],
    timeouts: Timeouts,
    progress: Progress,
    *,
    remove: bool = True,
    tell_missing: Callable[[MeshError], None] | None = None,
) -> Iterator[Mesh]:
    """The mesh with ready probes in every cluster that runs workloads.

    - Their namespaces are gone at the end; ``remove=False`` leaves them to the end of the clusters.
    - Raises :class:`ProvisionError` or ``KubeError``, naming the cluster.
    - As long as the probes came up in some cluster, ``tell_missing``, where there is one, is told
      these errors instead, and the mesh has the probes that came up.
    """
    spec, key = mesh.spec, secrets.token_hex(16)
    name = namespaces(mesh)[0]
    versions = {cluster.name: f"v{place}" for place, cluster in enumerate(spec, 1)}

    def deploy(cluster: str) -> tuple[ProbePod, ...]:
        kube, version = kubes[cluster], versions[cluster]
        _make_namespaces(mesh, kubes, cluster)
        heartbeat(kube)
        patch = mesh.wishes.patch
        form = manifests.Form(mesh.run_id, mesh.probe_image, key, assigns_users(kube), patch)
        wanted = manifests.workloads(cluster, version, form, excluded_ports(spec, kubes, cluster))
        if cluster in spec.config_clusters:
            wanted += policies.policies(mesh.run_id, name, list(versions.values()))
            wanted += _opened_sidecar(mesh, kubes, cluster)
        objects.apply(mesh, kube, name, *wanted)
        names = (f"{manifests.SERVICE}-{version}", manifests.CLIENT)
        _wait_available(mesh, kube, name, names, timeouts.workload_ready)
        return probe_pods(kube, cluster, name, mesh.run_id)

    def attempt(cluster: str) -> tuple[ProbePod, ...] | MeshError:
        try:
            return deploy(cluster)
        except MeshError as error:
            return explained(error)

    def heartbeat(kube: Kube) -> None:
        place = (name, manifests.run_lease(mesh.run_id), mesh.run_id)
        lease.take(kube, *place, {manifests.RUN_LABEL: mesh.run_id})
        beats.begin(kube, *place)

    clusters = [cluster.name for cluster in spec.data_planes]
    own = {cluster: kubes[cluster] for cluster in clusters}
    missing: list[MeshError] = []
    with (
        _removed_at_end(mesh, own, timeouts, progress, remove=remove),
        lease.Heartbeats() as beats,
    ):
        with progress.step(f"probes ready in {', '.join(clusters)}"):
            made = for_each(attempt, clusters)
            missing += (error for error in made if isinstance(error, MeshError))
            if missing and (tell_missing is None or len(missing) == len(made)):
                raise missing[0]
        found = tuple(pod for pods in made if not isinstance(pods, MeshError) for pod in pods)
        probed = replace(mesh, probes=Probes(name, manifests.SERVICE, mesh.probe_image, found))
        for error in missing:
            assert tell_missing is not None
            tell_missing(error)
        if not missing:
            settle(probed, kubes, timeouts, progress)
        yield probed


def namespaces(mesh: Mesh) -> tuple[str, ...]:
    """The namespaces of a run: that of the probes, then those that checks may take."""
    name = f"istio-mc-{mesh.run_id}"
    return mesh.wishes.namespaces or (name, *(f"{name}-{purpose}" for purpose in PURPOSES))


@contextmanager
def own_namespace(
    mesh: Mesh, kubes: Mapping[str, Kube], timeouts: Timeouts, purpose: str
) -> Iterator[str]:
    """A namespace for one check, in every cluster with workloads; yields its name.

    - ``purpose`` is one of ``PURPOSES``, or any other word for a namespace of the run's own.
    - The run's own is empty. Its removal is ordered at the end and not waited for, which would
      take seconds; :func:`deployed` waits until all namespaces of the run are gone.
    - A prepared one may serve several checks at a time, that name their objects differently and
      remove them. :class:`ObservationError` where there is none.
    """
    name, *others = namespaces(mesh)
    if not mesh.wishes.namespaces:
        others = [f"{name}-{purpose}"]
    if not others:
        raise ObservationError(
            "a namespace besides that of the probes",
            "is needed by this check",
            f"--mesh-namespace names {name} only",
            advice=f"name another prepared one: --mesh-namespace={name},OTHER",
        )
    place = PURPOSES.index(purpose) if purpose in PURPOSES else 0
    taken = others[place % len(others)]
    if mesh.wishes.namespaces:
        yield taken
        return
    own = [kubes[cluster.name] for cluster in mesh.spec.data_planes]

    def make(cluster: str) -> None:
        # one that the same check had before may still be going
        eventually(
            lambda: kubes[cluster].read("Namespace", taken),
            lambda item: not item or not item["metadata"].get("deletionTimestamp"),
            within_seconds=timeouts.clean_up,
            every_seconds=0.25,
            what=f'cluster "{cluster}": an earlier namespace {taken} to be gone',
        )
        kubes[cluster].apply(run_namespace(mesh, kubes, cluster, taken))

    try:
        for_each(make, [cluster.name for cluster in mesh.spec.data_planes])
        yield taken
    finally:
        try_each(lambda kube: kube.delete("Namespace", taken), own)


def _make_namespaces(mesh: Mesh, kubes: Mapping[str, Kube], cluster: str) -> None:
    """Make the namespace of the probes, or take all prepared ones."""
    if not mesh.wishes.namespaces:
        kubes[cluster].apply(run_namespace(mesh, kubes, cluster, namespaces(mesh)[0]))
    for name in mesh.wishes.namespaces:
        prepared.claim(kubes[cluster], name, mesh.run_id)


def _opened_sidecar(
    mesh: Mesh, kubes: Mapping[str, Kube], cluster: str
) -> Iterator[manifests.Manifest]:
    """A Sidecar for the probes, where the mesh limits what all proxies are told.

    It is the mesh's own, that tells of the namespaces that checks look at besides.
    """
    root = mesh.spec.istio_namespace
    config = mesh_config(mesh, kubes, cluster, injection(kubes[cluster]).revision)
    limiting = default_sidecar(kubes[cluster], str(config.get("rootNamespace") or root))
    if limiting is not None:
        looked_at = (*namespaces(mesh), root, KUBE_SYSTEM, "default")
        yield policies.sidecar(mesh.run_id, opened(limiting, looked_at))


def _wait_available(
    mesh: Mesh, kube: Kube, namespace: str, names: Sequence[str], within_seconds: float
) -> None:
    """Wait for Deployments, and let their pods through network policies.

    A controller may put these into a new namespace at any time, and then pods do not even start.
    """
    deployments = [("Deployment", name) for name in names]
    is_open = _open_network(mesh, kube, namespace)
    try:
        kube.wait_available(deployments, namespace, within_seconds=within_seconds)
    except NotInTime:
        if is_open or not _open_network(mesh, kube, namespace):
            raise
        kube.wait_available(deployments, namespace, within_seconds=within_seconds)
    if not is_open:
        _open_network(mesh, kube, namespace)


def _open_network(mesh: Mesh, kube: Kube, namespace: str) -> bool:
    """Let the probes send and be sent, where the namespace has network policies; whether it has.

    Policies add up, so that none of others is changed. Where this is not allowed, checks will say
    what does not get through.
    """
    with suppress(MeshError):
        if kube.list("NetworkPolicy.networking.k8s.io", namespace):
            objects.apply(mesh, kube, namespace, policies.network_policy(mesh.run_id))
            return True
    return False


@contextmanager
def _removed_at_end(
    mesh: Mesh, kubes: Mapping[str, Kube], timeouts: Timeouts, progress: Progress, *, remove: bool
) -> Iterator[None]:
    """Remove namespaces of the run, or its objects in others, at the end.

    A failure to do so is reported beside an earlier error.
    """
    try:
        yield
    except BaseException as error:
        try:
            if remove:
                _remove_everywhere(mesh, kubes, timeouts)
        except MeshError as second:
            error.add_note(f"and run {mesh.run_id} could not be removed: {second}")
        raise
    if remove:
        with progress.step("probes removed"):
            _remove_everywhere(mesh, kubes, timeouts)


def _await_gone(kube: Kube, namespace: str, within_seconds: float) -> None:
    """Wait until a namespace is gone; :class:`NotInTime` says what holds it."""
    eventually(
        lambda: kube.read("Namespace", namespace),
        lambda item: item is None,
        within_seconds=within_seconds,
        every_seconds=0.25,
        what=f'cluster "{kube.name}": namespace {namespace} to be gone',
    )


def run_namespace(
    mesh: Mesh, kubes: Mapping[str, Kube], cluster: str, name: str
) -> manifests.Manifest:
    """A namespace of this run, with the labels that its pods need to be injected there.

    It also has those that the mesh's ``discoverySelectors`` demand, and what the user adds.
    """
    found, patch = injection(kubes[cluster]), mesh.wishes.patch.get("namespace") or {}
    added = patch.get("labels") or {}
    labels = dict(found.labels)
    if added.get(REVISION_LABEL):
        labels.pop(INJECTION_LABEL, None)  # it would win
    revision = added.get(REVISION_LABEL) or found.revision
    config = mesh_config(mesh, kubes, cluster, revision)
    labels.update(discovery_labels(config, name, merged(labels, added)))
    return manifests.namespace(name, mesh.run_id, labels, ownership(), patch)


def follow_revision(mesh: Mesh, kubes: Mapping[str, Kube], cluster: str, name: str) -> bool:
    """Label a namespace of this run for the revision that heeds it now.

    True where that changed it.
    """
    if mesh.wishes.namespaces:
        return False  # somebody else's, who says which revision its pods get
    there = kubes[cluster].read("Namespace", name) or {"metadata": {}}
    wanted = run_namespace(mesh, kubes, cluster, name)
    now, then = (
        {key: (one["metadata"].get("labels") or {}).get(key) for key in _ASKED}
        for one in (there, wanted)
    )
    if now == then:
        return False
    kubes[cluster].apply(wanted)
    return True


def excluded_ports(spec: MeshSpec, kubes: Mapping[str, Kube], cluster: str) -> list[int]:
    """The ports on which this cluster's client bypasses its sidecar.

    Those of gateways, istiods and policies, and of the API servers of other clusters.
    """
    ports = {EAST_WEST_PORT, *manifests.CONTROL_PLANE, manifests.PERMISSIVE, manifests.STRICT}
    ports |= {443, 6443}
    ports |= {port for kube in kubes.values() if (port := urlsplit(kube.server).port)}
    found: list[dict[str, Any]] = []
    with suppress(MeshError):  # who may not read secrets cannot use them from the probe either
        found = kubes[cluster].list("Secret", spec.istio_namespace, labels=REMOTE_SECRETS)
    for value in (value for secret in found for value in (secret.get("data") or {}).values()):
        for server in _SERVER.findall(_decoded(value) + "\n"):
            with suppress(ValueError):
                ports.add(urlsplit(server).port or 443)
    return sorted(ports)


def probe_pods(kube: Kube, cluster: str, namespace: str, run_id: str) -> tuple[ProbePod, ...]:
    """The ready probe pods of one cluster; :class:`ProvisionError` where one has no address."""
    pods = []
    for item in kube.list("Pod", namespace, labels=f"{manifests.RUN_LABEL}={run_id}"):
        metadata, status, spec = item["metadata"], item.get("status") or {}, item["spec"]
        if metadata.get("deletionTimestamp"):
            continue
        if not status.get("podIP"):
            thing = f'cluster "{cluster}": pod {metadata["name"]}'
            raise ProvisionError(thing, "has no address", f"phase {status.get('phase')}")
        pods.append(
            ProbePod(
                cluster=cluster,
                role=metadata["labels"][manifests.ROLE_LABEL],
                name=metadata["name"],
                ip=status["podIP"],
                node=spec.get("nodeName", ""),
                version=metadata["labels"].get("version", ""),
                service_account=spec.get("serviceAccountName", ""),
            )
        )
    return tuple(sorted(pods, key=lambda pod: (pod.role, pod.name)))


def _remove_everywhere(mesh: Mesh, kubes: Mapping[str, Kube], timeouts: Timeouts) -> None:
    def remove(kube: Kube) -> None:
        for name in mesh.wishes.namespaces:
            prepared.cleared(kube, name, mesh.run_id, timeouts.clean_up)
        if mesh.wishes.namespaces:
            return
        found = kube.list("Namespace", labels=f"{manifests.RUN_LABEL}={mesh.run_id}")
        # anybody may have given another namespace that label
        uids = {item["metadata"]["name"]: item["metadata"].get("uid", "") for item in found}
        own = {name: uid for name, uid in uids.items() if prepared.is_own(mesh, name)}
        for name, uid in own.items():
            kube.delete("Namespace", name, uid=uid)
        for name in own:
            _await_gone(kube, name, timeouts.clean_up)

    try_each(remove, kubes.values())


def _decoded(value: Any) -> str:
    try:
        return base64.b64decode(str(value)).decode("utf-8", "replace")
    except ValueError:
        return ""
