"""``python -m bench``: measure certifications, and the same work by hand."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

from bench import by_hand, certification, memory


def main() -> int:
    """Run the measurements and print them as a table."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    runs = "runs of each (default 3); the median is printed, with the range"
    parser.add_argument("-n", "--runs", type=int, default=3, help=runs)
    parser.add_argument("--json", type=Path, help="also write all figures as JSON")
    arguments = parser.parse_args()

    figures: dict[str, list[float]] = {}

    def note(name: str, seconds: float) -> None:
        figures.setdefault(name, []).append(round(seconds, 3))

    built = certification.build()
    note("build (0 when the binaries were there)", built)
    for number in range(arguments.runs):
        print(f"certification {number + 1} of {arguments.runs} …", file=sys.stderr, flush=True)
        for name, seconds in certification.certify():
            note(name, seconds)
        print(f"by hand {number + 1} of {arguments.runs} …", file=sys.stderr, flush=True)
        for name, seconds in by_hand.measure():
            note(f"by hand: {name}", seconds)
    print("memory …", file=sys.stderr, flush=True)
    for name, mebibytes in memory.measure():
        note(name, mebibytes)
    _print(figures)
    if arguments.json:
        taken_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        document = {"takenAt": taken_at, "figures": figures}
        arguments.json.write_text(json.dumps(document, indent=1) + "\n")
    return 0


def _print(figures: dict[str, list[float]]) -> None:
    width = max(map(len, figures))
    print(f"{'':{width}}  {'median':>8}  {'lowest':>8}  {'highest':>8}")
    for name, values in figures.items():
        median, lowest, highest = statistics.median(values), min(values), max(values)
        print(f"{name:{width}}  {median:8.1f}  {lowest:8.1f}  {highest:8.1f}")


if __name__ == "__main__":
    sys.exit(main())
