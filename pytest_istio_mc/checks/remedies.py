"""Remedies: commands with the real contexts, namespaces and names of a mesh."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from ..documents import parse_document
from ..files import Unreadable
from ..istio_names import INJECTION_LABEL, ISTIOD_PODS, REVISION_LABEL, SERVICE_LABEL
from ..plain import Misfit, from_document
from ..shapes import ENDPOINTS
from ..snapshot import Snapshot, labels_of, name_of


class Commands:
    """The commands of remedies; they work when typed in.

    A remedy is shell as it stands; what a person has to do or know besides is a comment behind it.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._namespace = snapshot.spec.istio_namespace

    def context(self, cluster: str) -> str:
        """The kubeconfig context of a cluster; its name where none is known."""
        return self._snapshot.spec.cluster(cluster).context or cluster

    def kubectl(self, cluster: str, arguments: str, namespace: str = "") -> str:
        """A kubectl command in a cluster; in no namespace where none is given."""
        where = f"-n {namespace} " if namespace else ""
        return f"kubectl --context={self.context(cluster)} {where}{arguments}"

    def istioctl(self, cluster: str, arguments: str) -> str:
        """An istioctl command in a cluster: the one that holds the proxies it is about."""
        return f"istioctl --context={self.context(cluster)} {arguments}"

    def istio(self, cluster: str, arguments: str) -> str:
        """A kubectl command in the namespace of the control plane."""
        return self.kubectl(cluster, arguments, self._namespace)

    def restart_istiod(self, cluster: str) -> str:
        """Restart the control plane in a cluster and wait for it."""
        restart = self.istio(cluster, f"rollout restart deployment -l {ISTIOD_PODS}")
        wait = self.istio(cluster, f"rollout status deployment -l {ISTIOD_PODS} --timeout=3m")
        return f"{restart} && {wait}"

    def restart_workloads(self, cluster: str) -> str:
        """Restart the gateways and everything in injected namespaces, and wait for the gateways.

        They get new certificates and a new injection. Without the gateways the clusters are apart.
        """
        commands = [
            self.istio(cluster, "rollout restart deployment -l 'app!=istiod'"),
            self.istio(cluster, "rollout status deployment -l 'app!=istiod' --timeout=3m"),
        ]
        found = self._snapshot.clusters.get(cluster)
        own = self._snapshot.probes.namespace if self._snapshot.probes else ""
        for item in found.objects.get("Namespace", ()) if found else ():
            labels = labels_of(item)
            injected = labels.get(INJECTION_LABEL) == "enabled" or REVISION_LABEL in labels
            if injected and name_of(item) not in (self._namespace, own):
                commands.append(self.kubectl(cluster, "rollout restart deployment", name_of(item)))
        return " && ".join(commands)

    def apply(self, cluster: str, manifest: Mapping[str, Any], namespace: str) -> str:
        """Apply a manifest."""
        return self.kubectl(cluster, f"apply -f - <<'EOF'\n{json.dumps(manifest)}\nEOF", namespace)

    def set_mesh_config(self, cluster: str, *options: str) -> str:
        """Change a control plane's mesh configuration, as it is then, in a cluster.

        ``options`` are those of ``istio-mc mesh-config``. What a snapshot has of it is a part only,
        which must never be written back.
        """
        found = (
            name_of(item)
            for item in self._snapshot.clusters[cluster].objects.get("ConfigMap", ())
            if {"mesh", "meshConfig"} & item["data"].keys()
        )
        get = self.istio(cluster, f"get configmap {next(found, 'istio')} -o json")
        return f"{get} | istio-mc mesh-config {shlex.join(options)} | " + self.istio(
            cluster, "replace -f -"
        )

    def create_remote_secret(self, holder: str, target: str) -> str:
        """Give the control plane in ``holder`` access to ``target``, under its name in the mesh."""
        namespace, server = self._namespace, self.peer_server(target)
        make = f"istioctl create-remote-secret --context={self.context(target)} --name={target}"
        if namespace != "istio-system":
            make += f" --namespace={namespace} --istioNamespace={namespace}"
        if server:
            make += f" --server={server}"
        return f"{make} | kubectl --context={self.context(holder)} apply -f -"

    def peer_server(self, target: str) -> str:
        """The address of a cluster's API server for other clusters.

        Empty where our own kubeconfig's address serves them, too, or where nobody knows one.
        """
        cluster = self._snapshot.clusters.get(target)
        if cluster is None or not is_loopback(cluster.server):
            return ""
        for other in self._snapshot:
            for access in other.access:
                if access.status == 200 and access.cluster_uid == cluster.uid and cluster.uid:
                    return access.server
        for item in cluster.objects.get("EndpointSlice", ()):
            if item["metadata"].get("labels", {}).get(SERVICE_LABEL) == "kubernetes":
                ports = [port["port"] for port in item["ports"] if port.get("port")]
                for endpoint in item["endpoints"] if ports else ():
                    return f"https://{endpoint['addresses'][0]}:{ports[0]}"
        return ""


def _mesh_config(text: str) -> dict[str, Any] | None:
    """A recorded mesh configuration; None where it cannot be read, as in a damaged snapshot."""
    try:
        mesh: dict[str, Any] = from_document(ENDPOINTS["mesh"], parse_document(text) or {})
    except (Unreadable, Misfit):
        return None
    return mesh


def is_loopback(server: str) -> bool:
    """Whether a server address (``https://127.0.0.1:6443``) leads to the machine that uses it."""
    host = urlsplit(server).hostname or ""
    own = ("localhost", "::1", "0.0.0.0", "::")  # noqa: S104
    return host in own or host.startswith("127.")
