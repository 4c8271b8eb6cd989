"""The drawing of a mesh: networks, clusters, gateways, and who watches whom.

Clusters stand on an ellipse, so that no line between two of them passes behind a third.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import quoteattr

from ..visible import shortened
from .standing import Mark, Node, Standing, Watch
from .svg import safe

MOST_DRAWN = 8
"""With more clusters a drawing is illegible; the table beside it has them all."""

WIDTH = 1120
_LINE, _PAD, _LABEL = 17, 14, 22
_WIDE, _NARROW, _MANY = 256.0, 200.0, 5
"""Widths of a box, and with how many clusters all are wide."""
_ASIDE = 7
"""How far a line is from the middle, so that those of both directions keep apart."""
_MOST_GATEWAYS, _MOST_MARKS = 3, 3
_LETTER = 7.4
"""How wide a letter is, in the widest fonts that browsers take."""

Point = tuple[float, float]


@dataclass(frozen=True)
class _Row:
    """A line of text in a cluster's box; ``check`` makes it a link."""

    text: str
    style: str
    check: str = ""


@dataclass(frozen=True)
class _Box:
    node: Node
    rows: tuple[_Row, ...]
    x: float
    y: float
    width: float
    height: float

    @property
    def corners(self) -> tuple[Point, ...]:
        """Its corners with the room that its network's label and border need."""
        left, right = self.x - self.width / 2 - _PAD, self.x + self.width / 2 + _PAD
        top, foot = self.y - self.height / 2 - _PAD - _LABEL, self.y + self.height / 2 + _PAD
        return (left, top), (right, top), (right, foot), (left, foot)

    def border(self, way: Point, aside: Point) -> Point:
        """Where a line in the direction ``way`` leaves it, that passes its middle ``aside``."""
        (dx, dy), (ax, ay) = way, aside
        across = (math.copysign(self.width / 2, dx) - ax) / dx if dx else math.inf
        along = (math.copysign(self.height / 2, dy) - ay) / dy if dy else math.inf
        share = min(across, along)
        return self.x + ax + dx * share, self.y + ay + dy * share


def mesh_svg(standing: Standing, id: str, anchor: Callable[[str], str]) -> str:
    """An inline SVG of the mesh; empty where it cannot be drawn legibly.

    - ``id``: unique on the page, of safe characters.
    - ``anchor``: from a check's id to the fragment of its place on the page.
    """
    if not standing.drawable or not 0 < len(standing.nodes) <= MOST_DRAWN:
        return ""
    return "\n".join(_Drawing(standing, id, anchor).lines())


def described(standing: Standing) -> str:
    """What the drawing shows, in sentences."""
    parts = []
    for node in standing.nodes:
        told = [f"{node.name}: {node.role_words}, network {node.network}"]
        for gateway in node.gateways:
            places = ", ".join(gateway.addresses) or "no address"
            told.append(f"gateway {gateway.name or 'without a Service'} at {places}")
        told += [f"{mark.check} fails: {mark.summary}" for mark in node.marks]
        told += [f"not looked at: {what}" for what in node.unseen]
        parts.append("; ".join(told))
    for watch in standing.watches:
        marks = "".join(f"; {mark.check} fails: {mark.summary}" for mark in watch.marks)
        verb = "watches" if watch.known and not watch.marks else "is to watch"
        parts.append(f"{watch.control_plane} {verb} {watch.cluster}: {watch.detail}{marks}")
    if not standing.watches:
        parts.append("No control plane is to watch another cluster")
    parts += [f"{mark.check} fails: {mark.summary}" for mark in standing.everywhere]
    return ". ".join(parts) + "."


