"""The attach provider: adopts a mesh that exists already; reads it, and writes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import KubeError, ProvisionError, UsageProblem
from ..istio_names import NETWORK_LABEL
from ..mesh import Mesh
from ..progress import Progress
from ..snapshot import locality_of
from ..spec import ClusterSpec, Locality, MeshSpec, common_locality
from . import ProvisionRequest

if TYPE_CHECKING:
    from ..kube import Kube


T = TypeVar("T")


DEFAULT_PROBE_IMAGE = "docker.io/library/python:3.13-slim"


@dataclass(frozen=True)
class Found:
    """What one cluster says of itself; empty where it does not say."""

    kubernetes: str
    istio: str
    cluster_name: str
    network: str
    mesh_id: str
    trust_domain: str
    local_image: str
    locality: Locality


class AttachProvider:
    """``--mesh-provider=attach``."""

    name = "attach"
    summary = "uses clusters of yours, with Istio on them, by their kubeconfig contexts; writes only its probes' namespaces"

    @contextmanager
    def provide(self, request: ProvisionRequest, progress: Progress) -> Iterator[Mesh]:
        """The mesh as its clusters describe it, or as the mesh spec file declares it."""
        from ..kube import Kube

        spec = request.spec
        kubes = {
            cluster.name: Kube(
                cluster.name,
                spec.kubeconfig,
                cluster.context,
                request_timeout_seconds=request.timeouts.kube_request,
            )
            for cluster in spec
        }
        try:
            with progress.step(f"{len(kubes)} clusters answer"):
                found = look_at_all(spec, kubes)
            if not any(entry.istio for entry in found.values()):
                raise ProvisionError(
                    f'mesh "{spec.topology}"',
                    f'no istiod runs in namespace "{spec.istio_namespace}" of any cluster',
                    advice="install Istio first, or give its namespace as istioNamespace in a --mesh-spec file",
                )
            capabilities, controls = _controls(spec)
            yield Mesh(
                spec=spec if request.declared else adopted(spec, found),
                capabilities=capabilities,
                controls=controls,
                run_id=request.run_id,
                provider=self.name,
                probe_image=request.probe_image or _probe_image(found),
                versions={
                    name: {"kubernetes": entry.kubernetes}
                    | ({"istio": entry.istio} if entry.istio else {})
                    for name, entry in found.items()
                },
            )
        finally:
            for kube in kubes.values():
                kube.close()


def look_at_all(spec: MeshSpec, kubes: Mapping[str, Kube]) -> dict[str, Found]:
    """What every cluster says of itself; :class:`ProvisionError` that names all those that cannot be read, and why."""

    def look_at(cluster: ClusterSpec) -> Found | KubeError:
        try:
            return look(kubes[cluster.name], spec.istio_namespace)
        except KubeError as error:
            return error

    with ThreadPoolExecutor(min(32, len(kubes))) as pool:
        answers = dict(zip(spec, pool.map(look_at, spec), strict=True))
    problems = {
        cluster: answer for cluster, answer in answers.items() if isinstance(answer, KubeError)
    }
    if problems:
        first, error = next(iter(problems.items()))
        raise ProvisionError(
            "; ".join(
                f'cluster "{cluster.name}" (context "{cluster.context}")' for cluster in problems
            ),
            "cannot be read",
            "; ".join(
                dict.fromkeys(f"{problem.step}: {problem.detail}" for problem in problems.values())
            ),
            advice=error.advice or _advice(spec, first, error),
        ) from error
    return {
        cluster.name: answer for cluster, answer in answers.items() if isinstance(answer, Found)
    }


def _advice(spec: MeshSpec, cluster: ClusterSpec, error: KubeError) -> str:
    command = f"kubectl --kubeconfig={spec.kubeconfig} --context={cluster.context} get deployments -n {spec.istio_namespace}"
    if error.status == 401 or "system:anonymous" in error.detail:
        return f"the credentials of this context's user in the kubeconfig are missing or refused; once this works, so do we: {command}"
    if error.status == 403:
        return f"give this context's user leave to read; once this works, go on: {command}"
    return f"find out whether this answers: {command}"


def look(kube: Kube, istio_namespace: str) -> Found:
    """Read what one cluster says of itself.

    ``KubeError`` where it does not answer, or not even Deployments may be read; whatever else may not be read stays empty.
    """
    version = kube.version()
    deployments = kube.list("Deployment", istio_namespace, labels="app=istiod")
    namespace = _if_allowed(lambda: kube.read("Namespace", istio_namespace)) or {}
    injector = (
        _if_allowed(lambda: kube.read("ConfigMap", "istio-sidecar-injector", istio_namespace)) or {}
    )
    mesh = _if_allowed(lambda: kube.read("ConfigMap", "istio", istio_namespace)) or {}
    nodes = _if_allowed(lambda: kube.list("Node")) or []
    values = _json(injector.get("data", {}).get("values", "")).get("global", {})
    return Found(
        kubernetes=version,
        istio=_istio_version(deployments),
        cluster_name=_environment(deployments, "CLUSTER_ID")
        or values.get("multiCluster", {}).get("clusterName", ""),
        network=namespace.get("metadata", {}).get("labels", {}).get(NETWORK_LABEL, "")
        or values.get("network", ""),
        mesh_id=values.get("meshID", ""),
        trust_domain=_mesh_config(mesh).get("trustDomain", ""),
        local_image=_local_image(nodes),
        locality=common_locality(map(locality_of, nodes)),
    )


def adopted(spec: MeshSpec, found: Mapping[str, Found]) -> MeshSpec:
    """The spec with networks, localities, mesh id and trust domain as the clusters state them.

    Raises :class:`UsageProblem` where the given names are not the mesh's, though the mesh's are clear.
    """
    own = {name: entry.cluster_name for name, entry in found.items()}
    if (
        all(own.values())
        and len(set(own.values())) == len(own)
        and any(name != called for name, called in own.items())
    ):
        contexts = {cluster.name: cluster.context for cluster in spec}
        right = ",".join(f"{called}={contexts[name]}" for name, called in own.items())
        raise UsageProblem(
            "--mesh-contexts",
            "the clusters have other names in the mesh",
            advice=f"write --mesh-contexts={right}",
        )

    def adopt(cluster: ClusterSpec) -> ClusterSpec:
        # where its nodes are, not where the lab would have put them
        return replace(
            cluster,
            network=found[cluster.name].network or cluster.network,
            locality=found[cluster.name].locality,
        )

    return replace(
        spec,
        clusters=tuple(adopt(cluster) for cluster in spec),
        mesh_id=next((entry.mesh_id for entry in found.values() if entry.mesh_id), spec.mesh_id),
        trust_domain=next(
            (entry.trust_domain for entry in found.values() if entry.trust_domain),
            spec.trust_domain,
        ),
    ).validated()


def _controls(spec: MeshSpec) -> tuple[tuple[str, ...], str]:
    """What can be done to the clusters beyond the Kubernetes API, and by which folder: where they are a lab's, its kubeconfig says so.

    The clusters of a lab have contexts of their own names there; another spec than the lab's own would break the wrong cluster.
    """
    from ..lab.breakages import BREAKAGES
    from ..lab.orders import CONTROL

    home = Path(spec.kubeconfig).expanduser().resolve().parent if spec.kubeconfig else None
    if (
        home is None
        or not (home / CONTROL).is_socket()
        or any(cluster.context != cluster.name for cluster in spec)
    ):
        return (), ""
    return BREAKAGES, str(home)


def _if_allowed(read: Callable[[], T]) -> T | None:
    """What ``read`` gives, or None where this account may not read it; the checks that need it will say so."""
    try:
        return read()
    except KubeError as error:
        if error.status != 403:
            raise
        return None


def _istio_version(deployments: Sequence[Mapping[str, Any]]) -> str:
    """The version as istiod's image tag tells it; the snapshot has the one that each istiod reports of itself."""
    for deployment in deployments:
        for container in deployment["spec"]["template"]["spec"]["containers"]:
            if container["name"] == "discovery":
                return str(container["image"].rpartition(":")[2])
    return ""


