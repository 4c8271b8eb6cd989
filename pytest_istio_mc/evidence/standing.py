"""Standing: what of a drawn mesh is wrong, unknown or in order, from its certificate alone.

Red comes from checks that are not conformant, never from the recorded facts: those are only drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..verdicts import Outcome
from .drawing_facts import WATCHED


@dataclass(frozen=True)
class Mark:
    """A check that is not conformant because of the thing that carries this mark."""

    check: str
    summary: str
    is_cause: bool


@dataclass(frozen=True)
class Gateway:
    """An east-west gateway, with its addresses; ``bad``: a check of gateways fails there."""

    name: str
    addresses: tuple[str, ...]
    bad: bool = False


@dataclass(frozen=True)
class Node:
    """One cluster; ``unseen`` says what of it could not be looked at."""

    name: str
    role: str
    network: str
    served_by: str
    locality: str
    versions: Mapping[str, str]
    gateways: tuple[Gateway, ...] = ()
    marks: tuple[Mark, ...] = ()
    unseen: tuple[str, ...] = ()

    @property
    def role_words(self) -> str:
        """Its role, and whose istiod serves it where that is not its own."""
        others = self.served_by not in ("", self.name)
        return f"{self.role}, served by {self.served_by}" if others else self.role


@dataclass(frozen=True)
class Watch:
    """A control plane that is to watch a cluster, and what is known of that."""

    control_plane: str
    holder: str
    cluster: str
    known: bool
    detail: str
    marks: tuple[Mark, ...] = ()

    @property
    def word(self) -> str:
        """The state in words: watches, fails, not known."""
        if self.marks:
            return "a check fails"
        return "watches" if self.known else "not known"


@dataclass(frozen=True)
class Standing:
    """The mesh as it is drawn. ``everywhere``: marks that name no cluster.

    ``drawable``: whether the certificate has what a drawing needs.
    """

    nodes: tuple[Node, ...]
    watches: tuple[Watch, ...]
    everywhere: tuple[Mark, ...]
    drawable: bool
    recorded_at: str = ""


def standing_of(report: Mapping[str, Any]) -> Standing:
    """What to draw of a certificate, of any version."""
    picture = report["mesh"].get("picture")
    known = picture or {"gateways": [], "watches": [], "unseen": [], "recordedAt": ""}
    names = [cluster["name"] for cluster in report["mesh"]["clusters"]]
    scopes = {_scope(watch): watch for watch in known["watches"]}
    on_clusters: dict[str, dict[str, Mark]] = {name: {} for name in names}
    on_watches: dict[tuple[str, ...], dict[str, Mark]] = {scope: {} for scope in scopes}
    everywhere: dict[str, Mark] = {}
    of_gateways: set[str] = set()
    for area, scope, mark in _marks(report):
        if area == "ACCESS" and scope in on_watches:
            on_watches[scope].setdefault(mark.check, mark)
        elif scope and scope[0] in on_clusters:
            on_clusters[scope[0]].setdefault(mark.check, mark)
            if area == "EASTWEST":
                of_gateways.add(scope[0])
        else:
            everywhere.setdefault(mark.check, mark)
    nodes = tuple(
        Node(
            name=cluster["name"],
            role=cluster["role"],
            network=cluster["network"],
            served_by=cluster["controlPlane"],
            locality=cluster["locality"],
            versions=cluster["versions"],
            gateways=tuple(
                Gateway(one["name"], tuple(one["addresses"]), cluster["name"] in of_gateways)
                for one in known["gateways"]
                if one["cluster"] == cluster["name"]
            ),
            marks=tuple(on_clusters[cluster["name"]].values()),
            unseen=tuple(
                f"{one['what']}: {one['why']}"
                for one in known["unseen"]
                if one["cluster"] == cluster["name"]
            ),
        )
        for cluster in report["mesh"]["clusters"]
    )
    watches = tuple(
        Watch(
            watch["controlPlane"],
            watch["holder"],
            watch["cluster"],
            watch["state"] == WATCHED,
            watch["detail"],
            tuple(on_watches[scope].values()),
        )
        for scope, watch in scopes.items()
    )
    return Standing(
        nodes, watches, tuple(everywhere.values()), picture is not None, known["recordedAt"]
    )


def _scope(watch: Mapping[str, str]) -> tuple[str, ...]:
    """The clusters that a finding about this watch names, in its order."""
    return tuple(dict.fromkeys((watch["controlPlane"], watch["holder"], watch["cluster"])))


def _marks(report: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, ...], Mark]]:
    """Area, clusters and mark of every finding; those of root causes first."""
    causes = {cause["check"] for cause in report["rootCauses"]}
    wrong = [one for one in report["checks"] if one["verdict"] == Outcome.NON_CONFORMANT.value]
    for entry in sorted(wrong, key=lambda one: one["id"] not in causes):
        for finding in entry["findings"]:
            mark = Mark(entry["id"], finding["summary"], entry["id"] in causes)
            yield entry["id"].split("-")[1], tuple(finding["clusters"]), mark
