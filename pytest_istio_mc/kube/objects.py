"""Objects of one cluster: one verb, one request, plain JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any, TypeVar

from ..errors import KubeError
from .connection import Connection
from .kinds import Kinds, Resource
from .listing import Listing, pages, whole
from .retries import APPLY_PATCH, MERGE_PATCH

Json = dict[str, Any]
T = TypeVar("T")


class Objects:
    """The objects behind one API server.

    - Making one costs nothing: the kubeconfig is read at the first request.
    - Any thread may use it.
    - A kind is named as ``Pod`` or, where groups differ, as ``Gateway.networking.istio.io``.
    - Everything raises :class:`KubeError`, with the HTTP status, or 0 where no answer came.
    """

    def __init__(
        self, name: str, kubeconfig: str, context: str, *, request_timeout_seconds: float = 30.0
    ) -> None:
        self.name = name
        self.kubeconfig = kubeconfig
        self.context = context
        self._connection = Connection(name, kubeconfig, context, request_timeout_seconds)
        self._kinds = Kinds(self.get_path)

    @property
    def server(self) -> str:
        """The apiserver's URL, read from the kubeconfig."""
        return self._connection.server()

    def version(self) -> str:
        """The apiserver's version, as ``v1.36.1``."""
        return str(self.get_path("/version")["gitVersion"])

    def now(self) -> float:
        """The API server's clock, in seconds since the epoch, exact to a second.

        It is the clock that machines share which know nothing of each other.
        """
        return self._connection.date()

    def get_path(self, path: str, **query: str) -> Any:
        """GET of any path of the API: JSON, or else text."""
        return _parsed(self._connection.request("GET", path, tuple(query.items())))

    def list(
        self,
        kind: str,
        namespace: str | None = None,
        *,
        labels: str = "",
        fields: str = "",
        metadata_only: bool = False,
    ) -> list[Json]:
        """All objects of a kind, in one namespace or in all, of one moment.

        - None where the cluster does not know the kind.
        - With ``metadata_only`` they have nothing but their metadata, which costs the API server
          and us a fraction.
        """
        wanted = Listing(namespace, labels, fields, metadata_only)
        found = self._served(kind, lambda resource: whole(self._connection, resource, wanted))
        return found or []

    def each(
        self,
        kind: str,
        namespace: str | None = None,
        *,
        labels: str = "",
        fields: str = "",
        metadata_only: bool = False,
    ) -> Iterator[Json]:
        """The same objects one by one, read page by page, never all in memory.

        Where the API server forgets the moment of the first page meanwhile, which takes minutes,
        later pages are of a later moment; each object still comes once.
        """
        wanted = Listing(namespace, labels, fields, metadata_only)

        def begun(resource: Resource) -> Iterator[Json]:
            found = pages(self._connection, resource, wanted)
            first = next(found)  # whether the kind is served shows here
            return chain(first, chain.from_iterable(found))

        yield from self._served(kind, begun) or ()

    def _served(self, kind: str, do: Callable[[Resource], T]) -> T | None:
        """What ``do`` makes of the kind in the version that the cluster serves, if it does."""
        resource = self._kinds.named(kind)
        if resource is None:
            return None
        try:
            return do(resource)
        except KubeError as error:
            other = self._kinds.served(kind) if error.status == 404 else None
            if error.status != 404:
                raise
            return None if other is None or other == resource else do(other)

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

    def create(self, manifest: Mapping[str, Any], *, dry_run: bool = False) -> Json:
        """POST of one object; what the cluster made of it.

        With ``dry_run`` nothing is kept, but admission has its say.
        """
        metadata = manifest.get("metadata", {})
        resource = self.resource_of(manifest)
        namespace = metadata.get("namespace", "default") if resource.namespaced else None
        query = (("dryRun", "All"),) if dry_run else ()
        answer = self._connection.request("POST", resource.path(namespace), query, dict(manifest))
        made: Json = _parsed(answer)
        return made

    def merge(
        self,
        kind: str,
        name: str,
        namespace: str | None,
        patch: Mapping[str, Any],
        *,
        subresource: str = "",
        field_manager: str = "",
    ) -> Json:
        """JSON merge patch (RFC 7386) of one object; the result.

        With ``subresource``: of that one (``status``, ``scale``). What is changed belongs to
        ``field_manager`` then, by default to one named after the HTTP library.
        """
        below = f"/{subresource}" if subresource else ""
        path = self._resource(kind).path(namespace, name) + below
        query = (("fieldManager", field_manager),) if field_manager else ()
        answer = self._connection.request(
            "PATCH", path, query, dict(patch), content_type=MERGE_PATCH
        )
        merged: Json = _parsed(answer)
        return merged

    def apply_one(self, manifest: Mapping[str, Any], namespace: str, field_manager: str) -> None:
        """Server-side apply of one object."""
        resource = self.resource_of(manifest)
        metadata = manifest["metadata"]
        path = resource.path(metadata.get("namespace") or namespace, metadata["name"])
        query = (("fieldManager", field_manager), ("force", "true"))
        self._connection.request("PATCH", path, query, dict(manifest), content_type=APPLY_PATCH)

    def delete(
        self,
        kind: str,
        name: str,
        namespace: str | None = None,
        *,
        grace_seconds: int | None = None,
        uid: str = "",
        resource_version: str = "",
    ) -> None:
        """Ask for an object's deletion; an absent one is fine.

        - Does not wait: a pod takes the time that it asks for, or ``grace_seconds``.
        - With ``uid`` or ``resource_version`` only that very object is deleted, as it was read;
          status 409 says that it is another one, or was changed since.
        """
        resource = self._kinds.named(kind)
        if resource is None:
            return
        options: Json = {"propagationPolicy": "Background"}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        preconditions = {"uid": uid, "resourceVersion": resource_version}
        if demanded := {key: value for key, value in preconditions.items() if value}:
            options["preconditions"] = demanded
        try:
            self._connection.request("DELETE", resource.path(namespace, name), (), options)
        except KubeError as error:
            if error.status != 404:
                raise

    def watch(
        self, kind: str, namespace: str | None, resource_version: str, *, within_seconds: float
    ) -> Iterator[tuple[str, Json]]:
        """Changes of a kind's objects after ``resource_version``: (``ADDED``…, object).

        Ends after ``within_seconds`` at the latest.
        """
        query = (
            ("watch", "true"),
            ("resourceVersion", resource_version),
            ("timeoutSeconds", str(max(1, int(within_seconds)))),
        )
        path = self._resource(kind).path(namespace)
        until = time.monotonic() + within_seconds
        try:
            for line in self._connection.lines(path, query, timeout_seconds=within_seconds):
                if line:
                    event = json.loads(line)
                    yield event["type"], event["object"]
        except KubeError as error:
            # its end and ours are at the same moment, and either may come first
            if error.status or time.monotonic() < until:
                raise

    def logs(
        self,
        namespace: str,
        pod: str,
        container: str,
        *,
        tail_lines: int = 50,
        previous: bool = False,
    ) -> str:
        """The last lines of a container's log, or of its ``previous`` one."""
        query = (
            ("container", container),
            ("tailLines", str(tail_lines)),
            ("previous", str(previous).lower()),
        )
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log"
        return self._connection.request("GET", path, query).decode(errors="replace")

    def resource_of(self, manifest: Mapping[str, Any]) -> Resource:
        """The place of a manifest's kind in the API.

        :class:`KubeError` with status 404 where the cluster does not know it.
        """
        api_version, kind = str(manifest["apiVersion"]), str(manifest["kind"])
        resource = self._kinds.of(api_version, kind)
        if resource is None:
            raise self._unknown(f"{kind} of {api_version}")
        return resource

    def _resource(self, kind: str) -> Resource:
        resource = self._kinds.named(kind)
        if resource is None:
            raise self._unknown(kind)
        return resource

    def _unknown(self, kind: str) -> KubeError:
        detail = "this cluster does not serve it"
        return KubeError(self._connection.thing, f"find the kind {kind}", detail, status=404)


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode(errors="replace")
