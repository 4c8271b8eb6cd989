"""Listing: collections, read page by page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..errors import KubeError
from .connection import Connection
from .failures import Failure
from .kinds import Resource

PAGE = 500
_GONE = 410

# https://kubernetes.io/docs/reference/using-api/api-concepts/#metadata-only-fetches
_METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"

Json = dict[str, Any]


@dataclass(frozen=True)
class Listing:
    """Which objects of a kind are wanted, and how much of them."""

    namespace: str | None = None
    labels: str = ""
    fields: str = ""
    metadata_only: bool = False

    def query(self, limit: int, following: str) -> tuple[tuple[str, str], ...]:
        """The query of one page; ``limit`` 0 asks for everything.

        It never asks for ``resourceVersion=0``: that answer ignores the limit, and may be older
        than what the run itself has just written.
        """
        asked = {
            "labelSelector": self.labels,
            "fieldSelector": self.fields,
            "limit": str(limit or ""),
            "continue": following,
        }
        return tuple((key, value) for key, value in asked.items() if value)


def whole(connection: Connection, resource: Resource, wanted: Listing) -> list[Json]:
    """All objects, of one moment.

    Where the API server has forgotten the moment of the first page, all are asked for at once.
    """
    items: list[Json] = []
    try:
        for page in _pages(connection, resource, wanted, go_on_later=False):
            items += page
    except KubeError as error:
        if error.status != _GONE:
            raise
        items = _page(connection, resource, wanted, 0, "")["items"]
    return items


def pages(connection: Connection, resource: Resource, wanted: Listing) -> Iterator[list[Json]]:
    """The objects in pages; the first one may be empty.

    Where the API server has forgotten the moment of the first page, it goes on with what is there
    now, from the same place: the answer 410 carries the token for that.
    """
    yield from _pages(connection, resource, wanted, go_on_later=True)


def _pages(
    connection: Connection, resource: Resource, wanted: Listing, *, go_on_later: bool
) -> Iterator[list[Json]]:
    following, forgotten = "", False
    while True:
        try:
            document = _page(connection, resource, wanted, PAGE, following)
        except Failure as error:
            later = str((error.status_object.get("metadata") or {}).get("continue") or "")
            if error.status != _GONE or not go_on_later or not later or forgotten:
                raise
            following, forgotten = later, True
            continue
        forgotten = False
        yield document["items"] or []
        following = document["metadata"].get("continue") or ""
        if not following:
            return


def _page(
    connection: Connection, resource: Resource, wanted: Listing, limit: int, following: str
) -> Json:
    path = resource.path(wanted.namespace)
    accept = f"{_METADATA},application/json" if wanted.metadata_only else "application/json"
    query = wanted.query(limit, following)
    document: Json = json.loads(connection.request("GET", path, query, accept=accept))
    return document
