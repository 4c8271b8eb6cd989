"""Undo: how a change to Kubernetes objects is taken back, as values that another process can carry out as well."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..kube import Kube

Manifest = Mapping[str, Any]


@dataclass(frozen=True)
class Restore:
    """Put an object back as it was."""

    cluster: str
    manifest: Manifest

    def run(self, kubes: Mapping[str, Kube]) -> None:
        """Apply it; it need not be gone."""
        kubes[self.cluster].apply(self.manifest)


@dataclass(frozen=True)
class Merge:
    """Change an object back, by a JSON merge patch."""

    cluster: str
    kind: str
    name: str
    namespace: str
    patch: Manifest

    def run(self, kubes: Mapping[str, Kube]) -> None:
        """Patch it."""
        kubes[self.cluster].merge(self.kind, self.name, self.namespace, self.patch)


@dataclass(frozen=True)
class Remove:
    """Remove what a fault has made."""

    cluster: str
    kind: str
    name: str
    namespace: str

    def run(self, kubes: Mapping[str, Kube]) -> None:
        """Delete it; it may be gone."""
        kubes[self.cluster].delete(self.kind, self.name, self.namespace)


@dataclass(frozen=True)
class RenewToken:
    """Give the holders of a remote secret a new token in place of one that was revoked: that one cannot be brought back."""

    cluster: str
    token_secret: Manifest
    holders: tuple[tuple[str, Manifest], ...]

    def run(self, kubes: Mapping[str, Kube]) -> None:
        """Make the token's Secret anew, and write the new token into the holders' remote secrets."""
        from .access import renew_token

        renew_token(kubes, self.cluster, self.token_secret, self.holders)


@dataclass(frozen=True)
class RestoreMeshConfig:
    """Give a ConfigMap of mesh configuration back what a run has noted in it when it changed it."""

    cluster: str
    namespace: str
    name: str

    def run(self, kubes: Mapping[str, Kube]) -> None:
        """Restore it, and prove it; where it has been restored already, nothing is done."""
        from . import mesh_config

        mesh_config.restore(
            kubes[self.cluster], mesh_config.Place(self.cluster, self.namespace, self.name)
        )


Undo = Restore | Merge | Remove | RenewToken | RestoreMeshConfig
_KINDS: dict[str, type[Undo]] = {
    kind.__name__: kind for kind in (Restore, Merge, Remove, RenewToken, RestoreMeshConfig)
}


def to_list(steps: Iterable[Undo]) -> list[dict[str, Any]]:
    """Plain JSON for :func:`from_list`."""
    return [{"undo": type(step).__name__, **asdict(step)} for step in steps]


def from_list(document: Iterable[Mapping[str, Any]]) -> list[Undo]:
    """The steps that :func:`to_list` wrote."""
    return [
        _KINDS[entry["undo"]](**{key: value for key, value in entry.items() if key != "undo"})
        for entry in document
    ]


def as_it_was(found: Mapping[str, Any]) -> dict[str, Any]:
    """An object as it was read, without what only the API server may say, so that it can be applied again."""
    own = (
        "managedFields",
        "resourceVersion",
        "uid",
        "creationTimestamp",
        "generation",
        "deletionTimestamp",
        "selfLink",
    )
    metadata = {key: value for key, value in found["metadata"].items() if key not in own}
    return {key: value for key, value in found.items() if key != "status"} | {"metadata": metadata}
