"""Pictures: a time line as a drawing that explains itself.

Nothing in it is from elsewhere: no fonts, no scripts, no links.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import cycle
from xml.sax.saxutils import escape

from ..outlines import outlined
from ..timelines import Flow, Record, Timeline
from ..verdicts import Evidence, Verdict
from ..visible import shortened
from .svg import axis_step

SVG = "image/svg+xml"

WIDTH = 1120
_LEFT, _RIGHT = 170, 930
_ROW, _FAILURES, _GAP, _HEAD = 19, 10, 16, 16
_MARKS = 22  # the strip above the flows for the numbers of marks, in two rows where they are close
_MOST_RESPONDERS = 8
_MOST_EXPLAINED = 40
_INK, _FAINT, _RED = "#1b1f24", "#6a737d", "#c4141b"
# Okabe and Ito's colours, which colour-blind people tell apart; red is left to failures
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#8c6d1f", "#4b4ea8", "#5f6b6d")
_END, _BOLD, _GREY = ' text-anchor="end"', ' font-weight="600"', f' fill="{_FAINT}"'
_QUICKEST, _SLOWEST = 0.001, 10.0


def drawn(verdict: Verdict) -> Verdict:
    """The verdict with its time lines as evidence, before the other evidence, and in short."""
    pictures = [item for title, one in verdict.timelines for item in timeline_evidence(one, title)]
    outlines = tuple(outlined(one, title) for title, one in verdict.timelines)
    return replace(
        verdict,
        evidence=(*pictures, *verdict.evidence),
        timelines=(),
        outlines=(*verdict.outlines, *outlines),
    )


def timeline_evidence(timeline: Timeline, name: str = "time line") -> tuple[Evidence, ...]:
    """The time line as a drawing, and as JSON to reckon with."""
    data = json.dumps(timeline.to_dict(), separators=(",", ":"))
    return (
        Evidence(name, picture(timeline, name), SVG),
        Evidence(f"{name}, data", data, "application/json"),
    )


def picture(timeline: Timeline, title: str = "time line") -> str:
    """An SVG document of the time line.

    - Each flow has a row a responder, with a tick a request.
    - Failures are red, below. Marks are shaded windows.
    """
    return "\n".join(_Drawing(timeline, title).lines()) + "\n"


@dataclass(frozen=True)
class _Lane:
    """The place of a flow in the drawing, with its responders' rows."""

    flow: Flow
    top: float
    rows: tuple[str, ...]

    @property
    def foot(self) -> float:
        return self.top + _HEAD + _ROW * len(self.rows) + _FAILURES