def _environment(deployments: Sequence[Mapping[str, Any]], name: str) -> str:
    for deployment in deployments:
        for container in deployment["spec"]["template"]["spec"]["containers"]:
            for variable in container.get("env", []):
                if variable["name"] == name:
                    return str(variable.get("value", ""))
    return ""


def _probe_image(found: Mapping[str, Found]) -> str:
    """A lab's nodes have the lab's Python image and no way to pull another one."""
    images = {entry.local_image for entry in found.values()}
    return images.pop() if len(images) == 1 and "" not in images else DEFAULT_PROBE_IMAGE


def _local_image(nodes: Sequence[Mapping[str, Any]]) -> str:
    from ..lab.binaries.images import PYTHON

    held = {
        name
        for node in nodes
        for image in node.get("status", {}).get("images", [])
        for name in image.get("names", [])
    }
    return PYTHON if PYTHON in held else ""


def _json(text: str) -> dict[str, Any]:
    try:
        document = json.loads(text or "{}")
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _mesh_config(config_map: Mapping[str, Any]) -> dict[str, Any]:
    import yaml

    try:
        document = yaml.safe_load(config_map.get("data", {}).get("mesh", "") or "{}")
    except yaml.YAMLError:
        return {}
    return document if isinstance(document, dict) else {}
