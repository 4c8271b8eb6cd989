"""Certificates to show: of recorded meshes, with traffic, of old versions, and hostile ones."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

from pytest_istio_mc.checks.catalogue import known_checks
from pytest_istio_mc.evidence.drawing_facts import picture_of
from pytest_istio_mc.evidence.pictures import drawn
from pytest_istio_mc.evidence.report import Outcomes, build_report, validate
from pytest_istio_mc.mesh import Mesh
from pytest_istio_mc.observations import Ending, Protocol
from pytest_istio_mc.settings import Settings
from pytest_istio_mc.snapshot import Snapshot
from pytest_istio_mc.spec import ClusterSpec, MeshSpec
from pytest_istio_mc.timelines import Flow, Mark, Record, Timeline
from pytest_istio_mc.verdicts import (
    Finding,
    Reach,
    Reached,
    Verdict,
    conformant,
    non_conformant,
)
from tests.static_checks import judge_all

RECORDED = Path(__file__).parents[1] / "recorded"
BEGAN = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
VERSIONS = {"istio": "1.31.1", "kubernetes": "v1.36.1"}
EPOCH = 1_700_000_000.0


@cache
def _recorded(name: str) -> dict[str, Any]:
    snapshot = Snapshot.load(RECORDED / name)
    return made(snapshot.spec, judge_all(snapshot), picture_of(snapshot))


def recorded(name: str) -> dict[str, Any]:
    """The certificate of a recorded mesh, by its static checks."""
    return copy.deepcopy(_recorded(name))


def made(
    spec: MeshSpec, verdicts: Mapping[str, Verdict], picture: Mapping[str, Any] | None
) -> dict[str, Any]:
    """A certificate of these verdicts, which fits its schema."""
    stamped = {id: replace(drawn(verdict), check=id) for id, verdict in verdicts.items()}
    outcomes = Outcomes(stamped, dict.fromkeys(stamped, 0.25), began=BEGAN, seconds=12.5)
    versions = {cluster.name: VERSIONS for cluster in spec}
    mesh = Mesh(spec, "run1", "lab", "python:1", notes=("a lab differs",), versions=versions)
    document = build_report(
        Settings(spec.topology, "lab", spec),
        known_checks(),
        outcomes,
        mesh,
        version="0.3.0",
        picture=picture,
    )
    validate(document)
    return document


def of_many(count: int, *, wrong: bool = True) -> dict[str, Any]:
    """The certificate of a mesh of that many primaries, each on its own network, with traffic."""
    clusters = [
        ClusterSpec(f"cluster{number}", f"network{number}") for number in range(1, count + 1)
    ]
    spec = MeshSpec("multi-network-multi-primary", tuple(clusters))
    names = [cluster.name for cluster in clusters]
    pairs = [(source, target) for source in names for target in names if source != target]
    picture = {
        "version": 1,
        "recordedAt": "2026-11-21T09:00:00+00:00",
        "gateways": [
            {
                "cluster": cluster.name,
                "network": cluster.network,
                "name": "istio-system/istio-eastwestgateway",
                "addresses": [f"198.19.{number}.1:15443"],
            }
            for number, cluster in enumerate(clusters, 1)
        ],
        "watches": [
            {
                "controlPlane": source,
                "holder": source,
                "cluster": target,
                "state": "watched",
                "detail": "synced",
            }
            for source, target in pairs
        ],
        "unseen": [],
    }
    lost = ("cluster1", "cluster2") if wrong else ("", "")
    cells = [
        Reach(
            protocol,
            source,
            target,
            Reached.NO if (source, target) == lost and protocol == "TCP" else Reached.YES,
            "none of 40 got there" if (source, target) == lost else "20 of 40 answered there",
        )
        for protocol, source, target in product(("HTTP", "HTTP/2", "TCP"), names, names)
    ]
    unreached = Finding("cluster1 does not reach cluster2 over TCP", lost, "answers", "none")
    protocols = non_conformant([unreached]) if wrong else conformant("all answered")
    verdicts = {
        "MC-DISCOVERY-008": protocols.with_reach(cells),
        "MC-DISCOVERY-004": conformant("endpoints came and went").with_timeline(
            "scaled to 0 and back", time_line(names[:2])
        ),
    }
    return made(spec, verdicts, picture)


def time_line(clusters: list[str], *, losses: range = range(40, 46)) -> Timeline:
    """Flows from each cluster, with losses while something was done."""
    return Timeline(
        tuple(
            Flow(
                f"{source} to hello, new connections",
                source,
                "hello",
                5000,
                Protocol.HTTP,
                False,
                0.1,
                tuple(_record(number, clusters, losses) for number in range(200)),
                False,
                EPOCH,
                EPOCH + 20,
            )
            for source in clusters
        ),
        (
            Mark(EPOCH + 3, EPOCH + 6, "upgrade: control plane of cluster1"),
            Mark(EPOCH + 6, EPOCH + 12, "upgrade: gateways"),
        ),
    )


def _record(number: int, clusters: list[str], losses: range) -> Record:
    when = EPOCH + number / 10
    if number in losses:
        return Record(when, Ending.ANSWERED, 503, 0.01, error="no healthy upstream")
    cluster = clusters[number % len(clusters)]
    return Record(when, Ending.ANSWERED, 200, 0.004, True, cluster, "pod-1", "v1")


def aged(document: Mapping[str, Any]) -> dict[str, Any]:
    """The certificate as versions wrote it that knew no page."""
    old = copy.deepcopy(dict(document))
    old.pop("reach", None)
    old["mesh"].pop("picture", None)
    old.pop("claim", None)
    for entry in old["checks"]:
        entry.pop("timelines", None)
        entry.pop("claimedBy", None)
    validate(old)
    return old


HOSTILE = (
    "</script><script>alert(1)</script>\"'><img src=x onerror=alert(2)> {{ 7 * 7 }} {% raw %} "
    "\x1b[31m\x00\u202egnp ]]> <!-- & \ud800"
)
"""What a name may hold: tags, ends of quotes, templates, control characters, half a surrogate."""


def hostile(document: Mapping[str, Any], text: str = HOSTILE) -> dict[str, Any]:
    """The certificate with a text from hell at each place where its schema allows any text."""
    keep: tuple[str, ...] = (
        "apiVersion",
        "kind",
        "result",
        "date",
        "id",
        "profile",
        "kind",
        "verdict",
        "role",
    )
    keep += ("check", "claimedBy", "explains", "state", "targets", "profiles", "statistics")

    def spoilt(value: Any, key: str = "") -> Any:
        if key in keep:
            return value
        if isinstance(value, dict):
            return {name: spoilt(one, name) for name, one in value.items()}
        if isinstance(value, list):
            return [spoilt(one) for one in value]
        return f"{value}{text}" if isinstance(value, str) else value

    found: dict[str, Any] = spoilt(document)
    names = {cluster["name"] for cluster in document["mesh"]["clusters"]}
    for row in found.get("reach", ()):
        row["targets"] = {
            f"{name}{text}" if name in names else name: state
            for name, state in row["targets"].items()
        }
    validate(found)
    return found