class _Drawing:
    def __init__(self, standing: Standing, id: str, anchor: Callable[[str], str]) -> None:
        self._standing, self._id, self._anchor = standing, id, anchor
        networks = dict.fromkeys(node.network for node in standing.nodes)
        ordered = [
            node for network in networks for node in standing.nodes if node.network == network
        ]
        wide = len(ordered) <= _MANY
        width = _WIDE if wide else _NARROW
        rows = {node.name: tuple(_rows(node, wide=wide)) for node in ordered}
        height = 22 + _LINE * max(map(len, rows.values()))
        places, self._width, self._height = _places(len(ordered), width, height)
        self._boxes = {
            node.name: _Box(node, rows[node.name], x, y, width, height)
            for node, (x, y) in zip(ordered, places, strict=True)
        }
        self._networks = list(networks)
        self._names: list[str] = []

    def lines(self) -> Iterator[str]:
        height = round(self._height + 34)
        label = f'aria-labelledby="{self._id}-title {self._id}-desc"'
        view = f'viewBox="0 0 {self._width:g} {height}"'
        yield f'<svg class="drawing mesh" role="img" {view} {label}>'
        yield f'<title id="{self._id}-title">The mesh as it was recorded</title>'
        yield f'<desc id="{self._id}-desc">{safe(described(self._standing))}</desc>'
        yield "<defs>"
        for kind in ("good", "bad", "unknown"):
            yield (
                f'<marker id="{self._id}-{kind}" class="head {kind}" viewBox="0 0 10 10" refX="9" '
                'refY="5" markerWidth="11" markerHeight="11" markerUnits="userSpaceOnUse" '
                'orient="auto"><path d="M0 0.8L10 5L0 9.2z"/></marker>'
            )
        yield "</defs>"
        for number, network in enumerate(self._networks):
            yield from self._network(number, network)
        # what is wrong is drawn last, above what is not
        for watch in sorted(self._standing.watches, key=_rank):
            yield from self._watch(watch)
        yield from self._names
        for box in self._boxes.values():
            yield from self._cluster(box)
        yield from self._legend(height - 14)
        yield "</svg>"

    def _network(self, number: int, network: str) -> Iterator[str]:
        """The border; the name is kept for later, so that no line strikes it through."""
        boxes = [box for box in self._boxes.values() if box.node.network == network]
        hull = _hull([corner for box in boxes for corner in box.corners])
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in hull) + "z"
        yield f'<path class="network n{number % 4}" d="{path}"/>'
        first = min(boxes, key=lambda box: (box.y, box.x))
        (x, y), *_ = first.corners
        name = shortened(f"network: {network}", int((first.width + 8) / _LETTER))
        self._names.append(_text(x + 12, y + 18, name, f"network-name h{number % 4}"))

    def _watch(self, watch: Watch) -> Iterator[str]:
        source, target = self._boxes.get(watch.control_plane), self._boxes.get(watch.cluster)
        if source is None or target is None or source is target:
            return
        kind = _kind(watch)
        dx, dy = target.x - source.x, target.y - source.y
        length = math.hypot(dx, dy) or 1.0
        # two lines side by side where each watches the other
        aside = (-dy / length * _ASIDE, dx / length * _ASIDE)
        (x1, y1), (x2, y2) = source.border((dx, dy), aside), target.border((-dx, -dy), aside)
        about = f"{watch.control_plane} to {watch.cluster}, {watch.word}: {watch.detail}"
        about += "".join(f"; {mark.check}: {mark.summary}" for mark in watch.marks)
        end = f'marker-end="url(#{self._id}-{kind})"'
        line = f"M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}"
        yield f'<path class="watch {kind}" d="{line}" {end}><title>{safe(about)}</title></path>'
        if kind == "good":
            return
        # beside the line, on its own side, so that those of both directions keep apart
        upright = abs(dx) < abs(dy) / 2
        side = aside[0] >= 0 if upright else aside[1] >= 0
        place = (x1 + x2) / 2, (y1 + y2) / 2
        if upright:
            at, style = (place[0] + (8 if side else -8), place[1]), "" if side else " end"
        else:
            at, style = (place[0], place[1] + (17 if side else -8)), " middle"
        words = f"✕ {watch.marks[0].check}" if watch.marks else "? not known"
        more = f" +{len(watch.marks) - 1}" if len(watch.marks) > 1 else ""
        label = _text(*at, f"{words}{more}", f"label {kind}{style}")
        yield self._linked(label, watch.marks[0].check if watch.marks else "")

    def _cluster(self, box: _Box) -> Iterator[str]:
        node = box.node
        kind = "bad" if node.marks else "unknown" if node.unseen else "good"
        left, top = box.x - box.width / 2, box.y - box.height / 2
        place = (
            f'x="{left:.1f}" y="{top:.1f}" width="{box.width:g}" height="{box.height:.1f}" rx="8"'
        )
        dashed = " unseen" if node.unseen else ""
        yield f'<rect class="cluster {kind}{dashed}" {place}/>'
        for number, row in enumerate(box.rows):
            at = top + 22 + _LINE * number
            yield self._linked(
                _text(
                    left + 12, at, shortened(row.text, int((box.width - 24) / _LETTER)), row.style
                ),
                row.check,
            )

    def _linked(self, text: str, check: str) -> str:
        return f"<a href={quoteattr('#' + self._anchor(check))}>{text}</a>" if check else text

    def _legend(self, y: float) -> Iterator[str]:
        x = 16.0
        for kind, words in (
            ("good", "watches: remote secret and istiod in sync"),
            ("bad", "red, ✕: a check fails here"),
            ("unknown", "dashed, ?: could not be looked at, or not judged"),
        ):
            line = f"M{x:g} {y - 4:g}h34"
            end = f'marker-end="url(#{self._id}-{kind})"'
            yield f'<path class="watch {kind}" d="{line}" {end}/>'
            yield _text(x + 42, y, words, "legend")
            x += 62 + 6.6 * len(words)


