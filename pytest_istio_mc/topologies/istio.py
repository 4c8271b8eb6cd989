"""Istio: which one is installed, the IstioOperator documents it is installed with, and what unmodified ``istioctl`` makes of them."""

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
from ..spec import ClusterSpec, MeshSpec

if TYPE_CHECKING:
    from ..kube import Kube
    from .access import ClusterAccess

Manifest = dict[str, Any]

NETWORK_LABEL = "topology.istio.io/network"
EAST_WEST_GATEWAY = "istio-eastwestgateway"
ISTIOD_DEBUG_PORT = 8080  # answers on the pod's localhost only, without authentication

_RENDER_SECONDS = 60.0
_REMOTE_SECRET_SECONDS = 60.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class IstioDistribution:
    """An Istio to install: its ``istioctl``, its images, and what these need in every IstioOperator's ``spec`` (``settings``).

    ``cache`` is a folder for rendered manifests; any number of runs may share it.
    """

    istioctl: Path
    hub: str
    tag: str
    cache: Path
    settings: Mapping[str, Any] = field(default_factory=dict)


def control_plane(
    spec: MeshSpec,
    cluster: ClusterSpec,
    istio: IstioDistribution,
    mesh_config: Mapping[str, Any] | None = None,
) -> Manifest:
    """The IstioOperator of a primary's istiod, as "Install Multi-Primary on different networks" has it.

    Where it serves remote clusters, it gets ``externalIstiod``, as "Install Primary-Remote" has it. ``mesh_config`` is merged over the
    mesh configuration.
    """
    serves_others = any(served is not cluster for served in spec.served_by(cluster))
    ours = {
        "profile": "minimal",
        "meshConfig": _merged({"trustDomain": spec.trust_domain_of(cluster)}, mesh_config or {}),
        "values": {
            "global": identity(spec, cluster) | ({"externalIstiod": True} if serves_others else {})
        },
    }
    return operator("istiod", spec, istio, ours)


def identity(spec: MeshSpec, cluster: ClusterSpec) -> dict[str, Any]:
    """``values.global`` as far as it says which cluster of which mesh this is, and on which network."""
    return {
        "meshID": spec.mesh_id_of(cluster),
        "multiCluster": {"clusterName": cluster.name},
        "network": cluster.network,
    }


def east_west_gateway(spec: MeshSpec, cluster: ClusterSpec, istio: IstioDistribution) -> Manifest:
    """The IstioOperator of a network's east-west gateway, as Istio's ``samples/multicluster/gen-eastwest-gateway.sh`` writes it."""
    ports = {"status-port": 15021, "tls": 15443, "tls-istiod": 15012, "tls-webhook": 15017}
    gateway = {
        "name": EAST_WEST_GATEWAY,
        "enabled": True,
        "label": {
            "istio": "eastwestgateway",
            "app": EAST_WEST_GATEWAY,
            NETWORK_LABEL: cluster.network,
        },
        "k8s": {
            "env": [{"name": "ISTIO_META_REQUESTED_NETWORK_VIEW", "value": cluster.network}],
            "service": {
                "ports": [
                    {"name": name, "port": port, "targetPort": port} for name, port in ports.items()
                ]
            },
        },
    }
    return operator(
        "eastwest",
        spec,
        istio,
        {
            "profile": "empty",
            "components": {"ingressGateways": [gateway]},
            "values": {
                "gateways": {"istio-ingressgateway": {"injectionTemplate": "gateway"}},
                "global": {"network": cluster.network},
            },
        },
    )


def cross_network_gateway(spec: MeshSpec) -> Manifest:
    """The Gateway that lets other networks in at 15443 without terminating (Istio's ``samples/multicluster/expose-services.yaml``)."""
    server = {
        "port": {"number": 15443, "name": "tls", "protocol": "TLS"},
        "tls": {"mode": "AUTO_PASSTHROUGH"},
        "hosts": ["*.local"],
    }
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "cross-network-gateway", "namespace": spec.istio_namespace},
        "spec": {"selector": {"istio": "eastwestgateway"}, "servers": [server]},
    }


