"""Manifests of the probes: a server and a client a cluster, services, policies."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..istio_names import EXPORT_TO, NETWORKING_API, WEBHOOK_PORT, XDS_PORT
from .agent import program

Manifest = dict[str, Any]

HTTP, TCP, HTTP2, PERMISSIVE, STRICT = 5000, 5001, 5002, 5998, 5999
"""Ports of the server. On the last two its own policy decides on plaintext, not the mesh's."""

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
"""How to run the agent in a probe container; ``serve`` or ``session`` follows.

Images need ``python3`` on their PATH, no more.
"""

CONTROL_PLANE = (XDS_PORT, WEBHOOK_PORT)
"""Where clusters elsewhere reach an istiod."""

MESH_CERTIFICATE = "/etc/istio-output-certs"
_SCRATCH = "/istio-mc-scratch"
_PORTS = (("http", HTTP, "http"), ("tcp", TCP, "tcp"), ("http2", HTTP2, "http2"))
_POLICY_PORTS = (("http-permissive", PERMISSIVE, "http"), ("http-strict", STRICT, "http"))


def namespace(
    name: str, run_id: str, labels: Mapping[str, str], annotations: Mapping[str, str]
) -> Manifest:
    """A namespace that belongs to a run and can be found by that."""
    metadata = {"name": name, "labels": {RUN_LABEL: run_id, **labels}}
    metadata["annotations"] = dict(annotations)
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def workloads(
    cluster: str, version: str, image: str, excluded_ports: Sequence[int]
) -> list[Manifest]:
    """Everything in the probe namespace of one cluster but Istio's own objects.

    ``excluded_ports`` are those on which the client's connections bypass its sidecar.
    """
    agent = {program.NAME: program.program()}
    ports, name = _PORTS + _POLICY_PORTS, f"{SERVICE}-{version}"
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "probe"}, "data": agent},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": SERVICE}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": CLIENT}},
        _service(SERVICE, SERVICE, ports),
        _service(SUBSETS, SERVICE, _PORTS[:1]),
        _service(CLIENT, CLIENT, _PORTS[:1]),
        _deployment(name, SERVICE, "server", cluster, version, image, ports),
        _client(cluster, version, image, excluded_ports),
    ]


def policies(versions: Sequence[str]) -> list[Manifest]:
    """Istio's objects in the probe namespace, for clusters in which configuration is read.

    The subsets have a Service of their own: a DestinationRule of ours for the main one would hide
    a mesh-wide one of the user's.
    """
    modes = {str(STRICT): {"mode": "STRICT"}, str(PERMISSIVE): {"mode": "PERMISSIVE"}}
    mutual_tls = {
        "apiVersion": "security.istio.io/v1",
        "kind": "PeerAuthentication",
        "metadata": {"name": SERVICE},
        "spec": {"selector": {"matchLabels": {"app": SERVICE}}, "portLevelMtls": modes},
    }
    named = [{"name": version, "labels": {"version": version}} for version in versions]
    subsets = {
        "apiVersion": NETWORKING_API,
        "kind": "DestinationRule",
        "metadata": {"name": SUBSETS},
        "spec": {"host": SUBSETS, "subsets": named},
    }
    return [mutual_tls, subsets]


def illness(host: str, *, begins: bool) -> list[str]:
    """The command that makes a server ill for one host, or well again.

    Where it is so already, nothing happens.
    """
    change = "open(path, 'w').close()" if begins else "os.path.exists(path) and os.remove(path)"
    script = f"import os, sys; path = sys.argv[1]; {change}"
    return [AGENT[0], "-S", "-c", script, f"{_SCRATCH}/ill-{host}"]


def extra_service(name: str, app: str, annotations: Mapping[str, str] | None = None) -> Manifest:
    """One more Service for the pods of ``app``, on their HTTP port."""
    service = _service(name, app, _PORTS[:1])
    service["metadata"]["annotations"] |= annotations or {}
    return service


def headless_service(name: str, app: str) -> Manifest:
    """A Service without an address for the pods of ``app``, on all ports."""
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
    spec = {"containers": [{"name": CONTAINER, "image": image}]}
    metadata = {"name": name, "labels": dict(labels or {}), "annotations": dict(annotations or {})}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def _service(name: str, app: str, ports: Sequence[tuple[str, int, str]]) -> Manifest:
    led = [{"name": key, "port": port, "targetPort": port} for key, port, _ in ports]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        # gateways must know it where meshConfig.defaultServiceExportTo keeps Services to themselves
        "metadata": {"name": name, "labels": {"app": app}, "annotations": {EXPORT_TO: "*"}},
        "spec": {"selector": {"app": app}, "ports": led},
    }


def _client(cluster: str, version: str, image: str, excluded_ports: Sequence[int]) -> Manifest:
    # the documented way to a workload's own certificate:
    # https://istio.io/latest/docs/ops/integrations/prometheus/#tls-settings
    deployment = _deployment(CLIENT, CLIENT, "client", cluster, version, image, _PORTS[:1])
    template = deployment["spec"]["template"]
    mount = {"name": "mesh-certificate", "mountPath": MESH_CERTIFICATE}
    template["metadata"]["annotations"] |= {
        "traffic.sidecar.istio.io/excludeOutboundPorts": ",".join(map(str, excluded_ports)),
        "proxy.istio.io/config": json.dumps({"proxyMetadata": {"OUTPUT_CERTS": MESH_CERTIFICATE}}),
        "sidecar.istio.io/userVolumeMount": json.dumps([mount]),
    }
    volume = {"name": "mesh-certificate", "emptyDir": {"medium": "Memory"}}
    template["spec"]["volumes"].append(volume)
    template["spec"]["containers"][0]["volumeMounts"].append({**mount, "readOnly": True})
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
        source = {"fieldRef": {"fieldPath": path}}
        environment.append({"name": f"ISTIO_MC_{key}", "valueFrom": source})
    environment.append({"name": "TMPDIR", "value": _SCRATCH})
    environment.append({"name": "ISTIO_MC_MESH_CERTIFICATE", "value": MESH_CERTIFICATE})
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
    # what little the sidecar needs: its default of 100m would not fit on a small machine
    annotations = {"sidecar.istio.io/proxyCPU": "10m", "sidecar.istio.io/proxyMemory": "40Mi"}
    template = {"metadata": {"labels": labels, "annotations": annotations}, "spec": pod}
    selector = {"matchLabels": {"app": app, "version": version}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {"selector": selector, "template": template},
    }
