"""Time lines in short, drawn for a page: phases shaded, answers as bars, losses marked.

Colours come from the page's style sheet, and each has a word or a shape beside it.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..outlines import Lane, Outline, Span
from ..visible import shortened
from .svg import axis_step, safe

WIDTH = 1000
_LEFT, _RIGHT, _HEAD, _BAR, _GAP = 190, 960, 18, 11, 16
_MOST_PHASES = 12
_MOST_RESPONDERS = 8
_COLOURS = 6


def outline_svg(outline: Outline, id: str) -> str:
    """An inline SVG of one time line; ``id``: unique on the page, of safe characters."""
    return "\n".join(_Drawing(outline, id).lines())


class _Drawing:
    def __init__(self, outline: Outline, id: str) -> None:
        self._outline, self._id = outline, id
        answered = {span.what for lane in outline.lanes for span in lane.answered}
        self._clusters = sorted(answered)
        self._top = 26.0 + 16 * min(len(outline.phases), _MOST_PHASES)

    def lines(self) -> Iterator[str]:
        heights = [_height(lane) for lane in self._outline.lanes]
        foot = self._top + sum(heights)
        height = round(foot + 30)
        yield (
            f'<svg class="drawing times" role="img" viewBox="0 0 {WIDTH} {height}" '
            f'aria-labelledby="{self._id}-title {self._id}-desc">'
        )
        yield f'<title id="{self._id}-title">{safe(self._outline.title)}</title>'
        yield f'<desc id="{self._id}-desc">{safe(described(self._outline))}</desc>'
        yield from self._phases(foot)
        yield from self._axis(foot)
        top = self._top
        for lane, size in zip(self._outline.lanes, heights, strict=True):
            yield from self._lane(lane, top)
            top += size
        yield "</svg>"

    def _phases(self, foot: float) -> Iterator[str]:
        for number, phase in enumerate(self._outline.phases[:_MOST_PHASES], 1):
            begin, end = self._x(phase.begin), self._x(phase.end)
            about = f"<title>{safe(f'{number}  {phase.text}')}</title>"
            size = f'width="{max(end - begin, 1):g}" height="{foot - self._top + 12:g}"'
            shade = "phase odd" if number % 2 else "phase"
            yield f'<rect class="{shade}" x="{begin:g}" y="{self._top - 8:g}" {size}>{about}</rect>'
            line = f"M{begin:g} {self._top - 8:g}V{foot + 4:g}"
            yield f'<path class="edge" d="{line}"/>'
            yield _text(begin + 2, self._top - 11, f"{number}", "number")
            when = f"{phase.begin:.1f} s" + (f" to {phase.end:.1f} s" if end - begin >= 1 else "")
            at = 14 + 16 * (number - 1)
            yield _text(0, at, f"{number}  {shortened(phase.text, 110)} ({when})", "phase-text")

    def _lane(self, lane: Lane, top: float) -> Iterator[str]:
        failed = f"{lane.failed} of {lane.requests} lost" if lane.failed else "none lost"
        told = f"{lane.requests} requests, {failed}, longest gap {lane.longest_gap_seconds:.2f} s"
        yield _text(0, top + 12, shortened(lane.name, 70), "lane")
        style = "bad-text end" if lane.failed else "faint end"
        yield _text(WIDTH, top + 12, told, style)
        base = top + _HEAD
        for responder in _responders(lane):
            yield _text(_LEFT - 8, base + 9, shortened(responder or "?", 26), "end")
            yield f'<path class="rail" d="M{_LEFT} {base + 5.5:g}H{_RIGHT}"/>'
            shade = f"by{self._clusters.index(responder) % _COLOURS}"
            for span in lane.answered:
                if span.what == responder:
                    yield self._bar(span, base, shade, f"{responder}: {span.requests} answers")
            base += _BAR + 5
        if lane.losses:
            yield _text(_LEFT - 8, base + 9, "lost ✕", "bad-text end")
            yield f'<path class="rail" d="M{_LEFT} {base + 5.5:g}H{_RIGHT}"/>'
            for span in lane.losses:
                yield self._bar(span, base, "loss", f"{span.requests} lost: {span.what}")
                x = (self._x(span.begin) + self._x(span.end)) / 2
                cross = f"M{x - 4:g} {base + 1.5:g}l8 8m0 -8l-8 8"
                yield f'<path class="cross" d="{cross}"/>'

    def _bar(self, span: Span, base: float, style: str, words: str) -> str:
        begin, end = self._x(span.begin), self._x(span.end)
        about = f"{words}, {span.begin:.2f} s to {span.end:.2f} s"
        return (
            f'<rect class="{style}" x="{begin - 1:g}" y="{base:g}" width="{end - begin + 2:g}" '
            f'height="{_BAR}" rx="2"><title>{safe(about)}</title></rect>'
        )

    def _axis(self, foot: float) -> Iterator[str]:
        seconds = max(self._outline.seconds, 0.001)
        step = axis_step(seconds)
        at = 0.0
        while at <= seconds + 1e-9:
            x = self._x(at)
            yield f'<path class="tick" d="M{x:g} {self._top - 4:g}V{foot + 4:g}"/>'
            yield _text(x, foot + 18, f"{at:g}", "middle faint")
            at = round(at + step, 6)
        yield _text(_LEFT - 14, foot + 18, "seconds", "end faint")

    def _x(self, at: float) -> float:
        share = min(max(at / max(self._outline.seconds, 0.001), 0.0), 1.0)
        return round(_LEFT + (_RIGHT - _LEFT) * share, 1)


def described(outline: Outline) -> str:
    """What the drawing shows, in sentences."""
    lost = outline.failed or "none"
    gap = f"longest time without an answer {outline.longest_gap_seconds:.2f} s"
    parts = [f"{outline.requests} requests in {outline.seconds:.1f} s, {lost} lost; {gap}"]
    parts += [
        f"From {phase.begin:.1f} s to {phase.end:.1f} s: {phase.text}" for phase in outline.phases
    ]
    for lane in outline.lanes:
        by: dict[str, int] = {}
        for span in lane.answered:
            by[span.what] = by.get(span.what, 0) + span.requests
        answers = ", ".join(f"{name} {count}" for name, count in by.items()) or "nobody"
        ways = "; ".join(
            f"{span.requests} lost from {span.begin:.2f} s to {span.end:.2f} s: {span.what}"
            for span in lane.losses[:5]
        )
        parts.append(f"{lane.name}: answered by {answers}" + (f"; {ways}" if ways else ""))
    if outline.more_lanes:
        parts.append(f"{outline.more_lanes} more flows are not drawn")
    return ". ".join(parts)


def _responders(lane: Lane) -> list[str]:
    return sorted({span.what for span in lane.answered})[:_MOST_RESPONDERS]


def _height(lane: Lane) -> float:
    rows = len(_responders(lane)) + bool(lane.losses)
    return _HEAD + max(rows, 1) * (_BAR + 5) + _GAP


def _text(x: float, y: float, words: str, style: str) -> str:
    return f'<text class="{style}" x="{x:g}" y="{y:g}">{safe(words)}</text>'
