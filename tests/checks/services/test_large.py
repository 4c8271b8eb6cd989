"""Thousands of services are judged in seconds, from a snapshot."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.checks.services.large import SERVICES, large

MOST_SECONDS = 10
MOST_MEGABYTES = 500
ROOT = Path(__file__).parents[3]


def test_thousands_of_services_are_judged_in_seconds(tmp_path: Path) -> None:
    large().save(tmp_path / "large")

    command = [sys.executable, "-m", "tests.checks.services.large", str(tmp_path / "large")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)

    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    outcomes = result["outcomes"].values()
    assert all(one.startswith("conformant") for one in outcomes), result["outcomes"]
    assert f"{2 * SERVICES} services find" in result["outcomes"]["MC-SERVICE-002"]
    assert result["megabytes"] < MOST_MEGABYTES, result
    assert result["load"] + result["judge"] < MOST_SECONDS, result