def render(istio: IstioDistribution, operator: Manifest) -> list[Manifest]:
    """The manifests that ``istioctl manifest generate`` makes of an IstioOperator document; made once, then read from the cache."""
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
    name = f'IstioOperator "{operator["metadata"]["name"]}"'
    output = run_istioctl(
        istio,
        ["manifest", "generate", "-f", "-"],
        thing=name,
        stdin=json.dumps(operator),
        timeout_seconds=_RENDER_SECONDS,
    )
    manifests = _documents(output)
    if not manifests:
        raise ProvisionError(name, "istioctl rendered nothing")
    _write_whole(file, json.dumps(manifests).encode())
    return manifests


def create_remote_secret(
    istio: IstioDistribution, access: ClusterAccess, spec: MeshSpec
) -> list[Manifest]:
    """The secret with which other clusters' istiods read this one's apiserver, made by ``istioctl create-remote-secret``.

    The cluster's ``istio-reader-service-account`` must exist. What is returned holds its token: it belongs into clusters only.
    """
    return _create_secret(istio, access, spec, f"--name={access.name}")


def create_config_secret(
    istio: IstioDistribution, access: ClusterAccess, spec: MeshSpec
) -> list[Manifest]:
    """The secret with which an external istiod uses this cluster as its config cluster; the ServiceAccount ``istiod`` must be here.

    What is returned holds its token: it belongs into clusters only.
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
    """The stdout of one ``istioctl`` command; :class:`ProvisionError` with its last lines where it fails or takes too long."""
    command = [str(istio.istioctl), *arguments]
    step = "istioctl " + " ".join(
        argument for argument in arguments if not argument.startswith("--kubeconfig=")
    )
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
        raise ProvisionError(
            thing, step, f"no end after {timeout_seconds:g} s", log_tail=_tail(error.stderr)
        ) from error
    except OSError as error:
        raise ProvisionError(thing, step, str(error), advice="istio-mc lab build") from error
    for line in done.stderr.splitlines():
        _log.debug("istioctl: %s", line)
    if done.returncode != 0:
        raise ProvisionError(
            thing, step, f"exit code {done.returncode}", log_tail=_tail(done.stderr)
        )
    return done.stdout


def remote_clusters(kube: Kube, istio_namespace: str) -> dict[str, dict[str, str]]:
    """What each istiod replica says of the clusters that it watches: pod name -> cluster -> ``synced``, ``syncing``, ``timeout``…"""
    told = {}
    for pod in kube.list(
        "Pod", istio_namespace, labels="app=istiod", fields="status.phase=Running"
    ):
        name = pod["metadata"]["name"]
        answer = json.loads(
            kube.http_get(istio_namespace, name, ISTIOD_DEBUG_PORT, "/debug/clusterz")
        )
        told[name] = {entry["id"]: str(entry["syncStatus"]) for entry in answer}
    return told


def load_balancer_addresses(kube: Kube, namespace: str, service: str) -> list[str]:
    """The addresses that a Service of type LoadBalancer has been given, host names included; none while there are none."""
    found = kube.read("Service", service, namespace) or {}
    ingress = found.get("status", {}).get("loadBalancer", {}).get("ingress", [])
    return [entry.get("ip") or entry.get("hostname", "") for entry in ingress]


def operator(
    name: str, spec: MeshSpec, istio: IstioDistribution, ours: Mapping[str, Any]
) -> Manifest:
    """An IstioOperator document: what every one has, over it the distribution's settings, over them ``ours``."""
    common = {
        "namespace": spec.istio_namespace,
        "hub": istio.hub,
        "tag": istio.tag,
        "values": {"global": {"istioNamespace": spec.istio_namespace}},
    }
    return {
        "apiVersion": "install.istio.io/v1alpha1",
        "kind": "IstioOperator",
        "metadata": {"name": name, "namespace": spec.istio_namespace},
        "spec": _merged(_merged(common, istio.settings), ours),
    }


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Both mappings in one; where they meet, mappings are merged and else ``above`` wins."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = (
            _merged(old, value)
            if isinstance(old, Mapping) and isinstance(value, Mapping)
            else value
        )
    return merged


def _documents(text: str) -> list[Manifest]:
    import yaml

    loader = getattr(
        yaml, "CSafeLoader", yaml.SafeLoader
    )  # ten times faster, where PyYAML was built with libyaml
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
