"""Remedies: commands with the real contexts, namespaces and names of a mesh."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from .. import shell
from ..istio_names import (
    ISTIOD_PODS,
    MULTI_CLUSTER_LABEL,
    SERVICE_LABEL,
)
from ..shell import Command, Remedy
from ..snapshot import Object, Snapshot, is_injected, labels_of, name_of, namespace_of

Operations = Sequence[Mapping[str, Any]]
"""A JSON patch (RFC 6902). What it begins with are ``test`` operations: see :func:`replacing`."""


class Commands:
    """The commands of remedies; they work when typed in.

    - A remedy is shell as it stands; what a person has to do or know besides is a note behind it.
    - The least change comes first. Nothing of the user's is deleted: what that takes is shown as a
      comment, to be typed by whoever decides it.
    - ``what`` is of our own; every other word may be anybody's, and stays whole.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._namespace = snapshot.spec.istio_namespace

    def context(self, cluster: str) -> str:
        """The kubeconfig context of a cluster; its name where none is known."""
        return self._snapshot.spec.cluster(cluster).context or cluster

    def kubectl(self, cluster: str, what: str, *words: str, namespace: str = "") -> Command:
        """A kubectl command in a cluster; in no namespace where none is given."""
        return shell.kubectl(self.context(cluster), what, *words, namespace=namespace)

    def istioctl(self, cluster: str, what: str, *words: str) -> Command:
        """An istioctl command in a cluster: the one that holds the proxies it is about."""
        return shell.istioctl(self.context(cluster), what, *words)

    def istio(self, cluster: str, what: str, *words: str) -> Command:
        """A kubectl command in the namespace of the control plane."""
        return self.kubectl(cluster, what, *words, namespace=self._namespace)

    def proxy_config(self, cluster: str, part: str, pod: str, *options: str) -> Command:
        """Show a part of what a proxy holds (``endpoints``); ``pod`` is ``name.namespace``."""
        words = (*options, "--", pod) if pod.startswith("-") else (pod, *options)
        return self.istioctl(cluster, "proxy-config", part, *words)

    def restart_istiod(self, cluster: str) -> Command:
        """Restart the control plane in a cluster and wait for it."""
        return shell.then(
            self.istio(cluster, "rollout restart deployment -l", ISTIOD_PODS),
            self.istio(cluster, "rollout status deployment -l", ISTIOD_PODS, "--timeout=3m"),
        )

    def restart_workloads(self, cluster: str) -> Command:
        """Restart the gateways and everything in injected namespaces, and wait for the gateways.

        They get new certificates and a new injection. Without the gateways the clusters are apart.
        """
        commands = [
            self.istio(cluster, "rollout restart deployment -l app!=istiod"),
            self.istio(cluster, "rollout status deployment -l app!=istiod --timeout=3m"),
        ]
        found = self._snapshot.clusters.get(cluster)
        own = self._snapshot.probes.namespace if self._snapshot.probes else ""
        for item in found.objects.get("Namespace", ()) if found else ():
            name = name_of(item)
            if is_injected(item) and name not in (self._namespace, own):
                restart = self.kubectl(cluster, "rollout restart deployment", namespace=name)
                commands.append(restart)
        return shell.then(*commands)

    def restart_pod(self, cluster: str, pod: str, namespace: str) -> Remedy:
        """Start a pod's workload anew.

        A probe's pod is ours, and deleted; a gateway's Deployment is restarted. Whose another one
        is, and whether anything would bring it back, is for people to see.
        """
        if self._snapshot.probes and namespace == self._snapshot.probes.namespace:
            return self.kubectl(cluster, "delete", f"pod/{pod}", namespace=namespace)
        found = self._snapshot.clusters.get(cluster)
        pods = found.objects.get("Pod", ()) if found else ()
        own = (item for item in pods if (name_of(item), namespace_of(item)) == (pod, namespace))
        if role := labels_of(next(own, {"metadata": {}})).get("istio", ""):
            restart = "rollout restart deployment -l"
            return self.kubectl(cluster, restart, f"istio={role}", namespace=namespace)
        look = self.kubectl(cluster, "get", f"pod/{pod}", "-o", "wide", namespace=namespace)
        return shell.with_note(look, "then restart the workload that it belongs to")

    def logs(self, cluster: str, pod: str, namespace: str) -> Command:
        """Show the last lines of a pod's sidecar."""
        options = ("-c", "istio-proxy", "--tail=50")
        return self.kubectl(cluster, "logs", f"pod/{pod}", *options, namespace=namespace)

    def apply(self, cluster: str, manifest: Mapping[str, Any], namespace: str) -> Command:
        """Apply a manifest."""
        return shell.reading(manifest, self.kubectl(cluster, "apply -f -", namespace=namespace))

    def patch(
        self, cluster: str, resource: str, name: str, operations: Operations, namespace: str = ""
    ) -> Command:
        """Patch an object with JSON patch operations, all of them or none."""
        text = json.dumps(list(operations), separators=(",", ":"))
        thing = f"{resource}/{name}"
        return self.kubectl(cluster, "patch", thing, "--type=json", "-p", text, namespace=namespace)

    def merge(
        self, cluster: str, resource: str, name: str, change: Mapping[str, Any], namespace: str = ""
    ) -> Command:
        """Patch an object with a merge patch (RFC 7386)."""
        text, thing = json.dumps(change, separators=(",", ":")), f"{resource}/{name}"
        return self.kubectl(
            cluster, "patch", thing, "--type=merge", "-p", text, namespace=namespace
        )

    def show(self, cluster: str, resource: str, item: Object) -> Command:
        """Show an object as it is now."""
        thing = f"{resource}/{name_of(item)}"
        return self.kubectl(cluster, "get", thing, "-o", "yaml", namespace=namespace_of(item))

    def delete(self, cluster: str, resource: str, *items: Object) -> Command:
        """Delete objects: only ever to be shown as a comment, for people to decide."""
        deletes = (
            self.kubectl(
                cluster, "delete", f"{resource}/{name_of(item)}", namespace=namespace_of(item)
            )
            for item in items
        )
        return shell.then(*deletes)

    def set_mesh_config(self, cluster: str, *options: str) -> Command:
        """Change a control plane's mesh configuration, as it is then, in a cluster.

        ``options`` are those of ``istio-mc mesh-config``. What a snapshot has of it is a part only,
        which must never be written back.
        """
        found = (
            name_of(item)
            for item in self._snapshot.clusters[cluster].objects.get("ConfigMap", ())
            if {"mesh", "meshConfig"} & item["data"].keys()
        )
        return shell.piped(
            self.istio(cluster, "get", f"configmap/{next(found, 'istio')}", "-o", "json"),
            shell.command("istio-mc mesh-config", *options),
            self.istio(cluster, "replace -f -"),
        )

    def create_remote_secret(self, holder: str, target: str, server: str = "") -> Command:
        """Give the control plane in ``holder`` access to ``target``, under its name in the mesh.

        ``server`` is the address to use where none is known that other clusters reach.
        """
        namespace, server = self._namespace, self.peer_server(target) or server
        context = f"--context={self.context(target)}"
        options = [context, f"--name={target}"]
        if namespace != "istio-system":
            options += [f"--namespace={namespace}", f"--istioNamespace={namespace}"]
        if server:
            options.append(f"--server={server}")
        make = shell.command("istioctl create-remote-secret", *options)
        return shell.piped(make, self.kubectl(holder, "apply -f -"))

    def hide_remote_secrets(
        self, holder: str, names: Iterable[str], namespace: str = ""
    ) -> Command:
        """Take remote secrets out of istiod's sight; with the label, they are back as they were."""
        words = (*(f"secret/{name}" for name in names), f"{MULTI_CLUSTER_LABEL}-")
        return self.kubectl(holder, "label", *words, namespace=namespace or self._namespace)

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


def replacing(path: str, seen: object, value: object) -> list[dict[str, Any]]:
    """The JSON patch operations that replace one field, if it still holds what was seen."""
    return [
        {"op": "test", "path": path, "value": seen},
        {"op": "replace", "path": path, "value": value},
    ]


def is_loopback(server: str) -> bool:
    """Whether a server address (``https://127.0.0.1:6443``) leads to the machine that uses it."""
    try:
        host = urlsplit(server).hostname or ""
    except ValueError:
        return False  # no address at all
    own = ("localhost", "::1", "0.0.0.0", "::")  # noqa: S104
    return host in own or host.startswith("127.")
