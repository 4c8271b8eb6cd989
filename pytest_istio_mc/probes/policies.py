"""Policies: Istio's objects in the namespace of the probes, and a network policy.

Each is for pods of this run only: the namespace may have others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..istio_names import NETWORKING_API
from ..mesh import OWN_CLIENTS
from . import manifests
from .manifests import PERMISSIVE, RUN_LABEL, SERVICE, STRICT, SUBSETS, Manifest

_SECURITY_API = "security.istio.io/v1"


def policies(run_id: str, namespace: str, versions: Sequence[str]) -> list[Manifest]:
    """The objects for clusters in which configuration is read.

    The subsets have a Service of their own: a DestinationRule of ours for the main one would hide
    a mesh-wide one of the user's.
    """
    modes = {str(STRICT): {"mode": "STRICT"}, str(PERMISSIVE): {"mode": "PERMISSIVE"}}
    servers = {"matchLabels": {"app": SERVICE, RUN_LABEL: run_id}}
    mutual_tls = {"selector": servers, "portLevelMtls": modes}
    named = [{"name": version, "labels": {"version": version}} for version in versions]
    return [
        _object(_SECURITY_API, "PeerAuthentication", SERVICE, mutual_tls),
        _own_clients(run_id, namespace),
        _object(NETWORKING_API, "DestinationRule", SUBSETS, {"host": SUBSETS, "subsets": named}),
    ]


def _own_clients(run_id: str, namespace: str) -> Manifest:
    """Lets in clients of probes, of any cluster, and those that show no identity.

    - It stands beside the mesh's own policies: where these allow nobody, it makes the exception
      that every workload needs; where they deny, they win
      (https://istio.io/latest/docs/concepts/security/#implicit-enablement).
    - Clusters may have different trust domains, so that none is named.
    - Whether plaintext gets so far is for mutual TLS alone to decide, which is what checks find
      out. The server answers nobody who has not the key of the run.
    """
    clients = {"principals": [f"*/ns/{namespace}/sa/{manifests.CLIENT}"]}
    sources = (clients, {"notPrincipals": ["*"]})
    spec = {
        "selector": {"matchLabels": {RUN_LABEL: run_id}},
        "action": "ALLOW",
        "rules": [{"from": [{"source": source}]} for source in sources],
    }
    return _object(_SECURITY_API, "AuthorizationPolicy", OWN_CLIENTS, spec)


def sidecar(run_id: str, spec: Mapping[str, Any]) -> Manifest:
    """A Sidecar for the pods of a run."""
    chosen = {"workloadSelector": {"labels": {RUN_LABEL: run_id}}}
    return _object(NETWORKING_API, "Sidecar", "probes", {**spec, **chosen})


def network_policy(run_id: str) -> Manifest:
    """Lets the pods of a run send and be sent anything, whatever other policies leave out."""
    spec = {
        "podSelector": {"matchLabels": {RUN_LABEL: run_id}},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{}],
        "egress": [{}],
    }
    return _object("networking.k8s.io/v1", "NetworkPolicy", "istio-mc-probes", spec)


def _object(api_version: str, kind: str, name: str, spec: Mapping[str, Any]) -> Manifest:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, "spec": dict(spec)}
