"""The last time of each part of a build, as the estimate of the next."""

from __future__ import annotations

import json
import os
from pathlib import Path

TYPICAL_CPUS = 2  # of the machine that the typical durations were measured on


class Durations:
    """Seconds by part, in one file; an unreadable file counts as empty."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def last(self, part: str) -> float | None:
        """The seconds of ``part`` last time, or None."""
        return self._read().get(part)

    def record(self, part: str, seconds: float) -> None:
        """Note the seconds of ``part``."""
        noted = self._read() | {part: round(seconds, 1)}
        partial = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        partial.write_text(json.dumps(noted, indent=1, sort_keys=True))
        partial.rename(self._path)

    def estimate(self, part: str, typical_seconds: float) -> tuple[float, str]:
        """The expected seconds of ``part``, and their origin in words."""
        last = self.last(part)
        if last is not None:
            return last, f"last time {spoken(last)}"
        cpus = os.cpu_count() or TYPICAL_CPUS
        scaled = typical_seconds * TYPICAL_CPUS / max(cpus, 1)
        return scaled, f"typically {spoken(scaled)} on {cpus} CPUs with empty caches"

    def _read(self) -> dict[str, float]:
        try:
            noted = json.loads(self._path.read_text())
            return {str(part): float(seconds) for part, seconds in noted.items()}
        except (OSError, ValueError, AttributeError, TypeError):
            return {}


def spoken(seconds: float) -> str:
    """A duration in words: ``8 s``, ``6 min 40 s``."""
    whole = round(seconds)
    return f"{whole} s" if whole < 100 else f"{whole // 60} min {whole % 60} s"
