"""Remedies: commands with the real contexts, namespaces and names of a mesh."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from ..mesh import Mesh
from ..snapshot import Snapshot, labels_of, name_of


class Commands:
    """The commands of remedies, with the real contexts, namespaces and names of a mesh, so that they work when typed in.

    A remedy is shell as it stands; what a person has to do or know besides is in a comment behind it.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._namespace = snapshot.spec.istio_namespace

    def context(self, cluster: str) -> str:
        """The kubeconfig context of a cluster."""
        return self._snapshot.spec.cluster(cluster).context or cluster

    def kubectl(self, cluster: str, arguments: str, namespace: str = "") -> str:
        """A kubectl command in a cluster; in no namespace where none is given."""
        return (
            f"kubectl --context={self.context(cluster)} "
            + (f"-n {namespace} " if namespace else "")
            + arguments
        )

    def istio(self, cluster: str, arguments: str) -> str:
        """A kubectl command in the namespace of the control plane."""
        return self.kubectl(cluster, arguments, self._namespace)

    def restart_istiod(self, cluster: str) -> str:
        """Restart the control plane in a cluster and wait for it."""
        restart = self.istio(cluster, "rollout restart deployment -l app=istiod")
        return f"{restart} && {self.istio(cluster, 'rollout status deployment -l app=istiod --timeout=3m')}"

    def restart_workloads(self, cluster: str) -> str:
        """Restart the gateways and everything in injected namespaces, so that it gets new certificates or a new injection; wait for
        the gateways, without which the clusters are apart."""
        commands = [
            self.istio(cluster, "rollout restart deployment -l 'app!=istiod'"),
            self.istio(cluster, "rollout status deployment -l 'app!=istiod' --timeout=3m"),
        ]
        found = self._snapshot.clusters.get(cluster)
        own = self._snapshot.probes.namespace if self._snapshot.probes else ""
        for item in found.objects.get("Namespace", ()) if found else ():
            labels = labels_of(item)
            if name_of(item) not in (self._namespace, own) and (
                labels.get("istio-injection") == "enabled" or "istio.io/rev" in labels
            ):
                commands.append(self.kubectl(cluster, "rollout restart deployment", name_of(item)))
        return " && ".join(commands)

    def apply(self, cluster: str, manifest: Mapping[str, Any], namespace: str) -> str:
        """Apply a manifest."""
        return self.kubectl(cluster, f"apply -f - <<'EOF'\n{json.dumps(manifest)}\nEOF", namespace)

    def set_mesh_config(self, cluster: str, change: Callable[[dict[str, Any]], None]) -> str:
        """Patch the mesh configuration of the control plane in a cluster, as it was recorded, with one change."""
        import yaml

        for item in self._snapshot.clusters[cluster].objects.get("ConfigMap", ()):
            if "mesh" in item["data"]:
                mesh = yaml.safe_load(item["data"]["mesh"]) or {}
                change(mesh)
                patch = json.dumps({"data": {"mesh": yaml.safe_dump(mesh)}})
                return self.istio(
                    cluster, f"patch configmap {name_of(item)} --type=merge -p {shlex.quote(patch)}"
                )
        return self.istio(cluster, "edit configmap istio")

    def create_remote_secret(self, holder: str, target: str) -> str:
        """Give the control plane in ``holder`` access to ``target``, under the name that the mesh has for it."""
        server = self.peer_server(target)
        where = (
            ""
            if self._namespace == "istio-system"
            else f" --namespace={self._namespace} --istioNamespace={self._namespace}"
        )
        return (
            f"istioctl create-remote-secret --context={self.context(target)} --name={target}{where}"
            + (f" --server={server}" if server else "")
            + f" | kubectl --context={self.context(holder)} apply -f -"
        )

    def peer_server(self, target: str) -> str:
        """The address of a cluster's API server for other clusters, where the one in our own kubeconfig is of no use to them."""
        cluster = self._snapshot.clusters.get(target)
        if cluster is None:
            return ""
        if not is_loopback(cluster.server):
            return ""
        for other in self._snapshot:
            for access in other.access:
                if access.status == 200 and access.cluster_uid == cluster.uid and cluster.uid:
                    return access.server
        for item in cluster.objects.get("EndpointSlice", ()):
            if item["metadata"].get("labels", {}).get("kubernetes.io/service-name") == "kubernetes":
                for endpoint in item["endpoints"]:
                    return f"https://{endpoint['addresses'][0]}:{item['ports'][0]['port']}"
        return ""


def is_loopback(server: str) -> bool:
    """Whether a server address (``https://127.0.0.1:6443``) leads to the machine that uses it."""
    host = urlsplit(server).hostname or ""
    return host == "localhost" or host.startswith("127.") or host in ("::1", "0.0.0.0", "::")  # noqa: S104


def kubectl(mesh: Mesh, cluster: str, arguments: str) -> str:
    """A kubectl command in a cluster."""
    return f"kubectl --context={mesh.spec.cluster(cluster).context or cluster} {arguments}"


def istioctl(mesh: Mesh, cluster: str, arguments: str) -> str:
    """An istioctl command about the proxies of a cluster; it talks to the proxies, so any cluster's context will do that holds them."""
    return f"istioctl --context={mesh.spec.cluster(cluster).context or cluster} {arguments}"
