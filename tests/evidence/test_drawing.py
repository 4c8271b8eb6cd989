"""Drawings of meshes: legible, honest about what is unknown, and the same in words."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import combinations
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_istio_mc.evidence.drawing import MOST_DRAWN, described, mesh_svg
from pytest_istio_mc.evidence.drawing_facts import picture_of
from pytest_istio_mc.evidence.drawing_times import outline_svg
from pytest_istio_mc.evidence.standing import Standing, standing_of
from pytest_istio_mc.outlines import Outline, Phase, outlined
from pytest_istio_mc.recorded import Failure
from pytest_istio_mc.snapshot import REACH, Snapshot
from tests.evidence.certificates import (
    HOSTILE,
    RECORDED,
    aged,
    hostile,
    of_many,
    recorded,
    time_line,
)

Box = tuple[float, float, float, float]


def svg(standing: Standing) -> ET.Element:
    """The drawing, parsed."""
    return ET.fromstring(mesh_svg(standing, "m", lambda check: check))


def classes(root: ET.Element, name: str) -> list[str]:
    """The classes of the elements of that first class."""
    found = [element.get("class", "").split() for element in root.iter()]
    return [" ".join(one[1:]) for one in found if one[:1] == [name]]


def texts(root: ET.Element) -> list[str]:
    """The texts in the drawing."""
    return [element.text or "" for element in root.iter("text")]


def boxes(root: ET.Element) -> list[Box]:
    """Left, top, right and foot of each cluster."""
    found = []
    for element in root.iter("rect"):
        if element.get("class", "").startswith("cluster"):
            x, y, width, height = (
                float(element.get(key, "")) for key in ("x", "y", "width", "height")
            )
            found.append((x, y, x + width, y + height))
    return found


def test_a_healthy_mesh_has_nothing_red_and_nothing_dashed() -> None:
    for name in ("healthy", "healthy-flat-multi-primary", "healthy-external-control-plane"):
        root = svg(standing_of(recorded(name)))

        assert set(classes(root, "cluster")) == {"good"}, name
        assert "✕" not in "".join(text for text in texts(root) if "red, ✕" not in text)
        assert set(classes(root, "watch")[:-3]) == {"good"}, name


def test_a_missing_remote_secret_makes_one_watch_red_and_not_the_other() -> None:
    standing = standing_of(recorded("rs-missing"))

    marked = {
        (one.control_plane, one.cluster): [m.check for m in one.marks] for one in standing.watches
    }
    assert marked == {
        ("cluster1", "cluster2"): ["MC-ACCESS-001", "MC-ACCESS-006"],
        ("cluster2", "cluster1"): [],
    }
    assert [(node.name, bool(node.marks)) for node in standing.nodes] == [
        ("cluster1", True),
        ("cluster2", False),
    ]
    assert "✕ MC-ACCESS-001 +1" in texts(svg(standing))


def test_a_broken_gateway_is_red_where_it_is() -> None:
    standing = standing_of(recorded("ew-passthrough-missing"))

    assert [[gateway.bad for gateway in node.gateways] for node in standing.nodes] == [
        [False],
        [True],
    ]
    assert "✕ gateway 198.19.2.1:15443" in texts(svg(standing))


def test_a_gateway_without_an_address_says_so() -> None:
    root = svg(standing_of(recorded("ew-no-address")))

    assert "✕ gateway without an address" in texts(root)


def test_what_was_not_tried_is_dashed_and_not_green() -> None:
    standing = standing_of(recorded("multi-network-primary-remote-pr-injection-path"))

    root = svg(standing)
    assert [watch.word for watch in standing.watches] == ["not known"]
    assert classes(root, "watch")[:-3] == ["unknown"]
    assert "? not known" in texts(root)


def test_a_cluster_that_does_not_answer_is_dashed() -> None:
    snapshot = Snapshot.load(RECORDED / "healthy")
    gone = replace(
        snapshot.clusters["cluster2"],
        objects={},
        istiods=(),
        proxies=(),
        failures=(Failure(REACH, "connection refused"),),
    )
    lost = replace(snapshot, clusters={**snapshot.clusters, "cluster2": gone})

    report = recorded("healthy")
    report["mesh"]["picture"] = picture_of(lost)

    standing = standing_of(report)
    assert standing.nodes[1].unseen
    assert "unknown unseen" in classes(svg(standing), "cluster")
    assert not standing.watches[1].known
    assert "not looked at: the API server: connection refused" in described(standing)


def test_facts_alone_are_never_red() -> None:
    """An istiod that knows less than it should is red only where a check says so."""
    report = recorded("rs-missing")
    for entry in report["checks"]:
        entry.update(verdict="not-applicable", findings=[])
    report["rootCauses"] = []

    standing = standing_of(report)

    assert [watch.word for watch in standing.watches] == ["not known", "watches"]
    assert "bad" not in classes(svg(standing), "watch")[:-3]


@pytest.mark.parametrize("count", range(2, MOST_DRAWN + 1))
def test_boxes_of_any_number_of_clusters_keep_apart(count: int) -> None:
    root = svg(standing_of(of_many(count)))

    _, _, width, height = map(float, (root.get("viewBox") or "").split())
    found = boxes(root)
    assert len(found) == count
    for one, other in combinations(found, 2):
        assert one[2] < other[0] or other[2] < one[0] or one[3] < other[1] or other[3] < one[1]
    assert all(
        left >= 0 and top >= 0 and right <= width and foot <= height
        for left, top, right, foot in found
    )


@pytest.mark.parametrize("count", range(3, MOST_DRAWN + 1))
def test_no_line_passes_behind_a_third_cluster(count: int) -> None:
    root = svg(standing_of(of_many(count)))

    found = boxes(root)
    lines = [
        tuple(map(float, re.findall(r"-?[\d.]+", element.get("d", ""))))
        for element in root.iter("path")
        if element.get("class", "").startswith("watch") and "h34" not in element.get("d", "")
    ]
    assert len(lines) == count * (count - 1)
    for x1, y1, x2, y2 in lines:
        inside = [(x1 + (x2 - x1) * part / 40, y1 + (y2 - y1) * part / 40) for part in range(2, 39)]
        for left, top, right, foot in found:
            assert not any(left + 9 < x < right - 9 and top + 9 < y < foot - 9 for x, y in inside)


def test_too_many_clusters_are_not_drawn() -> None:
    assert mesh_svg(standing_of(of_many(MOST_DRAWN + 1)), "m", str) == ""


def test_an_old_certificate_is_not_drawn() -> None:
    standing = standing_of(aged(recorded("healthy")))

    assert not standing.drawable
    assert mesh_svg(standing, "m", str) == ""
    assert [node.name for node in standing.nodes] == ["cluster1", "cluster2"]


def test_texts_stay_in_their_boxes_and_act_nowhere() -> None:
    text = mesh_svg(standing_of(hostile(recorded("rs-missing"))), "m", str)

    root = ET.fromstring(text)
    assert "<script" not in text
    assert not {*"\x00\x1b\u202e"} & {*text}
    assert max(map(len, (one for one in texts(root) if "dashed" not in one))) <= 60


def test_words_say_what_the_drawing_shows() -> None:
    told = described(standing_of(recorded("rs-missing")))

    assert "cluster1: primary, network network1" in told
    assert "198.19.1.1:15443" in told
    assert "cluster1 is to watch cluster2" in told
    assert "cluster2 watches cluster1" in told
    assert "MC-ACCESS-001 fails: cluster1 has no remote secret for cluster2" in told


def test_a_time_line_in_short_keeps_what_was_lost_and_when() -> None:
    outline = outlined(time_line(["east", "west"]), "scaled")

    lane = outline.lanes[0]
    assert (lane.requests, lane.failed) == (200, 6)
    (loss,) = lane.losses
    assert (loss.begin, loss.end, loss.requests) == (4.0, 4.5, 6)
    assert "no healthy upstream" in loss.what
    assert sum(span.requests for span in lane.answered) == 194
    assert [phase.text for phase in outline.phases] == [
        "upgrade: control plane of cluster1",
        "upgrade: gateways",
    ]
    assert Outline.from_dict(outline.to_dict()) == outline


@settings(max_examples=30, deadline=None)
@given(st.sets(st.integers(0, 199)))
def test_no_loss_is_lost_in_an_outline(lost: set[int]) -> None:
    timeline = time_line(["east", "west"])
    first = timeline.flows[0]
    records = tuple(
        replace(record, status=503, pod="", error=f"way {number % 40}")
        if number in lost
        else record
        for number, record in enumerate(
            time_line(["east", "west"], losses=range(0)).flows[0].records
        )
    )

    (lane,) = outlined(replace(timeline, flows=(replace(first, records=records),)), "x").lanes

    assert sum(span.requests for span in lane.losses) == lane.failed == len(lost)
    assert sum(span.requests for span in lane.answered) == 200 - len(lost)
    assert len(lane.losses) <= 60


def test_phases_are_shaded_and_losses_marked() -> None:
    root = ET.fromstring(outline_svg(outlined(time_line(["east"]), "an <upgrade>"), "t"))

    assert len(classes(root, "loss")) == len(classes(root, "cross")) == 1
    assert len(classes(root, "phase")) == 2
    assert "1  upgrade: control plane of cluster1 (3.0 s to 6.0 s)" in texts(root)


def test_a_time_line_of_nothing_is_drawn_all_the_same() -> None:
    empty = Outline("nothing", 0.0, (), (Phase(0.0, 0.0, HOSTILE),), 3)

    root = ET.fromstring(outline_svg(empty, "t"))

    assert "3 more flows are not drawn" in (root.findtext("desc") or "")


def test_thousands_of_services_cost_nothing_to_draw() -> None:
    snapshot = Snapshot.load(RECORDED / "healthy")
    asked = 0

    class Service(dict[str, Any]):
        """A Service that counts how often it is looked at."""

        def get(self, key: str, default: Any = None) -> Any:
            nonlocal asked
            asked += key == "spec"
            return super().get(key, default)

    many = tuple(
        Service(metadata={"name": f"svc{number}", "namespace": "shop"}, spec={"ports": []})
        for number in range(3000)
    )
    clusters = {
        name: replace(
            cluster,
            objects={**cluster.objects, "Service": (*cluster.objects["Service"], *many)},
        )
        for name, cluster in snapshot.clusters.items()
    }

    picture = picture_of(replace(snapshot, clusters=clusters))

    assert len(picture["gateways"]) == 2
    # a few times each, however many there are
    assert 0 < asked <= 4 * 2 * 3000
