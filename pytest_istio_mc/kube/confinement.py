"""Confinement: a connection that changes nothing outside some namespaces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..errors import NotAllowed

_READING = ("GET", "HEAD", "OPTIONS")
_REVIEWS = ("/apis/authorization.k8s.io/", "/apis/authentication.k8s.io/")
"""Creating one asks a question and leaves nothing."""

_PROCESSES = ("exec", "attach", "ephemeralcontainers", "proxy")
"""What gets into pods, by any method. A port-forward to a pod asks what it serves."""


@dataclass(frozen=True)
class Confinement:
    """The namespaces in which a connection may write, and run processes in pods."""

    owns: Callable[[str], bool]

    def demand(self, thing: str, method: str, path: str, query: Sequence[tuple[str, str]]) -> None:
        """Raise :class:`NotAllowed` for a request that changes anything elsewhere."""
        parts = path.strip("/").split("/")
        if method in _READING and not set(parts[-2:]) & set(_PROCESSES):
            return
        if ("dryRun", "All") in query or path.startswith(_REVIEWS):
            return
        namespace = parts[parts.index("namespaces") + 1 :][:1] if "namespaces" in parts else []
        if not (namespace and self.owns(namespace[0])):
            raise NotAllowed(
                thing,
                f"{method} {path} is not done",
                "this run writes nothing outside its own namespaces",
                advice="a check that must is disruptive: --mesh-disruptive allows it, --mesh-plan "
                "tells what is done to whom",
            )
