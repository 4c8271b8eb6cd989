"""Kube: what one cluster's Kubernetes API can do for us, as verbs on plain JSON; safe to use from any thread."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..errors import KubeError, MeshError
from . import apply as applying
from . import availability
from .connection import Connection
from .exec import ExecSession
from .kinds import Kinds, Resource
from .portforward import PodHttp

Json = dict[str, Any]


class Kube:
    """One cluster. Making one costs nothing; the kubeconfig is read at the first request.

    A kind is named as ``Pod`` or, where groups differ, as ``Gateway.networking.istio.io``. Everything raises :class:`KubeError`, with
    the HTTP status, or 0 where no answer came.
    """

    def __init__(
        self, name: str, kubeconfig: str, context: str, *, request_timeout_seconds: float = 30.0
    ) -> None:
        self.name = name
        self.kubeconfig = kubeconfig
        self.context = context
        self._connection = Connection(name, kubeconfig, context, request_timeout_seconds)
        self._timeout_seconds = request_timeout_seconds
        self._kinds = Kinds(self.get_path)
        self._pod_http = PodHttp(self._connection)

    @property
    def server(self) -> str:
        """The apiserver's URL as the kubeconfig has it, which is read for it if it has not been."""
        return self._connection.server()

    def version(self) -> str:
        """The apiserver's version, as ``v1.36.1``."""
        return str(self.get_path("/version")["gitVersion"])

    def get_path(self, path: str, **query: str) -> Any:
        """GET of any path of the API: the JSON, or the text where it is none."""
        return _parsed(self._connection.request("GET", path, tuple(query.items())))

    def list(
        self, kind: str, namespace: str | None = None, *, labels: str = "", fields: str = ""
    ) -> list[Json]:
        """All objects of a kind, in one namespace or in all; none where the cluster does not know the kind."""
        query = tuple(
            (key, value)
            for key, value in (("labelSelector", labels), ("fieldSelector", fields))
            if value
        )
        resource = self._kinds.named(kind)
        if resource is None:
            return []
        try:
            document = _parsed(self._connection.request("GET", resource.path(namespace), query))
        except KubeError as error:
            other = self._kinds.served(kind) if error.status == 404 else None
            if error.status != 404:
                raise
            if other is None or other == resource:
                return []
            document = _parsed(self._connection.request("GET", other.path(namespace), query))
        items: list[Json] = document["items"]
        return items

    def read(self, kind: str, name: str, namespace: str | None = None) -> Json | None:
        """One object, or ``None`` where it or its kind is absent."""
        resource = self._kinds.named(kind)
        if resource is None:
            return None
        try:
            found: Json = _parsed(self._connection.request("GET", resource.path(namespace, name)))
        except KubeError as error:
            if error.status == 404:
                return None
            raise
        return found

    def apply(
        self,
        *manifests: Mapping[str, Any],
        namespace: str | None = None,
        field_manager: str = "istio-mc",
        patience_seconds: float = applying.PATIENCE_SECONDS,
    ) -> None:
        """Server-side apply, taking over fields of other managers; side by side where the order does not matter.

        CRDs and namespaces go first, workloads last. ``namespace`` is for manifests that name none. Only answers that say "not ready
        yet" (a fresh CRD, an admission webhook whose server is starting) are tried again, for at most ``patience_seconds``. Returns
        when all is accepted and new kinds are served.
        """
        applying.apply(self, manifests, namespace or "default", field_manager, patience_seconds)

    def create(self, manifest: Mapping[str, Any], *, dry_run: bool = False) -> Json:
        """POST of one object; what the cluster made of it. With ``dry_run`` nothing is kept, but admission has its say."""
        metadata = manifest.get("metadata", {})
        resource = self.resource_of(manifest)
        namespace = metadata.get("namespace", "default") if resource.namespaced else None
        query = (("dryRun", "All"),) if dry_run else ()
        made: Json = _parsed(
            self._connection.request("POST", resource.path(namespace), query, dict(manifest))
        )
        return made

    def merge(
        self,
        kind: str,
        name: str,
        namespace: str | None,
        patch: Mapping[str, Any],
        *,
        subresource: str = "",
    ) -> Json:
        """JSON merge patch (RFC 7386) of one object, or of a subresource such as ``status`` or ``scale``; the result."""
        path = self._resource(kind).path(namespace, name) + (
            f"/{subresource}" if subresource else ""
        )
        content_type = "application/merge-patch+json"
        merged: Json = _parsed(
            self._connection.request("PATCH", path, (), dict(patch), content_type=content_type)
        )
        return merged

    def delete(
        self,
        kind: str,
        name: str,
        namespace: str | None = None,
        *,
        grace_seconds: int | None = None,
    ) -> None:
        """Ask for an object's deletion; it may take its time, a pod what it asks for or ``grace_seconds``. One that is absent is fine."""
        resource = self._kinds.named(kind)
        if resource is None:
            return
        options: Json = {"propagationPolicy": "Background"}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        try:
            self._connection.request("DELETE", resource.path(namespace, name), (), options)
        except KubeError as error:
            if error.status != 404:
                raise

    def watch(
        self, kind: str, namespace: str | None, resource_version: str, *, within_seconds: float
    ) -> Iterator[tuple[str, Json]]:
        """Changes of a kind's objects after ``resource_version``: (``ADDED``…, object), for at most ``within_seconds``."""
        query = (
            ("watch", "true"),
            ("resourceVersion", resource_version),
            ("timeoutSeconds", str(max(1, int(within_seconds)))),
        )
        for line in self._connection.lines(
            self._resource(kind).path(namespace), query, timeout_seconds=within_seconds
        ):
            if line:
                event = json.loads(line)
                yield event["type"], event["object"]

    def exec(
        self,
        namespace: str,
        pod: str,
        container: str,
        command: Sequence[str],
        *,
        stdin: str = "",
        timeout_seconds: float = 30,
    ) -> str:
        """Run a command in a container to its end; its stdout. Where it fails, the error has the exit code and its stderr."""
        session = ExecSession(
            self._connection,
            namespace,
            pod,
            container,
            command,
            timeout_seconds=min(timeout_seconds, self._timeout_seconds),
            stdin=bool(stdin),
        )
        try:
            if stdin:
                session.write(stdin.encode())
                session.end_of_input()
            return session.finish(timeout_seconds).decode(errors="replace")
        finally:
            session.close()

    def open_exec(
        self, namespace: str, pod: str, container: str, command: Sequence[str]
    ) -> ExecSession:
        """Start a process in a container that is spoken to in lines for as long as the session is open."""
        return ExecSession(
            self._connection,
            namespace,
            pod,
            container,
            command,
            timeout_seconds=self._timeout_seconds,
        )

    def http_get(
        self, namespace: str, pod: str, port: int, path: str, *, timeout_seconds: float = 10
    ) -> bytes:
        """GET from a pod's own localhost, through port-forward; ``timeout_seconds`` is the longest silence. Not 2xx raises."""
        return self._pod_http.get(namespace, pod, port, path, timeout_seconds)

    def logs(
        self,
        namespace: str,
        pod: str,
        container: str,
        *,
        tail_lines: int = 50,
        previous: bool = False,
    ) -> str:
        """The last lines of a container's log, or of the one before its last restart."""
        query = (
            ("container", container),
            ("tailLines", str(tail_lines)),
            ("previous", str(previous).lower()),
        )
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log"
        return self._connection.request("GET", path, query).decode(errors="replace")

    def wait_available(
        self, kind_and_name: Sequence[tuple[str, str]], namespace: str, *, within_seconds: float
    ) -> None:
        """Wait until Deployments have rolled out and are available; :class:`NotInTime` says which pod waits for what."""
        availability.wait_available(self, kind_and_name, namespace, within_seconds)

    def give_up(self, why: MeshError) -> None:
        """The cluster will not come back: every request raises :class:`GivenUp` from now on, so that whatever waits for it ends."""
        self._connection.give_up(why)

    def close(self) -> None:
        """Close kept connections. Exec sessions end with their own ``close``."""
        self._pod_http.close()
        self._connection.close()

    def resource_of(self, manifest: Mapping[str, Any]) -> Resource:
        """Where a manifest's kind lives; :class:`KubeError` with status 404 where the cluster does not know it."""
        api_version, kind = str(manifest["apiVersion"]), str(manifest["kind"])
        resource = self._kinds.of(api_version, kind)
        if resource is None:
            raise self._unknown(f"{kind} of {api_version}")
        return resource

    def apply_one(self, manifest: Mapping[str, Any], namespace: str, field_manager: str) -> None:
        """Server-side apply of one object, one try."""
        resource = self.resource_of(manifest)
        metadata = manifest["metadata"]
        path = resource.path(metadata.get("namespace") or namespace, metadata["name"])
        query = (("fieldManager", field_manager), ("force", "true"))
        self._connection.request(
            "PATCH", path, query, dict(manifest), content_type="application/apply-patch+yaml"
        )

    def _resource(self, kind: str) -> Resource:
        resource = self._kinds.named(kind)
        if resource is None:
            raise self._unknown(kind)
        return resource

    def _unknown(self, kind: str) -> KubeError:
        return KubeError(
            self._connection.thing,
            f"find the kind {kind}",
            "this cluster does not serve it",
            status=404,
        )


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode(errors="replace")
