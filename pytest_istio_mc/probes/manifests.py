"""The probe workloads as manifests: one server and one client a cluster, the services that lead to them, and their policies."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from .agent import program

Manifest = dict[str, Any]

HTTP, TCP, HTTP2, PERMISSIVE, STRICT = 5000, 5001, 5002, 5998, 5999
"""Ports of the server. On the last two the workload's own policy decides whether plaintext is taken, whatever the mesh's default."""

SERVICE = "helloworld"
SUBSETS = "helloworld-subsets"
CLIENT = "client"
CONTAINER = "probe"

RUN_LABEL = "istio-mc.dev/run"
ROLE_LABEL = "istio-mc.dev/role"
OWNER_ANNOTATION = "istio-mc.dev/owner"
STARTED_ANNOTATION = "istio-mc.dev/started"

_AGENT_HOME = "/istio-mc"

AGENT = ("python3", "-S", "-B", f"{_AGENT_HOME}/{program.NAME}")
"""How to run the agent in a probe container; ``serve`` or ``session`` follows. Images need ``python3`` on their PATH, no more."""

EAST_WEST = 15443
CONTROL_PLANE = (15012, 15017)
"""Where clusters elsewhere reach an istiod: configuration and certificates, and webhooks."""

MESH_CERTIFICATE = "/etc/istio-output-certs"
_SCRATCH = "/istio-mc-scratch"
_PORTS = (("http", HTTP, "http"), ("tcp", TCP, "tcp"), ("http2", HTTP2, "http2"))
_POLICY_PORTS = (("http-permissive", PERMISSIVE, "http"), ("http-strict", STRICT, "http"))


def namespace(
    name: str, run_id: str, labels: Mapping[str, str], annotations: Mapping[str, str]
) -> Manifest:
    """A namespace that belongs to a run and can be found by that."""
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": name,
            "labels": {RUN_LABEL: run_id, **labels},
            "annotations": dict(annotations),
        },
    }


def workloads(
    cluster: str, version: str, image: str, excluded_ports: Sequence[int]
) -> list[Manifest]:
    """Everything in the probe namespace of one cluster but Istio's own objects.

    ``excluded_ports`` are those on which the client's connections bypass its sidecar.
    """
    agent = {program.NAME: program.program()}
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "probe"}, "data": agent},
        *(
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}
            for name in (SERVICE, CLIENT)
        ),
        _service(SERVICE, SERVICE, _PORTS + _POLICY_PORTS),
        _service(SUBSETS, SERVICE, _PORTS[:1]),
        _service(CLIENT, CLIENT, _PORTS[:1]),
        _deployment(
            f"{SERVICE}-{version}",
            SERVICE,
            "server",
            cluster,
            version,
            image,
            _PORTS + _POLICY_PORTS,
        ),
        _client(cluster, version, image, excluded_ports),
    ]


def policies(versions: Sequence[str]) -> list[Manifest]:
    """Istio's objects in the probe namespace, for every cluster in which a control plane reads configuration.

    The subsets have a Service of their own: a DestinationRule of ours for the main one would hide a mesh-wide one of the user's.
    """
    mutual_tls = {
        "apiVersion": "security.istio.io/v1",
        "kind": "PeerAuthentication",
        "metadata": {"name": SERVICE},
        "spec": {
            "selector": {"matchLabels": {"app": SERVICE}},
            "portLevelMtls": {
                str(STRICT): {"mode": "STRICT"},
                str(PERMISSIVE): {"mode": "PERMISSIVE"},
            },
        },
    }
    subsets = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": SUBSETS},
        "spec": {
            "host": SUBSETS,
            "subsets": [{"name": version, "labels": {"version": version}} for version in versions],
        },
    }
    return [mutual_tls, subsets]


def illness(host: str, *, begins: bool) -> list[str]:
    """The command that makes a server ill for requests to that host, or well again; where it is so already, nothing happens."""
    script = "import os, sys; path = sys.argv[1]; " + (
        "open(path, 'w').close()" if begins else "os.path.exists(path) and os.remove(path)"
    )
    return [AGENT[0], "-S", "-c", script, f"{_SCRATCH}/ill-{host}"]


def extra_service(name: str, app: str, annotations: Mapping[str, str] | None = None) -> Manifest:
    """One more Service that leads to the pods of ``app``, on its HTTP port."""
    service = _service(name, app, _PORTS[:1])
    service["metadata"]["annotations"] = dict(annotations or {})
    return service


def headless_service(name: str, app: str) -> Manifest:
    """A Service without an address of its own, whose name leads to the pods of ``app`` themselves, on all their ports."""
    service = _service(name, app, _PORTS + _POLICY_PORTS)
    service["spec"]["clusterIP"] = "None"
    return service


def bare_pod(
    name: str,
    image: str,
    annotations: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
) -> Manifest:
    """A pod that is only ever admitted in a dry run."""
    container = {"name": CONTAINER, "image": image}
    metadata = {"name": name, "labels": dict(labels or {}), "annotations": dict(annotations or {})}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"containers": [container]},
    }


def _service(name: str, app: str, ports: Sequence[tuple[str, int, str]]) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": {"app": app}},
        "spec": {
            "selector": {"app": app},
            "ports": [{"name": key, "port": port, "targetPort": port} for key, port, _ in ports],
        },
    }


def _client(cluster: str, version: str, image: str, excluded_ports: Sequence[int]) -> Manifest:
    # https://istio.io/latest/docs/ops/integrations/prometheus/#tls-settings is the documented way to a workload's own certificate
    deployment = _deployment(CLIENT, CLIENT, "client", cluster, version, image, _PORTS[:1])
    template = deployment["spec"]["template"]
    template["metadata"]["annotations"] |= {
        "traffic.sidecar.istio.io/excludeOutboundPorts": ",".join(
            str(port) for port in excluded_ports
        ),
        "proxy.istio.io/config": json.dumps({"proxyMetadata": {"OUTPUT_CERTS": MESH_CERTIFICATE}}),
        "sidecar.istio.io/userVolumeMount": json.dumps(
            [{"name": "mesh-certificate", "mountPath": MESH_CERTIFICATE}]
        ),
    }
    template["spec"]["volumes"].append(
        {"name": "mesh-certificate", "emptyDir": {"medium": "Memory"}}
    )
    mount = {"name": "mesh-certificate", "mountPath": MESH_CERTIFICATE, "readOnly": True}
    template["spec"]["containers"][0]["volumeMounts"].append(mount)
    return deployment


def _deployment(
    name: str,
    app: str,
    role: str,
    cluster: str,
    version: str,
    image: str,
    ports: Sequence[tuple[str, int, str]],
) -> Manifest:
    labels = {"app": app, "version": version, ROLE_LABEL: role}
    own = {"cluster": cluster, "version": version, "role": role}
    environment: list[dict[str, Any]] = [
        {"name": f"ISTIO_MC_{key.upper()}", "value": value} for key, value in own.items()
    ]
    for key, path in (("POD", "metadata.name"), ("NAMESPACE", "metadata.namespace")):
        environment.append(
            {"name": f"ISTIO_MC_{key}", "valueFrom": {"fieldRef": {"fieldPath": path}}}
        )
    for key, value in (("TMPDIR", _SCRATCH), ("ISTIO_MC_MESH_CERTIFICATE", MESH_CERTIFICATE)):
        environment.append({"name": key, "value": value})
    container = {
        "name": CONTAINER,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": [*AGENT, "serve", *(f"{port}={protocol}" for _, port, protocol in ports)],
        "env": environment,
        "ports": [{"name": key, "containerPort": port} for key, port, _ in ports],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": HTTP}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "10m", "memory": "24Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [
            {"name": "probe", "mountPath": _AGENT_HOME, "readOnly": True},
            {"name": "scratch", "mountPath": _SCRATCH},
        ],
    }
    pod = {
        "serviceAccountName": app,
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 0,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [
            {"name": "probe", "configMap": {"name": "probe"}},
            {"name": "scratch", "emptyDir": {"medium": "Memory"}},
        ],
    }
    # the sidecar takes what little it needs; its default request of 100m would not fit next to others on a small machine
    annotations = {"sidecar.istio.io/proxyCPU": "10m", "sidecar.istio.io/proxyMemory": "40Mi"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "selector": {"matchLabels": {"app": app, "version": version}},
            "template": {"metadata": {"labels": labels, "annotations": annotations}, "spec": pod},
        },
    }