class _Drawing:
    def __init__(self, timeline: Timeline, title: str) -> None:
        self._timeline, self._title = timeline, title
        self._begin = timeline.began
        self._seconds = max(timeline.ended - timeline.began, 1e-3)
        clusters = sorted({record.cluster for flow in timeline.flows for record in flow.answers})
        self._colours = dict(zip(clusters, cycle(_COLOURS), strict=False))
        self._pods = _pods(timeline)
        self._legend = list(self._legend_lines())
        lanes, top = [], 66.0 + 15 * len(self._legend) + (_MARKS if self._legend else 0)
        for flow in timeline.flows:
            lane = _Lane(flow, top, self._responders(flow))
            lanes.append(lane)
            top = lane.foot + _GAP
        self._lanes = lanes
        self._top = lanes[0].top if lanes else top
        self._foot = top - _GAP

    def lines(self) -> Iterator[str]:
        height = round(self._foot + 44)
        yield (
            '<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="title desc" '
            f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
            f'font-family="system-ui, sans-serif" font-size="11" fill="{_INK}">'
        )
        yield f'<title id="title">{escape(self._title)}</title>'
        yield f'<desc id="desc">{escape(self._described())}</desc>'
        yield f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>'
        yield _text(16, 24, self._title, f' font-size="15"{_BOLD}')
        yield _text(16, 41, self._summary(), _GREY)
        for place, (colour, text) in enumerate(self._legend):
            at = 58 + 15 * place
            yield f'<rect x="16" y="{at - 9}" width="11" height="11" rx="2" fill="{colour}"/>'
            yield _text(33, at, text)
        yield from self._axis()
        yield from self._shades()
        for lane in self._lanes:
            yield from self._lane(lane)
        yield "</svg>"

    def _lane(self, lane: _Lane) -> Iterator[str]:
        flow, at = lane.flow, lane.top + 10
        yield _text(16, at, shortened(flow.name, 110), _BOLD)
        counts = f"{len(flow.records)} requests, {_failed(flow)}"
        colour = _RED if flow.failures else _FAINT
        yield _text(WIDTH - 16, at, counts, f'{_END} fill="{colour}"')
        for place, responder in enumerate(lane.rows):
            base = lane.top + _HEAD + _ROW * (place + 1)
            mine = [record for record in flow.answers if self._responder(record) == responder]
            share = f"{100 * len(mine) / len(flow.records):.0f}%" if flow.records else ""
            slow = _milliseconds(max((record.latency_seconds for record in mine), default=0.0))
            yield f'<path d="M{_LEFT} {base:g}H{_RIGHT}" stroke="#e3e6e9"/>'
            yield _text(_LEFT - 8, base - 4, shortened(responder, 26), _END)
            yield _text(_RIGHT + 8, base - 4, f"{share}, slowest {slow}", _GREY)
            shade = self._colours.get(mine[0].cluster, _INK) if mine else _INK
            ticks = self._ticks(mine, base)
            yield f'<path d="{ticks}" stroke="{shade}" stroke-width="1.2" fill="none"/>'
        yield from self._failures(lane)

    def _ticks(self, records: Iterable[Record], base: float) -> str:
        highest: dict[float, float] = {}
        for record in records:
            at = self._x(record.when)
            highest[at] = max(highest.get(at, 0.0), _height(record.latency_seconds))
        return "".join(f"M{at:g} {base:g}v-{height:g}" for at, height in sorted(highest.items()))

    def _failures(self, lane: _Lane) -> Iterator[str]:
        failures = lane.flow.failures
        if not failures:
            return
        foot, top = lane.foot, lane.top + _HEAD
        places = sorted({self._x(record.when) for record in failures})
        band = "".join(f"M{at:g} {top:g}V{foot:g}" for at in places)
        yield f'<path d="{band}" stroke="{_RED}" stroke-width="1.2" stroke-opacity="0.28"/>'
        crosses = "".join(f"M{at - 2.5:g} {foot - 6:g}l5 5m-5 0l5 -5" for at in places)
        yield f'<path d="{crosses}" stroke="{_RED}" stroke-width="1.4" fill="none"/>'
        yield _text(_LEFT - 8, foot + 1, "failed", f'{_END} fill="{_RED}"')
        for record in failures[:_MOST_EXPLAINED]:  # shown where a reader's program shows titles
            told = f"{record.when - self._begin:.2f} s: {record.failure}"
            place = f'x="{self._x(record.when) - 3:g}" y="{foot - 8:g}" width="6" height="8"'
            yield f'<rect {place} fill-opacity="0"><title>{escape(told)}</title></rect>'

    def _shades(self) -> Iterator[str]:
        before, lower = -100.0, True
        for place, mark in enumerate(self._timeline.marks, 1):
            begin, end = self._x(mark.begin), self._x(mark.end)
            height = self._foot - self._top + 8
            about = f"<title>{escape(mark.text)}</title>"
            if end - begin >= 1:
                size = f'width="{end - begin:g}" height="{height:g}"'
                window = f'x="{begin:g}" y="{self._top - 4:g}" {size}'
                yield f'<rect {window} fill="#f6c244" fill-opacity="0.22">{about}</rect>'
            lower = not lower if begin - before < 14 else True
            before, at = begin, self._top - (8 if lower else 18)
            line = f"M{begin:g} {at + 1:g}V{self._top + height - 4:g}"
            yield f'<path d="{line}" stroke="#9a6700" stroke-dasharray="3 3">{about}</path>'
            yield _text(begin + 3, at + 4, f"{place}", f' font-size="10"{_BOLD} fill="#7a5200"')

    def _axis(self) -> Iterator[str]:
        step = axis_step(self._seconds)
        at = 0.0
        while at <= self._seconds + 1e-9:
            x = self._x(self._begin + at)
            yield f'<path d="M{x:g} {self._top - 3:g}V{self._foot + 8:g}" stroke="#eef0f2"/>'
            yield _text(x, self._foot + 21, f"{at:g}", f' text-anchor="middle"{_GREY}')
            at = round(at + step, 6)
        yield f'<path d="M{_LEFT} {self._foot + 8:g}H{_RIGHT}" stroke="{_FAINT}"/>'
        yield _text(_RIGHT + 20, self._foot + 21, "seconds", _GREY)
        tick = "tick: a request, by who answered; its height: latency"
        key = f"{tick}, from 1 ms to 10 s (logarithmic)"
        yield _text(_LEFT, self._foot + 36, key, _GREY)

    def _legend_lines(self) -> Iterator[tuple[str, str]]:
        for place, mark in enumerate(self._timeline.marks, 1):
            begin, end = mark.begin - self._begin, mark.end - self._begin
            when = f"at {begin:.2f} s"
            if end - begin >= 0.005:
                when = f"from {begin:.2f} s to {end:.2f} s"
            yield "#f0c75e", f"{place}  {shortened(mark.text, 120)}, {when}"

    def _responders(self, flow: Flow) -> tuple[str, ...]:
        found = sorted({self._responder(record) for record in flow.answers})
        return tuple(found[:_MOST_RESPONDERS]) or ("nobody",)

    def _responder(self, record: Record) -> str:
        """The cluster, and the pod where several of the cluster's answered.

        Where that makes too many rows, clusters alone.
        """
        many = sum(map(len, self._pods.values())) > _MOST_RESPONDERS
        if many or len(self._pods.get(record.cluster, ())) < 2:
            return record.cluster
        return f"{record.cluster} {record.version or record.pod} {record.pod[-5:]}"

    def _x(self, when: float) -> float:
        share = min(max((when - self._begin) / self._seconds, 0.0), 1.0)
        # half a pixel is as fine as anyone sees
        return round(2 * (_LEFT + (_RIGHT - _LEFT) * share)) / 2

    def _summary(self) -> str:
        timeline = self._timeline
        failed = len(timeline.failures)
        return (
            f"{timeline.requests} requests in {self._seconds:.1f} s, {failed or 'none'} failed; "
            f"longest time without an answer {timeline.longest_gap_seconds:.2f} s"
        )

    def _described(self) -> str:
        parts = [self._summary()]
        parts += [f"Mark {text}" for _, text in self._legend]
        for flow in self._timeline.flows:
            answered = flow.answered_by().items()
            by = ", ".join(f"{cluster} {count}" for cluster, count in answered) or "nobody"
            parts.append(f"{flow.name}: answered by {by}; {_failed(flow)}")
        ways = list(self._timeline.failed_as().items())[:5]
        parts += [f"{count} times {failure}" for failure, count in ways]
        return ". ".join(parts)


def _text(x: float, y: float, words: str, style: str = "") -> str:
    return f'<text x="{x:g}" y="{y:g}"{style}>{escape(words)}</text>'


def _pods(timeline: Timeline) -> dict[str, set[str]]:
    pods: dict[str, set[str]] = {}
    for flow in timeline.flows:
        for record in flow.answers:
            pods.setdefault(record.cluster, set()).add(record.pod)
    return pods


def _failed(flow: Flow) -> str:
    return f"{len(flow.failures) or 'none'} failed, longest gap {flow.longest_gap_seconds:.2f} s"


def _height(latency_seconds: float) -> float:
    latency = max(latency_seconds, _QUICKEST)
    share = math.log10(latency / _QUICKEST) / math.log10(_SLOWEST / _QUICKEST)
    return round(3 + (_ROW - 5) * min(share, 1.0), 1)


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
