"""Istio: IstioOperator documents, and what unmodified ``istioctl`` makes of them."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ProvisionError
from ..istio_names import (
    EAST_WEST_PORT,
    ISTIOD_PODS,
    NETWORK_LABEL,
    NETWORKING_API,
    WEBHOOK_PORT,
    XDS_PORT,
    of_revision,
)
from ..spec import ClusterSpec, MeshSpec

if TYPE_CHECKING:
    from ..kube import Kube
    from .access import ClusterAccess

Manifest = dict[str, Any]

EAST_WEST_GATEWAY = "istio-eastwestgateway"
ISTIOD_DEBUG_PORT = 8080  # answers on the pod's localhost only, without authentication

_RENDER_SECONDS = 60.0
_REMOTE_SECRET_SECONDS = 60.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class IstioDistribution:
    """An Istio to install: its ``istioctl`` and its images.

    - ``settings`` is what the images need in every IstioOperator's ``spec``.
    - ``revision`` is the control plane's, empty where it has none.
    - ``cache`` is a folder for rendered manifests; any number of runs may share it.
    """

    istioctl: Path
    hub: str
    tag: str
    cache: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    revision: str = ""

    @property
    def proxy_image(self) -> str:
        """The image that it injects."""
        return f"{self.hub}/proxyv2:{self.tag}"

    def named(self, name: str) -> str:
        """The name that an object of its control plane has: ``istiod``, or ``istiod-1-31``."""
        return of_revision(name, self.revision)


def control_plane(
    spec: MeshSpec,
    cluster: ClusterSpec,
    istio: IstioDistribution,
    mesh_config: Mapping[str, Any] | None = None,
) -> Manifest:
    """The IstioOperator of a primary's istiod.

    - As in "Install Multi-Primary on different networks".
    - With remote clusters it gets ``externalIstiod``, as in "Install Primary-Remote".
    - ``mesh_config`` is merged over the mesh configuration.
    """
    serves_others = any(served is not cluster for served in spec.served_by(cluster))
    of_others = {"externalIstiod": True} if serves_others else {}
    ours = {
        "profile": "minimal",
        "meshConfig": merged({"trustDomain": spec.trust_domain_of(cluster)}, mesh_config or {}),
        "values": {"global": identity(spec, cluster) | of_others},
    }
    return operator("istiod", spec, istio, ours)


def identity(spec: MeshSpec, cluster: ClusterSpec) -> dict[str, Any]:
    """The part of ``values.global`` that names mesh, cluster and network."""
    return {
        "meshID": spec.mesh_id_of(cluster),
        "multiCluster": {"clusterName": cluster.name},
        "network": cluster.network,
    }


def east_west_gateway(spec: MeshSpec, cluster: ClusterSpec, istio: IstioDistribution) -> Manifest:
    """The IstioOperator of a network's east-west gateway.

    As Istio's ``samples/multicluster/gen-eastwest-gateway.sh`` writes it.
    """
    network = cluster.network
    numbers = {"status-port": 15021, "tls": EAST_WEST_PORT}
    numbers |= {"tls-istiod": XDS_PORT, "tls-webhook": WEBHOOK_PORT}
    ports = [{"name": name, "port": port, "targetPort": port} for name, port in numbers.items()]
    gateway = {
        "name": EAST_WEST_GATEWAY,
        "enabled": True,
        "label": {"istio": "eastwestgateway", "app": EAST_WEST_GATEWAY, NETWORK_LABEL: network},
        "k8s": {
            "env": [{"name": "ISTIO_META_REQUESTED_NETWORK_VIEW", "value": network}],
            "service": {"ports": ports},
        },
    }
    ours = {
        "profile": "empty",
        "components": {"ingressGateways": [gateway]},
        "values": {
            "gateways": {"istio-ingressgateway": {"injectionTemplate": "gateway"}},
            "global": {"network": network},
        },
    }
    return operator("eastwest", spec, istio, ours)


def cross_network_gateway(spec: MeshSpec) -> Manifest:
    """The Gateway that lets other networks in at 15443 without terminating TLS.

    As in Istio's ``samples/multicluster/expose-services.yaml``.
    """
    server = {
        "port": {"number": EAST_WEST_PORT, "name": "tls", "protocol": "TLS"},
        "tls": {"mode": "AUTO_PASSTHROUGH"},
        "hosts": ["*.local"],
    }
    return {
        "apiVersion": NETWORKING_API,
        "kind": "Gateway",
        "metadata": {"name": "cross-network-gateway", "namespace": spec.istio_namespace},
        "spec": {"selector": {"istio": "eastwestgateway"}, "servers": [server]},
    }


def render(istio: IstioDistribution, operator: Manifest) -> list[Manifest]:
    """What ``istioctl manifest generate`` makes of an IstioOperator, kept in the cache."""
    program = istio.istioctl.stat()
    identity = json.dumps(
        [operator, str(istio.istioctl), program.st_size, program.st_mtime_ns], sort_keys=True
    )
    file = istio.cache / f"manifests-{hashlib.sha256(identity.encode()).hexdigest()[:24]}.json"
    try:
        cached: list[Manifest] = json.loads(file.read_bytes())
        return cached
    except (FileNotFoundError, ValueError):
        pass  # not made yet, or broken: made anew below
    name, command = f'IstioOperator "{operator["metadata"]["name"]}"', "manifest generate -f -"
    document = json.dumps(operator)
    output = run_istioctl(
        istio, command.split(), thing=name, stdin=document, timeout_seconds=_RENDER_SECONDS
    )
    manifests = _documents(output)
    if not manifests:
        raise ProvisionError(name, "istioctl rendered nothing")
    _write_whole(file, json.dumps(manifests).encode())
    return manifests


def create_remote_secret(
    istio: IstioDistribution, access: ClusterAccess, spec: MeshSpec
) -> list[Manifest]:
    """The secret that lets other clusters' istiods read this apiserver.

    - ``istioctl create-remote-secret`` makes it.
    - The cluster's ``istio-reader-service-account`` must exist.
    - The secret holds that account's token: it belongs into clusters only.
    """
    return _create_secret(istio, access, spec, f"--name={access.name}")


def create_config_secret(
    istio: IstioDistribution, access: ClusterAccess, spec: MeshSpec
) -> list[Manifest]:
    """The secret that makes this cluster an external istiod's config cluster.

    - The ServiceAccount ``istiod`` must be in this cluster.
    - The secret holds that account's token: it belongs into clusters only.
    """
    account = ("--service-account=istiod", "--create-service-account=false")
    return _create_secret(
        istio, access, spec, "--type=config", f"--namespace={spec.istio_namespace}", *account
    )


def _create_secret(
    istio: IstioDistribution, access: ClusterAccess, spec: MeshSpec, *options: str
) -> list[Manifest]:
    arguments = [
        "create-remote-secret",
        f"--kubeconfig={access.kubeconfig}",
        f"--context={access.context}",
        f"--istioNamespace={spec.istio_namespace}",
        f"--server={access.peer_server}",
        *options,
    ]
    thing = f'cluster "{access.name}"'
    output = run_istioctl(istio, arguments, thing=thing, timeout_seconds=_REMOTE_SECRET_SECONDS)
    return [_in_namespace(manifest, spec.istio_namespace) for manifest in _documents(output)]


def run_istioctl(
    istio: IstioDistribution,
    arguments: Sequence[str],
    *,
    thing: str,
    stdin: str = "",
    timeout_seconds: float,
) -> str:
    """The stdout of one ``istioctl`` command.

    Raises :class:`ProvisionError` with its last lines where it fails or takes too long.
    """
    command = [str(istio.istioctl), *arguments]
    told = [argument for argument in arguments if not argument.startswith("--kubeconfig=")]
    step = " ".join(["istioctl", *told])
    _log.info("run: %s", " ".join(command))
    try:
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        late = f"no end after {timeout_seconds:g} s"
        raise ProvisionError(thing, step, late, log_tail=_tail(error.stderr)) from error
    except OSError as error:
        raise ProvisionError(thing, step, str(error), advice="istio-mc lab build") from error
    for line in done.stderr.splitlines():
        _log.debug("istioctl: %s", line)
    if done.returncode != 0:
        code = f"exit code {done.returncode}"
        raise ProvisionError(thing, step, code, log_tail=_tail(done.stderr))
    return done.stdout


def remote_clusters(kube: Kube, istio_namespace: str) -> dict[str, dict[str, str]]:
    """How each istiod replica has synced the clusters that it watches.

    By pod name and cluster: ``synced``, ``syncing``, ``timeout``…
    """
    told = {}
    running = "status.phase=Running"
    for pod in kube.list("Pod", istio_namespace, labels=ISTIOD_PODS, fields=running):
        name = pod["metadata"]["name"]
        if "deletionTimestamp" in pod["metadata"]:
            continue
        answer = kube.http_get(istio_namespace, name, ISTIOD_DEBUG_PORT, "/debug/clusterz")
        told[name] = {entry["id"]: str(entry["syncStatus"]) for entry in json.loads(answer)}
    return told


def load_balancer_addresses(kube: Kube, namespace: str, service: str) -> list[str]:
    """A Service's external addresses or host names; empty until it has one."""
    found = kube.read("Service", service, namespace) or {}
    ingress = found.get("status", {}).get("loadBalancer", {}).get("ingress", [])
    return [entry.get("ip") or entry.get("hostname", "") for entry in ingress]


