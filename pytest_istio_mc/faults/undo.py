"""Undo: steps that take changes back, which another process can carry out, too."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from ..kube import Kube

Manifest = Mapping[str, Any]

_SET_BY_THE_API_SERVER = (
    "managedFields",
    "resourceVersion",
    "uid",
    "creationTimestamp",
    "generation",
    "deletionTimestamp",
    "selfLink",
)


@dataclass(frozen=True)
class Step(ABC):
    """One step of undoing: a dataclass of plain JSON values.

    Each subclass is known by its name from its definition on; ``deadman_process`` imports all
    modules that define one.
    """

    kinds: ClassVar[dict[str, type[Step]]] = {}

    def __init_subclass__(cls) -> None:
        Step.kinds[cls.__name__] = cls

    @abstractmethod
    def run(self, kubes: Mapping[str, Kube]) -> None:
        """Carry it out; a second time changes nothing."""


@dataclass(frozen=True)
class Restore(Step):
    """Put an object back as it was."""

    cluster: str
    manifest: Manifest

    def run(self, kubes: Mapping[str, Kube]) -> None:
        """Apply it; it need not be gone."""
        kubes[self.cluster].apply(self.manifest)


@dataclass(frozen=True)
class Merge(Step):
    """Change an object back, by a JSON merge patch."""

    cluster: str
    kind: str
    name: str
    namespace: str
    patch: Manifest

    def run(self, kubes: Mapping[str, Kube]) -> None:
        """Patch it."""
        kubes[self.cluster].merge(self.kind, self.name, self.namespace, self.patch)


def to_list(steps: Iterable[Step]) -> list[dict[str, Any]]:
    """Plain JSON for :func:`from_list`."""
    return [{"undo": type(step).__name__, **asdict(step)} for step in steps]


def from_list(document: Iterable[Mapping[str, Any]]) -> list[Step]:
    """The steps that :func:`to_list` wrote."""
    return [
        Step.kinds[entry["undo"]](**{key: value for key, value in entry.items() if key != "undo"})
        for entry in document
    ]


def as_it_was(found: Mapping[str, Any]) -> dict[str, Any]:
    """An object as it was read, to be applied again.

    Without all that only the API server may say.
    """
    metadata = {
        key: value for key, value in found["metadata"].items() if key not in _SET_BY_THE_API_SERVER
    }
    return {key: value for key, value in found.items() if key != "status"} | {"metadata": metadata}