def _rows(node: Node, *, wide: bool) -> Iterator[_Row]:
    yield _Row(node.name, "name")
    yield _Row(node.role_words, "faint")
    for gateway in node.gateways[:_MOST_GATEWAYS]:
        places = ", ".join(gateway.addresses[:2]) or "without an address"
        more = f" +{len(gateway.addresses) - 2}" if len(gateway.addresses) > 2 else ""
        style = "bad-text" if gateway.bad else "plain"
        word = "gateway " if wide else ""
        yield _Row(f"{'✕' if gateway.bad else '⇄'} {word}{places}{more}", style)
    if len(node.gateways) > _MOST_GATEWAYS:
        yield _Row(f"and {len(node.gateways) - _MOST_GATEWAYS} more gateways", "plain")
    yield from _mark_rows(node.marks, wide=wide)
    for what in node.unseen[:1]:
        yield _Row(f"? not looked at: {what}", "unknown-text")


def _mark_rows(marks: Sequence[Mark], *, wide: bool) -> Iterator[_Row]:
    for mark in marks[:_MOST_MARKS]:
        word = " (cause)" if mark.is_cause and wide else ""
        yield _Row(f"✕ {mark.check}{word}", "bad-text", mark.check)
    if len(marks) > _MOST_MARKS:
        yield _Row(f"✕ and {len(marks) - _MOST_MARKS} more checks fail", "bad-text")


def _kind(watch: Watch) -> str:
    if watch.marks:
        return "bad"
    return "good" if watch.known else "unknown"


def _rank(watch: Watch) -> int:
    return ("good", "unknown", "bad").index(_kind(watch))


def _places(count: int, box: float, height: float) -> tuple[list[Point], float, float]:
    """The middles of that many boxes on an ellipse, none over another; the drawing's size."""
    # the two at the top stand side by side, whatever the height
    beside = (box + 2 * _PAD + 8) / (2 * math.sin(math.pi / max(count, 2)))
    wide = max((WIDTH - box) / 2 - _PAD - 2, beside)
    room = height + 2 * _PAD + _LABEL
    first = math.pi if count == 2 else -math.pi / 2 - math.pi / count
    angles = [first + 2 * math.pi * number / count for number in range(count)]
    high = 0.0 if count < 3 else 0.8 * room
    if count == 1:
        wide = 0.0
    found: list[Point] = []
    for more in range(0, 200 * count, 10):
        tall = high + more
        found = [(wide * math.cos(angle), tall * math.sin(angle)) for angle in angles]
        if not _overlap(found, box, room) and not _hidden(found, box, height):
            break
    top = min(y for _, y in found) - height / 2 - _PAD - _LABEL - 4
    width = max(float(WIDTH), 2 * wide + box + 2 * _PAD + 4)
    places = [(x + width / 2, y - top) for x, y in found]
    return places, width, max(y for _, y in places) + height / 2 + _PAD + 4


def _overlap(places: Sequence[Point], box: float, room: float) -> bool:
    return any(
        abs(x1 - x2) < box + 2 * _PAD + 4 and abs(y1 - y2) < room + 4
        for number, (x1, y1) in enumerate(places)
        for x2, y2 in places[:number]
    )


def _hidden(places: Sequence[Point], box: float, height: float) -> bool:
    """Whether a line between two boxes passes behind a third."""
    return any(
        abs(x1 + (x2 - x1) * part / 32 - x) < box / 2 + _ASIDE
        and abs(y1 + (y2 - y1) * part / 32 - y) < height / 2 + _ASIDE
        for (x1, y1), (x2, y2) in itertools.combinations(places, 2)
        for x, y in places
        if (x, y) not in ((x1, y1), (x2, y2))
        for part in range(1, 32)
    )


def _hull(points: Iterable[Point]) -> list[Point]:
    """The convex hull of some points (Andrew's monotone chain)."""
    ordered = sorted(set(points))
    halves = []
    for run in (ordered, ordered[::-1]):
        half: list[Point] = []
        for point in run:
            while len(half) > 1 and _turn(half[-2], half[-1], point) <= 0:
                half.pop()
            half.append(point)
        halves.append(half[:-1])
    return halves[0] + halves[1]


def _turn(a: Point, b: Point, c: Point) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _text(x: float, y: float, words: str, style: str) -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}">{safe(words)}</text>'