def operator(
    name: str, spec: MeshSpec, istio: IstioDistribution, ours: Mapping[str, Any]
) -> Manifest:
    """An IstioOperator: common values; the distribution's overrule them, ``ours`` both."""
    common: dict[str, Any] = {
        "namespace": spec.istio_namespace,
        "hub": istio.hub,
        "tag": istio.tag,
        "values": {"global": {"istioNamespace": spec.istio_namespace}},
    }
    if istio.revision:
        common["revision"] = istio.revision
    return {
        "apiVersion": "install.istio.io/v1alpha1",
        "kind": "IstioOperator",
        "metadata": {"name": name, "namespace": spec.istio_namespace},
        "spec": merged(merged(common, istio.settings), ours),
    }


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Both mappings in one, down to the leaves, where ``above`` wins."""
    both = dict(below)
    for key, value in above.items():
        old = both.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            both[key] = merged(old, value)
        else:
            both[key] = value
    return both


def _documents(text: str) -> list[Manifest]:
    import yaml

    # ten times faster, where PyYAML was built with libyaml
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return [document for document in yaml.load_all(text, loader) if document]


def _in_namespace(manifest: Manifest, namespace: str) -> Manifest:
    return manifest | {"metadata": {"namespace": namespace} | manifest["metadata"]}


def _write_whole(file: Path, data: bytes) -> None:
    """Write a file that others see complete or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=file.parent)
    with os.fdopen(descriptor, "wb") as output:
        output.write(data)
    Path(name).replace(file)


def _tail(output: str | bytes | None) -> list[str]:
    text = output.decode(errors="replace") if isinstance(output, bytes) else output or ""
    return text.strip().splitlines()[-15:]
