"""Manifests of the probes: namespaces, a server and a client a cluster, services."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..istio_names import EXPORT_TO, WEBHOOK_PORT, XDS_PORT
from .agent import program
from .patch import merged

Manifest = dict[str, Any]

HTTP, TCP, HTTP2, PERMISSIVE, STRICT = 5000, 5001, 5002, 5998, 5999
"""Ports of the server. On the last two its own policy decides on plaintext, not the mesh's."""

SERVICE = "helloworld"
SUBSETS = "helloworld-subsets"
CLIENT = "client"
CONTAINER = PROBE = "probe"

RUN_LABEL = "istio-mc.dev/run"
ROLE_LABEL = "istio-mc.dev/role"
OWNER_ANNOTATION = "istio-mc.dev/owner"
"""Who runs it, ``user@host``, for people. Nothing is decided by it."""

KEPT_ANNOTATION = "istio-mc.dev/kept"
"""On a namespace, or a claim to one, that a run left on purpose: no sweep removes it."""

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


_SMALL = {
    # measured, in MiB: a server 13, with as many connections as it takes 19; a process that sends
    # 13 to 53, one for each worker and each job; up to 32 for what a job writes down, in memory too
    "requests": {"cpu": "10m", "memory": "48Mi"},
    "limits": {"cpu": "1", "memory": "256Mi"},
}
_CONFINED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "privileged": False,
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
}
_USER = {"runAsUser": 65532, "runAsGroup": 65532}


@dataclass(frozen=True)
class Form:
    """What all pods of a run have in common in one cluster.

    - ``key``: only requests with it are answered.
    - ``assigned_users``: the platform chooses their user ids.
    - ``patch``: what the user adds (``patch.SCHEMA``).
    """

    run_id: str
    image: str
    key: str = ""
    assigned_users: bool = False
    patch: Mapping[str, Any] = field(default_factory=dict)


def run_namespace(run_id: str) -> str:
    """The name of a run's main namespace, before which all its other ones begin, too."""
    return f"istio-mc-{run_id}"


def run_lease(run_id: str) -> str:
    """The name of the Lease with a run's heartbeat, beside its probes."""
    return f"istio-mc-{run_id}"


def namespace(
    name: str,
    run_id: str,
    labels: Mapping[str, str],
    annotations: Mapping[str, str],
    patch: Mapping[str, Any] | None = None,
) -> Manifest:
    """A namespace that belongs to a run and can be found by that."""
    metadata = merged({"labels": labels, "annotations": annotations}, patch or {})
    metadata["labels"][RUN_LABEL] = run_id
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, **metadata}}


def labelled(objects: Iterable[Manifest], run_id: str) -> list[Manifest]:
    """The objects with the label of their run, by which they are found and removed."""
    found = [copy.deepcopy(one) for one in objects]
    for one in found:
        one["metadata"]["labels"] = {**(one["metadata"].get("labels") or {}), RUN_LABEL: run_id}
    return found


def workloads(
    cluster: str, version: str, form: Form, excluded_ports: Sequence[int]
) -> list[Manifest]:
    """Everything in the probe namespace of one cluster but policies.

    ``excluded_ports`` are those on which the client's connections bypass its sidecar.
    """
    data = {program.NAME: program.program(), "key": form.key}
    ports, name = _PORTS + _POLICY_PORTS, f"{SERVICE}-{version}"
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": PROBE}, "data": data},
        _service_account(SERVICE),
        _service_account(CLIENT),
        _service(SERVICE, SERVICE, ports),
        _service(SUBSETS, SERVICE, _PORTS[:1]),
        _service(CLIENT, CLIENT, _PORTS[:1]),
        _deployment(name, SERVICE, "server", cluster, version, form, ports),
        _client(cluster, version, form, excluded_ports),
    ]


def _service_account(name: str) -> Manifest:
    # the sidecar has a token of its own, which is projected
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}
    return {**account, "automountServiceAccountToken": False}


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


def counted_service(name: str, version: str) -> Manifest:
    """A Service that only the servers of one version, which is one cluster's, are behind."""
    service = _service(name, SERVICE, _PORTS)
    service["spec"]["selector"] |= {"version": version}
    return service


def headless_service(name: str, app: str) -> Manifest:
    """A Service without an address for the pods of ``app``, on all ports."""
    service = _service(name, app, _PORTS + _POLICY_PORTS)
    service["spec"]["clusterIP"] = "None"
    return service


def dry_run_pod(
    name: str, like: Mapping[str, Any], labels: Mapping[str, str] | None = None
) -> Manifest:
    """A pod that is only ever admitted in a dry run.

    It is what the Deployment ``like`` makes, but that no Service selects it.
    """
    template = copy.deepcopy(dict(like["spec"]["template"]))
    metadata = template.get("metadata") or {}
    kept = {
        key: value for key, value in (metadata.get("labels") or {}).items() if key != ROLE_LABEL
    }
    own = {"name": name, "labels": {**kept, "app": "admitted", **(labels or {})}}
    own["annotations"] = metadata.get("annotations") or {}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": own, "spec": template["spec"]}


