"""Estimates of the duration of a build."""

from __future__ import annotations

import os
from pathlib import Path

from pytest_istio_mc.lab.binaries.durations import Durations, spoken


def test_what_was_measured_last_is_the_estimate(tmp_path: Path) -> None:
    durations = Durations(tmp_path / "durations.json")

    durations.record("mesh", 412.34)
    durations.record("etcd", 39)

    estimate = Durations(tmp_path / "durations.json").estimate("mesh", 1)
    assert estimate == (412.3, "last time 6 min 52 s")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["durations.json"]


def test_without_a_measurement_the_typical_time_is_scaled_to_the_cpus(tmp_path: Path) -> None:
    seconds, words = Durations(tmp_path / "none.json").estimate("mesh", 400)

    assert seconds == 800 / (os.cpu_count() or 2)
    assert "typically" in words


def test_a_file_that_cannot_be_read_counts_as_nothing_measured(tmp_path: Path) -> None:
    path = tmp_path / "durations.json"
    path.write_text('{"mesh": ')

    assert Durations(path).last("mesh") is None
    Durations(path).record("mesh", 5)
    assert Durations(path).last("mesh") == 5


def test_durations_are_said_as_people_do() -> None:
    assert [spoken(8.2), spoken(99), spoken(400)] == ["8 s", "99 s", "6 min 40 s"]
