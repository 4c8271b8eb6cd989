"""Workloads: the probes of one run put into every cluster side by side, and taken away again."""

from __future__ import annotations

import base64
import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from ..errors import MeshError, ProvisionError
from ..eventually import Timeouts, eventually
from ..mesh import Mesh, ProbePod, Probes
from ..progress import Progress
from ..spec import MeshSpec
from ..together import for_each
from . import manifests
from .leftovers import ownership

if TYPE_CHECKING:
    from ..kube import Kube


T = TypeVar("T")


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
    """The mesh with probes in every cluster that runs workloads, all of them ready; their namespaces are gone at the end.

    ``remove=False`` leaves them to whoever ends the clusters. Raises :class:`ProvisionError` or ``KubeError`` naming the cluster, or
    tells ``tell_missing`` instead, where there is one, as long as the probes came up in some cluster: the mesh then has those.
    """
    name = f"istio-mc-{mesh.run_id}"
    spec = mesh.spec
    versions = [f"v{place}" for place, _ in enumerate(spec, 1)]
    from .settling import settle  # here, because it needs what this module made

    def deploy(cluster: str) -> tuple[ProbePod, ...]:
        kube = kubes[cluster]
        version = f"v{[entry.name for entry in spec].index(cluster) + 1}"
        objects = manifests.workloads(
            cluster, version, mesh.probe_image, excluded_ports(spec, kubes, cluster)
        )
        if cluster in spec.config_clusters:
            objects += manifests.policies(versions)
        kube.apply(run_namespace(kube, name, mesh.run_id))
        kube.apply(*objects, namespace=name)
        deployments = [
            ("Deployment", f"{manifests.SERVICE}-{version}"),
            ("Deployment", manifests.CLIENT),
        ]
        kube.wait_available(deployments, name, within_seconds=timeouts.workload_ready)
        return probe_pods(kube, cluster, name)

    def attempt(cluster: str) -> tuple[ProbePod, ...] | MeshError:
        try:
            return deploy(cluster)
        except MeshError as error:
            return error

    clusters = [cluster.name for cluster in spec.data_planes]
    missing: list[MeshError] = []
    with _removed_at_end(
        {cluster: kubes[cluster] for cluster in clusters},
        mesh.run_id,
        timeouts,
        progress,
        remove=remove,
    ):
        with progress.step(f"probes ready in {', '.join(clusters)}"):
            made = for_each(attempt, clusters)
            missing += (error for error in made if isinstance(error, MeshError))
            if missing and (tell_missing is None or len(missing) == len(made)):
                raise missing[0]
        found = tuple(pod for pods in made if not isinstance(pods, MeshError) for pod in pods)
        probed = replace(
            mesh,
            probes=Probes(
                namespace=name, service=manifests.SERVICE, image=mesh.probe_image, pods=found
            ),
        )
        for error in missing:
            assert tell_missing is not None
            tell_missing(error)
        if not missing:
            settle(probed, kubes, timeouts, progress)
        yield probed


@contextmanager
def own_namespace(mesh: Mesh, kubes: Mapping[str, Kube], purpose: str) -> Iterator[str]:
    """An empty namespace of this run for one check, in every cluster with workloads; yields its name.

    Its removal is ordered at the end and not waited for, which takes seconds; :func:`deployed` waits until all of the run's are gone.
    """
    name = f"istio-mc-{mesh.run_id}-{purpose}"
    clusters = [cluster.name for cluster in mesh.spec.data_planes]
    try:
        for_each(
            lambda cluster: kubes[cluster].apply(run_namespace(kubes[cluster], name, mesh.run_id)),
            clusters,
        )
        yield name
    finally:
        for_each(lambda cluster: kubes[cluster].delete("Namespace", name), clusters)


