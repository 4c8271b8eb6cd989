"""The attach provider: adopts an existing mesh, and writes nothing to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .. import shell
from ..errors import KubeError, ObservationError, ProvisionError, UsageProblem
from ..istio_names import (
    INJECTOR_WEBHOOKS,
    ISTIOD_PODS,
    NETWORK_LABEL,
    REVISION_LABEL,
    TAG_LABEL,
    is_default,
    of_revision,
)
from ..mesh import Mesh
from ..network_gateways import mesh_networks
from ..progress import Progress
from ..snapshot import labels_of, locality_of
from ..spec import ClusterSpec, Locality, MeshSpec, common_locality
from ..together import for_each
from .provider import ProvisionRequest

if TYPE_CHECKING:
    from ..kube import Kube

T = TypeVar("T")

DEFAULT_TRUST_DOMAIN = "cluster.local"
DEFAULT_PROBE_IMAGE = "docker.io/library/python:3.13-slim"


@dataclass(frozen=True)
class Found:
    """What one cluster says of itself; empty where it does not say.

    ``registries``: the networks in which its ``meshNetworks`` put clusters, by the clusters' names.
    """

    kubernetes: str
    istio: str
    cluster_name: str
    network: str
    mesh_id: str
    trust_domain: str
    local_image: str
    locality: Locality
    registries: Mapping[str, str] = field(default_factory=dict)

    @property
    def versions(self) -> dict[str, str]:
        """The versions as the certificate has them."""
        return {"kubernetes": self.kubernetes} | ({"istio": self.istio} if self.istio else {})


class AttachProvider:
    """``--mesh-provider=attach``."""

    name = "attach"
    summary = "uses clusters of yours, with Istio on them, by their kubeconfig contexts"

    @contextmanager
    def provide(self, request: ProvisionRequest, progress: Progress) -> Iterator[Mesh]:
        """The mesh as its clusters describe it, or as a spec file declares it."""
        from ..kube.connecting import connected

        spec = request.spec
        with connected(spec, request.timeouts) as kubes:
            with progress.step(f"{len(kubes)} clusters answer"):
                found = look_at_all(spec, kubes)
            if not any(entry.istio for entry in found.values()):
                raise ProvisionError(
                    f'mesh "{spec.topology}"',
                    f'no istiod runs in namespace "{spec.istio_namespace}" of any cluster',
                    advice="install Istio first, or give its namespace as istioNamespace in a "
                    "--mesh-spec file",
                )
            capabilities, controls = _controls(spec)
            yield Mesh(
                spec=spec if request.declared else adopted(spec, found),
                capabilities=capabilities,
                controls=controls,
                run_id=request.run_id,
                provider=self.name,
                probe_image=request.probe_image or _probe_image(found),
                versions={name: entry.versions for name, entry in found.items()},
            )


def look_at_all(spec: MeshSpec, kubes: Mapping[str, Kube]) -> dict[str, Found]:
    """What every cluster says of itself.

    :class:`ProvisionError` names all clusters that cannot be read, and why.
    """

    def look_at(cluster: ClusterSpec) -> Found | KubeError:
        try:
            return look(kubes[cluster.name], spec.istio_namespace)
        except KubeError as error:
            return error

    answers = dict(zip(spec, for_each(look_at, spec, at_once=32), strict=True))
    problems = {one: answer for one, answer in answers.items() if isinstance(answer, KubeError)}
    if problems:
        first, error = next(iter(problems.items()))
        names = [f'cluster "{cluster.name}" (context "{cluster.context}")' for cluster in problems]
        details = [f"{problem.step}: {problem.detail}" for problem in problems.values()]
        raise ProvisionError(
            "; ".join(names),
            "cannot be read",
            "; ".join(dict.fromkeys(details)),
            advice=error.advice or _advice(spec, first, error),
        ) from error
    return {one.name: answer for one, answer in answers.items() if isinstance(answer, Found)}


def _advice(spec: MeshSpec, cluster: ClusterSpec, error: KubeError) -> str:
    command = shell.kubectl(
        cluster.context,
        "get deployments",
        namespace=spec.istio_namespace,
        file=spec.kubeconfig,
    )
    if error.status == 401 or "system:anonymous" in error.detail:
        refused = "the credentials of this context's user in the kubeconfig are missing or refused"
        return f"{refused}; once this works, so do we: {command}"
    if error.status == 403:
        return f"give this context's user leave to read; once this works, go on: {command}"
    return f"find out whether this answers: {command}"


def look(kube: Kube, istio_namespace: str) -> Found:
    """Read what one cluster says of itself.

    - Raises ``KubeError`` where it does not answer, or where not even Deployments may be read.
    - Everything else that may not be read stays empty.
    """
    version = kube.version()
    deployments = kube.list("Deployment", istio_namespace, labels=ISTIOD_PODS)

    def config_map(name: str) -> dict[str, Any]:
        return _if_allowed(lambda: kube.read("ConfigMap", name, istio_namespace)) or {}

    namespace = _if_allowed(lambda: kube.read("Namespace", istio_namespace)) or {}
    revision = _if_allowed(lambda: _revision(kube, deployments)) or ""
    injector = config_map(of_revision("istio-sidecar-injector", revision))
    mesh = config_map(of_revision("istio", revision))
    nodes = _if_allowed(lambda: kube.list("Node", metadata_only=True)) or []
    labels = namespace.get("metadata", {}).get("labels", {})
    values = _json(injector.get("data", {}).get("values", "")).get("global", {})
    injected_name = values.get("multiCluster", {}).get("clusterName", "")
    trust_domain = str(
        _mesh_config(mesh).get("trustDomain") or (DEFAULT_TRUST_DOMAIN if mesh else "")
    )
    return Found(
        kubernetes=version,
        istio=_istio_version(deployments),
        cluster_name=_environment(deployments, "CLUSTER_ID") or injected_name,
        network=labels.get(NETWORK_LABEL, "") or values.get("network", ""),
        # the injection template gives the trust domain where no mesh id is set
        mesh_id=values.get("meshID", "") or (trust_domain if values else ""),
        trust_domain=trust_domain,
        local_image=_local_image(nodes),
        locality=common_locality(map(locality_of, nodes)),
        registries=_registries(mesh),
    )


def _registries(config_map: Mapping[str, Any]) -> dict[str, str]:
    try:
        text = str(config_map.get("data", {}).get("meshNetworks", ""))
        networks = mesh_networks(text, "ConfigMap istio")
    except ObservationError:
        return {}  # the checks say so
    return {name: network for network, one in networks.items() for name in one.registries}


def adopted(spec: MeshSpec, found: Mapping[str, Found]) -> MeshSpec:
    """The spec with networks, localities and names as the clusters state them.

    Raises :class:`UsageProblem` where the given names are not the mesh's, which are clear.
    """
    own = {name: entry.cluster_name for name, entry in found.items()}
    clear = all(own.values()) and len(set(own.values())) == len(own)
    if clear and any(name != called for name, called in own.items()):
        contexts = {cluster.name: cluster.context for cluster in spec}
        right = ",".join(f"{called}={contexts[name]}" for name, called in own.items())
        raise UsageProblem(
            "--mesh-contexts",
            "the clusters have other names in the mesh",
            advice=f"write --mesh-contexts={right}",
        )

    registries: dict[str, str] = {}
    for entry in found.values():
        registries |= entry.registries

    def adopt(cluster: ClusterSpec) -> ClusterSpec:
        entry, plane = found[cluster.name], found[spec.control_plane_of(cluster.name).name]
        network = entry.network or registries.get(cluster.name, "") or cluster.network
        return replace(
            cluster,
            network=network,
            # where its nodes are, not where the lab would have put them
            locality=entry.locality,
            # one mesh has one id, and several trust domains only where each is another's alias
            mesh_id=entry.mesh_id if cluster.mesh_id else "",
            trust_domain=plane.trust_domain if plane.trust_domain != trust_domain else "",
        )

    planes = [found[plane.name] for plane in spec.control_planes]
    entries = [*planes, *found.values()]
    trust_domain = next((one.trust_domain for one in entries if one.trust_domain), "")
    trust_domain = trust_domain or spec.trust_domain
    return replace(
        spec,
        clusters=tuple(adopt(cluster) for cluster in spec),
        mesh_id=next((one.mesh_id for one in entries if one.mesh_id), spec.mesh_id),
        trust_domain=trust_domain,
    ).validated()


def _controls(spec: MeshSpec) -> tuple[tuple[str, ...], str]:
    """A lab's capabilities beyond the Kubernetes API, and its folder.

    - A lab's kubeconfig lies beside its control socket; of other clusters both are empty.
    - Its contexts have its clusters' names: with another spec the wrong cluster would break.
    """
    from ..lab.breakages import BREAKAGES
    from ..lab.orders import CONTROL

    if not spec.kubeconfig or any(cluster.context != cluster.name for cluster in spec):
        return (), ""
    home = Path(spec.kubeconfig).expanduser().resolve().parent
    return (BREAKAGES, str(home)) if (home / CONTROL).is_socket() else ((), "")


def _if_allowed(read: Callable[[], T]) -> T | None:
    """What ``read`` gives; None where this account may not read it.

    The checks that need it will say so.
    """
    try:
        return read()
    except KubeError as error:
        if error.status != 403:
            raise
        return None


def _revision(kube: Kube, deployments: Sequence[Mapping[str, Any]]) -> str:
    """The revision of the control plane that injects by default; of several, if none does, any.

    That is the one of the tag ``default``, or whose webhook heeds ``istio-injection`` (Istio's page
    "Canary Upgrades").
    """
    running = {labels_of(item).get(REVISION_LABEL, "") for item in deployments}
    if len(running) == 1:
        return running.pop()
    webhooks = kube.list("MutatingWebhookConfiguration", labels=INJECTOR_WEBHOOKS)
    tagged = {labels_of(one).get(REVISION_LABEL, ""): labels_of(one) for one in webhooks}
    tagged |= {
        labels.get(REVISION_LABEL, ""): labels
        for labels in map(labels_of, webhooks)
        if labels.get(TAG_LABEL) == "default"
    }
    # a cluster that is served from elsewhere has webhooks, and no istiod
    candidates = sorted(running & tagged.keys() or running or tagged.keys())
    by_default = [
        one
        for one in candidates
        if is_default(one) or tagged.get(one, {}).get(TAG_LABEL) == "default"
    ]
    return next(iter([*by_default, *reversed(candidates)]), "")


def _istio_version(deployments: Sequence[Mapping[str, Any]]) -> str:
    """The version as istiod's image tag tells it.

    The snapshot has the version that each istiod reports of itself.
    """
    for container in _containers(deployments):
        if container["name"] == "discovery":
            return str(container["image"].rpartition(":")[2])
    return ""


def _environment(deployments: Sequence[Mapping[str, Any]], name: str) -> str:
    for container in _containers(deployments):
        for variable in container.get("env", []):
            if variable["name"] == name:
                return str(variable.get("value", ""))
    return ""


def _containers(deployments: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    pods = [deployment["spec"]["template"]["spec"] for deployment in deployments]
    return [container for pod in pods for container in pod["containers"]]


def _probe_image(found: Mapping[str, Found]) -> str:
    # a lab's nodes have the lab's Python image and no way to pull another one
    images = {entry.local_image for entry in found.values()}
    return images.pop() if len(images) == 1 and "" not in images else DEFAULT_PROBE_IMAGE


def _local_image(nodes: Sequence[Mapping[str, Any]]) -> str:
    from ..lab.binaries.images import LAB_LABEL, PYTHON

    labels = [node["metadata"].get("labels") or {} for node in nodes]
    return PYTHON if labels and all(LAB_LABEL in some for some in labels) else ""


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
