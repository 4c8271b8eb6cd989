"""Drawings of time lines: whole, and readable without colours and by programs.

Nothing in them is from elsewhere.
"""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree as ET

import pytest

from pytest_istio_mc.evidence.pictures import picture, timeline_evidence
from pytest_istio_mc.observations import Ending, Protocol
from pytest_istio_mc.timelines import Flow, Mark, Record, Timeline

SVG = "{http://www.w3.org/2000/svg}"
BEGAN = 1_700_000_000.0


def flow(name: str, *, pods: int = 1, failing: range = range(0), count: int = 100) -> Flow:
    def record(place: int) -> Record:
        when, cluster = BEGAN + place / 10, "east" if place % 2 else "west"
        if place in failing:
            return Record(when, Ending.ANSWERED, 503, 0.01, error="no <healthy> upstream")
        pod = f"pod-{place % pods:05}"
        return Record(when, Ending.ANSWERED, 200, 0.004, True, cluster, pod, "v1")

    target = (name, "east", "hello", 5000, Protocol.HTTP, False, 0.1)
    return Flow(*target, tuple(map(record, range(count))), False, BEGAN, BEGAN + count / 10)


FLOWS = (
    flow("east to hello, new connections", failing=range(40, 45)),
    flow("east to hello, kept connections"),
)
MARKS = (
    Mark(BEGAN + 3, BEGAN + 6, "API server of west & co stopped"),
    Mark(BEGAN + 3.1, BEGAN + 3.1, "istiod restarted"),
)
TIMELINE = Timeline(FLOWS, MARKS)


def drawn(timeline: Timeline = TIMELINE, title: str = "lost <west>") -> ET.Element:
    return ET.fromstring(picture(timeline, title))


def texts(root: ET.Element) -> list[str]:
    return [element.text or "" for element in root.iter(f"{SVG}text")]


def test_it_says_in_words_what_it_shows() -> None:
    root = drawn()

    assert root.get("role") == "img"
    labels = {element.get("id"): element.text for element in root if element.get("id")}
    assert set((root.get("aria-labelledby") or "").split()) == set(labels)
    assert labels["title"] == "lost <west>"
    description = labels["desc"] or ""
    assert "200 requests in 10.0 s, 5 failed" in description
    assert "API server of west & co stopped, from 3.00 s to 6.00 s" in description
    assert "east to hello, kept connections: answered by" in description
    assert "5 times 503 no <healthy> upstream" in description


def test_every_flow_responder_mark_and_failure_is_there() -> None:
    root = drawn()
    words = texts(root)

    assert words.count("east") == words.count("west") == 2
    assert words.count("failed") == 1, "the flow without failures has no row for them"
    assert "100 requests, 5 failed, longest gap 0.60 s" in words
    assert "1  API server of west & co stopped, from 3.00 s to 6.00 s" in words
    assert "2  istiod restarted, at 3.10 s" in words
    assert "seconds" in words
    assert {"0", "5", "10"} <= set(words)
    crosses = next(path for path in root.iter(f"{SVG}path") if "l5 5" in (path.get("d") or ""))
    assert (crosses.get("d") or "").count("M") == 5
    told = [title.text for title in root.iter(f"{SVG}title")]
    assert "4.00 s: 503 no <healthy> upstream" in told


def test_nothing_lies_outside_or_comes_from_elsewhere() -> None:
    text = picture(TIMELINE)
    root = drawn()
    width, height = float(root.get("width") or 0), float(root.get("height") or 0)

    assert not re.search(r"<script|<image|<use|href|url\(|@import|font-face", text)
    assert text.count("http") == 1, "the name of the SVG namespace"
    for element in root.iter(f"{SVG}text"):
        assert 0 <= float(element.get("x") or 0) <= width
        assert 0 < float(element.get("y") or 0) < height


def test_texts_do_not_lie_upon_each_other() -> None:
    boxes = []
    for element in drawn().iter(f"{SVG}text"):
        long = 7.5 * len(element.text or "") * (1.4 if element.get("font-size") == "15" else 1)
        x, y = float(element.get("x") or 0), float(element.get("y") or 0)
        begin = x - {"end": long, "middle": long / 2}.get(element.get("text-anchor") or "", 0.0)
        boxes.append((begin, begin + long, y, element.text))

    for place, (begin, end, y, text) in enumerate(boxes):
        for other_begin, other_end, other_y, other in boxes[:place]:
            assert abs(y - other_y) >= 9 or end <= other_begin or begin >= other_end, (text, other)


def test_pods_have_rows_of_their_own_while_there_are_few() -> None:
    few, many = drawn(Timeline((flow("a", pods=3),))), drawn(Timeline((flow("a", pods=20),)))

    assert sum(word.startswith(("east v1", "west v1")) for word in texts(few)) == 6
    assert [word for word in texts(many) if word.startswith(("east", "west"))] == ["east", "west"]


@pytest.mark.parametrize(
    "timeline",
    [
        Timeline(()),
        Timeline((flow("nothing was sent", count=0),)),
        Timeline((flow("dead", failing=range(100)),)),
    ],
    ids=["no flow", "no request", "no answer"],
)
def test_little_to_see_is_drawn_all_the_same(timeline: Timeline) -> None:
    assert drawn(timeline).tag == f"{SVG}svg"


def test_many_requests_do_not_make_a_large_drawing() -> None:
    flows = tuple(flow(f"flow {place}", count=20_000) for place in range(4))

    assert len(picture(Timeline(flows))) < 400_000


def test_the_data_is_beside_it() -> None:
    image, data = timeline_evidence(TIMELINE, "a time line")

    assert image.media_type == "image/svg+xml"
    assert data.name == "a time line, data"
    assert Timeline.from_dict(json.loads(data.text)) == TIMELINE