def _service(name: str, app: str, ports: Sequence[tuple[str, int, str]]) -> Manifest:
    led = [{"name": key, "port": port, "targetPort": port} for key, port, _ in ports]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        # gateways must know it where meshConfig.defaultServiceExportTo keeps Services to themselves
        "metadata": {"name": name, "labels": {"app": app}, "annotations": {EXPORT_TO: "*"}},
        "spec": {"selector": {"app": app}, "ports": led},
    }


def _client(cluster: str, version: str, form: Form, excluded_ports: Sequence[int]) -> Manifest:
    # the documented way to a workload's own certificate:
    # https://istio.io/latest/docs/ops/integrations/prometheus/#tls-settings
    deployment = _deployment(CLIENT, CLIENT, "client", cluster, version, form, _PORTS[:1])
    template = deployment["spec"]["template"]
    mount = {"name": "mesh-certificate", "mountPath": MESH_CERTIFICATE}
    notes = template["metadata"].setdefault("annotations", {})
    notes |= {
        "traffic.sidecar.istio.io/excludeOutboundPorts": ",".join(map(str, excluded_ports)),
        "proxy.istio.io/config": json.dumps({"proxyMetadata": {"OUTPUT_CERTS": MESH_CERTIFICATE}}),
        "sidecar.istio.io/userVolumeMount": json.dumps([mount]),
    }
    volume = {"name": "mesh-certificate", "emptyDir": {"medium": "Memory", "sizeLimit": "4Mi"}}
    template["spec"]["volumes"].append(volume)
    template["spec"]["containers"][0]["volumeMounts"].append({**mount, "readOnly": True})
    return deployment


def _deployment(
    name: str,
    app: str,
    role: str,
    cluster: str,
    version: str,
    form: Form,
    ports: Sequence[tuple[str, int, str]],
) -> Manifest:
    selector = {"app": app, "version": version}
    labels = {**selector, ROLE_LABEL: role, RUN_LABEL: form.run_id}
    container = merged(_container(role, cluster, version, form, ports), _of(form, "container"))
    security = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    pod = {
        "serviceAccountName": app,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 0,
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "securityContext": security if form.assigned_users else {**security, **_USER},
        "containers": [container],
        "volumes": [
            {
                "name": PROBE,
                "configMap": {
                    "name": PROBE,
                    "items": [{"key": program.NAME, "path": program.NAME}],
                },
            },
            {"name": "scratch", "emptyDir": {"medium": "Memory", "sizeLimit": "128Mi"}},
        ],
    }
    added = _of(form, "pod")
    template = merged({"metadata": {"labels": labels}, "spec": pod}, added)
    more = (added.get("metadata") or {}).get("labels") or {}
    metadata = {"name": name, "labels": merged(labels, more)}
    spec = {"selector": {"matchLabels": selector}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def _of(form: Form, section: str) -> Mapping[str, Any]:
    return form.patch.get(section) or {}


def _container(
    role: str, cluster: str, version: str, form: Form, ports: Sequence[tuple[str, int, str]]
) -> dict[str, Any]:
    own = {"cluster": cluster, "version": version, "role": role}
    environment: list[dict[str, Any]] = [
        {"name": f"ISTIO_MC_{key.upper()}", "value": value} for key, value in own.items()
    ]
    for key, path in (("POD", "metadata.name"), ("NAMESPACE", "metadata.namespace")):
        source: dict[str, Any] = {"fieldRef": {"fieldPath": path}}
        environment.append({"name": f"ISTIO_MC_{key}", "valueFrom": source})
    source = {"configMapKeyRef": {"name": PROBE, "key": "key"}}
    environment.append({"name": "ISTIO_MC_KEY", "valueFrom": source})
    environment.append({"name": "TMPDIR", "value": _SCRATCH})
    environment.append({"name": "ISTIO_MC_MESH_CERTIFICATE", "value": MESH_CERTIFICATE})
    return {
        "name": CONTAINER,
        "image": form.image,
        "imagePullPolicy": "IfNotPresent",
        "command": [*AGENT, "serve", *(f"{port}={protocol}" for _, port, protocol in ports)],
        "env": environment,
        "ports": [{"name": key, "containerPort": port} for key, port, _ in ports],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": HTTP}, "periodSeconds": 1},
        "resources": _SMALL,
        "securityContext": _CONFINED,
        "volumeMounts": [
            {"name": PROBE, "mountPath": _AGENT_HOME, "readOnly": True},
            {"name": "scratch", "mountPath": _SCRATCH},
        ],
    }
