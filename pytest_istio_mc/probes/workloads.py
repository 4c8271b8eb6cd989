"""Workloads: the probes of one run, put into all clusters and taken away."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..errors import MeshError, ProvisionError
from ..eventually import Timeouts, eventually
from ..istio_names import EAST_WEST_PORT, INJECTION_LABEL, REMOTE_SECRETS, REVISION_LABEL
from ..kube import lease
from ..mesh import Mesh, ProbePod, Probes
from ..progress import Progress
from ..spec import MeshSpec
from ..together import for_each, try_each
from . import manifests
from .settling import settle

if TYPE_CHECKING:
    from ..kube import Kube

_TAG_LABEL = "istio.io/tag"
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
    name = manifests.run_namespace(mesh.run_id)
    spec = mesh.spec
    versions = {cluster.name: f"v{place}" for place, cluster in enumerate(spec, 1)}

    def deploy(cluster: str) -> tuple[ProbePod, ...]:
        kube, version = kubes[cluster], versions[cluster]
        excluded = excluded_ports(spec, kubes, cluster)
        objects = manifests.workloads(cluster, version, mesh.probe_image, excluded)
        if cluster in spec.config_clusters:
            objects += manifests.policies(list(versions.values()))
        kube.apply(run_namespace(kube, name, mesh.run_id))
        heartbeat(kube)
        kube.apply(*objects, namespace=name)
        names = (f"{manifests.SERVICE}-{version}", manifests.CLIENT)
        deployments = [("Deployment", one) for one in names]
        kube.wait_available(deployments, name, within_seconds=timeouts.workload_ready)
        return probe_pods(kube, cluster, name)

    def attempt(cluster: str) -> tuple[ProbePod, ...] | MeshError:
        try:
            return deploy(cluster)
        except MeshError as error:
            return error

    def heartbeat(kube: Kube) -> None:
        place = (name, manifests.run_lease(mesh.run_id), mesh.run_id)
        lease.take(kube, *place, {manifests.RUN_LABEL: mesh.run_id})
        beats.begin(kube, *place)

    clusters = [cluster.name for cluster in spec.data_planes]
    own = {cluster: kubes[cluster] for cluster in clusters}
    missing: list[MeshError] = []
    with (
        _removed_at_end(own, mesh.run_id, timeouts, progress, remove=remove),
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


@contextmanager
def own_namespace(mesh: Mesh, kubes: Mapping[str, Kube], purpose: str) -> Iterator[str]:
    """An empty namespace for one check, in every cluster with workloads.

    - Yields its name.
    - Its removal is ordered at the end and not waited for, which would take seconds;
      :func:`deployed` waits until all namespaces of the run are gone.
    """
    name = f"{manifests.run_namespace(mesh.run_id)}-{purpose}"
    own = [kubes[cluster.name] for cluster in mesh.spec.data_planes]
    try:
        for_each(lambda kube: kube.apply(run_namespace(kube, name, mesh.run_id)), own)
        yield name
    finally:
        try_each(lambda kube: kube.delete("Namespace", name), own)


@contextmanager
def _removed_at_end(
    kubes: Mapping[str, Kube], run_id: str, timeouts: Timeouts, progress: Progress, *, remove: bool
) -> Iterator[None]:
    """Remove all namespaces of the run at the end, and prove them gone.

    A failure to do so is reported beside an earlier error.
    """
    try:
        yield
    except BaseException as error:
        try:
            if remove:
                _remove_everywhere(kubes, run_id, timeouts)
        except MeshError as second:
            error.add_note(f"and the namespaces of run {run_id} could not be removed: {second}")
        raise
    if remove:
        with progress.step("probes removed"):
            _remove_everywhere(kubes, run_id, timeouts)


def wait_until_gone(kube: Kube, namespace: str, within_seconds: float) -> None:
    """Wait until a namespace is gone.

    :class:`~pytest_istio_mc.errors.NotInTime` says what holds it.
    """
    eventually(
        lambda: kube.read("Namespace", namespace),
        lambda item: item is None,
        within_seconds=within_seconds,
        every_seconds=0.25,
        what=f'cluster "{kube.name}": namespace {namespace} to be gone',
    )


def run_namespace(kube: Kube, name: str, run_id: str) -> manifests.Manifest:
    """A namespace of this run, with the labels for injection here."""
    return manifests.namespace(name, run_id, injection_labels(kube))


def injection_labels(kube: Kube) -> dict[str, str]:
    """The namespace labels that ask for sidecars here.

    - ``istio-injection=enabled`` where a webhook heeds it, or where webhooks cannot be read.
    - Else a revision, preferably a tag, as Istio's page "Canary Upgrades" recommends.
    """
    plain = {INJECTION_LABEL: "enabled"}
    revisions: list[tuple[bool, str]] = []
    try:
        configurations = kube.list("MutatingWebhookConfiguration", labels="app=sidecar-injector")
    except MeshError:
        return plain
    for configuration in configurations:
        labels = configuration["metadata"].get("labels") or {}
        for webhook in configuration.get("webhooks") or ():
            rules = (webhook.get("namespaceSelector") or {}).get("matchExpressions") or ()
            values = [rule.get("values") or () for rule in rules if rule["key"] == INJECTION_LABEL]
            if any("enabled" in some for some in values):
                return plain
        if revision := labels.get(_TAG_LABEL) or labels.get(REVISION_LABEL):
            revisions.append((_TAG_LABEL not in labels, revision))
    return {REVISION_LABEL: min(revisions)[1]} if revisions else plain


def excluded_ports(spec: MeshSpec, kubes: Mapping[str, Kube], cluster: str) -> list[int]:
    """The ports on which this cluster's client bypasses its sidecar.

    Those of gateways, istiods and policies, and of the API servers of other clusters.
    """
    ports = {EAST_WEST_PORT, *manifests.CONTROL_PLANE, manifests.PERMISSIVE, manifests.STRICT}
    ports |= {443, 6443}
    ports |= {port for kube in kubes.values() if (port := urlsplit(kube.server).port)}
    secrets: list[dict[str, Any]] = []
    with suppress(MeshError):  # who may not read secrets cannot use them from the probe either
        secrets = kubes[cluster].list("Secret", spec.istio_namespace, labels=REMOTE_SECRETS)
    for value in (value for secret in secrets for value in (secret.get("data") or {}).values()):
        for server in _SERVER.findall(_decoded(value) + "\n"):
            with suppress(ValueError):
                ports.add(urlsplit(server).port or 443)
    return sorted(ports)


def probe_pods(kube: Kube, cluster: str, namespace: str) -> tuple[ProbePod, ...]:
    """The ready probe pods of one cluster; :class:`ProvisionError` where one has no address."""
    pods = []
    for item in kube.list("Pod", namespace, labels=manifests.ROLE_LABEL):
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


def _remove_everywhere(kubes: Mapping[str, Kube], run_id: str, timeouts: Timeouts) -> None:
    def remove(kube: Kube) -> None:
        found = kube.list("Namespace", labels=f"{manifests.RUN_LABEL}={run_id}")
        main = manifests.run_namespace(run_id)
        made = {
            item["metadata"]["name"]: item["metadata"]["uid"]
            for item in found
            if f"{item['metadata']['name']}-".startswith(f"{main}-")
        }
        for name, uid in made.items():
            kube.delete("Namespace", name, uid=uid)
        for name in made:
            wait_until_gone(kube, name, timeouts.clean_up)

    try_each(remove, kubes.values())


def _decoded(value: Any) -> str:
    try:
        return base64.b64decode(str(value)).decode("utf-8", "replace")
    except ValueError:
        return ""
