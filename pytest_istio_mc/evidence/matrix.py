"""The matrix of who reaches whom, by protocol: from a certificate, for pages and terminals."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..checks.judging import names
from ..verdicts import Outcome, Reached
from ..visible import visible

PROTOCOLS = ("endpoints", "HTTP", "HTTP/2", "TCP", "mutual TLS", "imported service")
"""The columns in their order; endpoints are what proxies know, the others what was sent."""

MOST_IN_TERMINAL = 6
"""With more clusters, a terminal is too narrow for the matrix."""

WORDS = {
    Reached.YES: "reached",
    Reached.PARTLY: "partly",
    Reached.NO: "not reached",
    Reached.UNKNOWN: "not known",
}
SIGNS = {Reached.YES: "✓", Reached.PARTLY: "!", Reached.NO: "✕", Reached.UNKNOWN: "?"}

_WORST_FIRST = (Reached.NO, Reached.PARTLY, Reached.UNKNOWN, Reached.YES)

# What certificates without `reach` tell: of these checks, once conformant, the pairs were reached.
_BY_CHECK = {
    "MC-DISCOVERY-002": ("endpoints",),
    "MC-DISCOVERY-003": ("HTTP",),
    "MC-DISCOVERY-008": ("HTTP/2", "TCP"),
    "MC-TRUST-008": ("mutual TLS",),
    "MC-FEDERATION-001": ("imported service",),
}
_PAIR = re.compile(r"(?P<source>\S+)(?: to |-to-)(?P<target>\S+)")


@dataclass(frozen=True)
class Cell:
    """What is known of one protocol from one cluster to another, by which check, and why."""

    protocol: str
    reached: Reached
    note: str = ""
    check: str = ""

    @property
    def sign(self) -> str:
        """One character; beside it always stands a word or a name."""
        return SIGNS[self.reached]

    @property
    def word(self) -> str:
        """The state in words."""
        return WORDS[self.reached]


@dataclass(frozen=True)
class Matrix:
    """Cells by source and target; ``clusters`` are those with workloads, in the mesh's order."""

    clusters: tuple[str, ...]
    protocols: tuple[str, ...]
    cells: Mapping[tuple[str, str], tuple[Cell, ...]]

    def __bool__(self) -> bool:
        return any(self.cells.values())

    def of(self, source: str, target: str) -> tuple[Cell, ...]:
        """The cells of a pair, in the order of the protocols; none where nobody looked."""
        return self.cells.get((source, target), ())

    def summary(self, source: str, target: str) -> str:
        """A pair in a few words: ``all reached``, ``not reached: HTTP; not known: TCP``."""
        cells = self.of(source, target)
        if not cells:
            return "not looked at"
        if len(cells) == len(self.protocols) and len({cell.reached for cell in cells}) == 1:
            only = cells[0].reached
            return f"all {WORDS[only]}" if len(cells) > 1 else WORDS[only]
        return "; ".join(
            f"{WORDS[state]}: {', '.join(mine)}"
            for state in _WORST_FIRST
            if (mine := [cell.protocol for cell in cells if cell.reached is state])
        )

    @property
    def sentence(self) -> str:
        """How many pairs are reached by all that was tried, and how many are not."""
        worst = [
            min((cell.reached for cell in cells), key=_WORST_FIRST.index)
            for cells in self.cells.values()
            if cells
        ]
        told = [
            f"{worst.count(state)} {words}"
            for state, words in (
                (Reached.YES, "reached"),
                (Reached.NO, "not reached by at least one"),
                (Reached.PARTLY, "with failures"),
                (Reached.UNKNOWN, "not wholly known"),
            )
            if state in worst
        ]
        return f"{len(worst)} pairs over {names(self.protocols)}: {', '.join(told)}"

    @property
    def reasons(self) -> dict[str, list[str]]:
        """Why pairs are not simply reached: each reason, with the pairs and protocols it is of."""
        found: dict[str, list[str]] = {}
        for (source, target), cells in self.cells.items():
            for cell in cells:
                if cell.note:
                    where = f"{source} to {target} ({cell.protocol})"
                    found.setdefault(cell.note, []).append(where)
        return found


def matrix_of(report: Mapping[str, Any]) -> Matrix:
    """The matrix of a certificate; without cells where it says nothing of who reaches whom."""
    clusters = tuple(
        cluster["name"] for cluster in report["mesh"]["clusters"] if cluster["role"] != "external"
    )
    found: dict[tuple[str, str, str], Cell] = {}
    for source, target, cell in _cells(report):
        if source not in clusters or target not in clusters:
            continue
        before = found.get((source, target, cell.protocol))
        if before is None or _WORST_FIRST.index(cell.reached) < _WORST_FIRST.index(before.reached):
            found[source, target, cell.protocol] = cell
    there = {protocol for _, _, protocol in found}
    protocols = (*(one for one in PROTOCOLS if one in there), *sorted(there - {*PROTOCOLS}))
    cells = {
        (source, target): tuple(
            found[source, target, protocol]
            for protocol in protocols
            if (source, target, protocol) in found
        )
        for source in clusters
        for target in clusters
    }
    return Matrix(clusters, protocols, {pair: one for pair, one in cells.items() if one})


def _cells(report: Mapping[str, Any]) -> Iterator[tuple[str, str, Cell]]:
    if "reach" in report:
        for row in report["reach"]:
            for target, state in row["targets"].items():
                note = row["notes"].get(target, "")
                cell = Cell(row["protocol"], Reached(state), note, row["check"])
                yield row["source"], target, cell
        return
    for entry in report["checks"]:
        if entry["verdict"] != Outcome.CONFORMANT.value:
            continue
        for protocol in _BY_CHECK.get(entry["id"], ()):
            for pair in map(_PAIR.fullmatch, entry["pairs"]):
                if pair:
                    cell = Cell(protocol, Reached.YES, check=entry["id"])
                    yield pair["source"], pair["target"], cell


def matrix_lines(report: Mapping[str, Any]) -> list[str]:
    """The matrix for a terminal; nothing where nothing is known, or there are too many clusters."""
    matrix = matrix_of(report)
    if not matrix or len(matrix.clusters) > MOST_IN_TERMINAL:
        return []
    rows = [["from \\ to", *matrix.clusters]]
    rows += [
        [source, *(_brief(matrix, source, target) for target in matrix.clusters)]
        for source in matrix.clusters
    ]
    rows = [[visible(text) for text in row] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    table = (
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
    return [f"reach       {visible(matrix.sentence)}", *(f"  {line}" for line in table)]


_SHORT = {"endpoints": "endp", "mutual TLS": "mTLS", "imported service": "imported"}


def _brief(matrix: Matrix, source: str, target: str) -> str:
    """A pair in a column: ``ok``, or by protocol what is not."""
    cells = matrix.of(source, target)
    if not cells:
        return "." if source == target else "-"
    if all(cell.reached is Reached.YES for cell in cells):
        return "ok"
    parts = []
    for state, word in ((Reached.NO, "FAILS"), (Reached.PARTLY, "PARTLY"), (Reached.UNKNOWN, "?")):
        if mine := [cell.protocol for cell in cells if cell.reached is state]:
            told = "all" if len(mine) == len(cells) else "+".join(_SHORT.get(p, p) for p in mine)
            parts.append(f"{word} {told}")
    return ", ".join(parts)