@contextmanager
def _removed_at_end(
    kubes: Mapping[str, Kube], run_id: str, timeouts: Timeouts, progress: Progress, *, remove: bool
) -> Iterator[None]:
    """Remove every namespace of the run from all these clusters at the end, whatever happened, and prove that they are gone.

    A failure to do so is reported beside the first one.
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


def remove_namespace(kube: Kube, namespace: str, within_seconds: float) -> None:
    """Delete a namespace and wait until it is gone; :class:`~pytest_istio_mc.errors.NotInTime` says what holds it."""
    kube.delete("Namespace", namespace)
    eventually(
        lambda: kube.read("Namespace", namespace),
        lambda item: item is None,
        within_seconds=within_seconds,
        every_seconds=0.25,
        what=f'cluster "{kube.name}": namespace {namespace} to be gone',
    )


def run_namespace(kube: Kube, name: str, run_id: str) -> manifests.Manifest:
    """The manifest of a namespace of this run, labelled the way in which this cluster's mesh injects."""
    return manifests.namespace(name, run_id, injection_labels(kube), ownership())


def injection_labels(kube: Kube) -> dict[str, str]:
    """The namespace labels that ask for sidecars here: ``istio-injection=enabled`` where a webhook heeds it, else a revision.

    A tag is preferred to a bare revision, as Istio's "Canary Upgrades" page recommends. Where the webhooks cannot be read, the plain label.
    """
    plain = {"istio-injection": "enabled"}
    revisions: list[tuple[bool, str]] = []
    try:
        configurations = kube.list("MutatingWebhookConfiguration", labels="app=sidecar-injector")
    except MeshError:
        return plain
    for configuration in configurations:
        labels = configuration["metadata"].get("labels") or {}
        for webhook in configuration.get("webhooks") or ():
            rules = (webhook.get("namespaceSelector") or {}).get("matchExpressions") or ()
            if any(
                rule["key"] == "istio-injection" and "enabled" in (rule.get("values") or ())
                for rule in rules
            ):
                return plain
        if labels.get("istio.io/tag") or labels.get("istio.io/rev"):
            revisions.append(
                ("istio.io/tag" not in labels, labels.get("istio.io/tag") or labels["istio.io/rev"])
            )
    return {"istio.io/rev": min(revisions)[1]} if revisions else plain


def excluded_ports(spec: MeshSpec, kubes: Mapping[str, Kube], cluster: str) -> list[int]:
    """The ports on which this cluster's client bypasses its sidecar: gateways, istiod's and policy ports, and the API servers of other
    clusters."""
    ports = {
        manifests.EAST_WEST,
        *manifests.CONTROL_PLANE,
        manifests.PERMISSIVE,
        manifests.STRICT,
        443,
        6443,
    }
    ports |= {port for kube in kubes.values() if (port := urlsplit(kube.server).port)}
    with contextlib.suppress(
        MeshError
    ):  # who may not read secrets cannot use them from the probe either
        for secret in kubes[cluster].list(
            "Secret", spec.istio_namespace, labels="istio/multiCluster=true"
        ):
            for value in (secret.get("data") or {}).values():
                for server in re.findall(
                    r"server:\s*[\"']?(https?://\S+?)[\"']?\s", _decoded(value) + "\n"
                ):
                    with contextlib.suppress(ValueError):
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
            raise ProvisionError(
                f'cluster "{cluster}": pod {metadata["name"]}',
                "has no address",
                f"phase {status.get('phase')}",
            )
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
    def remove(cluster: str) -> None:
        kube = kubes[cluster]
        names = [
            item["metadata"]["name"]
            for item in kube.list("Namespace", labels=f"{manifests.RUN_LABEL}={run_id}")
        ]
        for name in names:
            kube.delete("Namespace", name)
        for name in names:
            remove_namespace(kube, name, timeouts.clean_up)

    for_each(remove, kubes)


def _decoded(value: Any) -> str:
    try:
        return base64.b64decode(str(value)).decode("utf-8", "replace")
    except ValueError:
        return ""
