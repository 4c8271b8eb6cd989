"""The matrix of who reaches whom: what certificates of any version tell, and nothing more."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from pytest_istio_mc.evidence.markdown import matrix_markdown
from pytest_istio_mc.evidence.matrix import matrix_lines, matrix_of
from tests.evidence.certificates import HOSTILE, aged, hostile, of_many, recorded


def test_what_fails_is_told_by_pair_and_protocol() -> None:
    matrix = matrix_of(of_many(2))

    assert matrix.protocols == ("HTTP", "HTTP/2", "TCP")
    assert matrix.summary("cluster1", "cluster2") == "not reached: TCP; reached: HTTP, HTTP/2"
    assert matrix.summary("cluster2", "cluster1") == "all reached"
    assert matrix.sentence == (
        "4 pairs over HTTP, HTTP/2 and TCP: 3 reached, 1 not reached by at least one"
    )
    assert matrix.reasons == {"none of 40 got there": ["cluster1 to cluster2 (TCP)"]}


def test_a_terminal_has_it_for_up_to_six_clusters() -> None:
    assert matrix_lines(of_many(2))[1:] == [
        "  from \\ to  cluster1  cluster2",
        "  cluster1   ok        FAILS TCP",
        "  cluster2   ok        ok",
    ]
    assert len(matrix_lines(of_many(6))) == 8
    assert matrix_lines(of_many(7)) == []


def test_markdown_has_it_for_any_number() -> None:
    lines = matrix_markdown(of_many(2))

    assert lines[0] == "| from \\ to | cluster1 | cluster2 |"
    assert lines[2] == "| **cluster1** | ✓ HTTP, ✓ HTTP/2, ✓ TCP | ✓ HTTP, ✓ HTTP/2, ✕ TCP |"
    assert len(matrix_markdown(of_many(9))) == 11


def test_what_nobody_looked_at_is_never_reached() -> None:
    nothing: dict[str, Any] = {**of_many(2), "reach": []}

    matrix = matrix_of(nothing)

    assert not matrix
    assert matrix.summary("cluster1", "cluster2") == "not looked at"
    assert matrix_lines(nothing) == matrix_markdown(nothing) == []


@pytest.mark.parametrize("state", ["unknown", "partly", "not-reached"])
def test_of_two_checks_the_worse_counts(state: str) -> None:
    report = of_many(2, wrong=False)
    row = next(one for one in report["reach"] if one["source"] == "cluster1")
    other = {**copy.deepcopy(row), "check": "MC-DISCOVERY-003"}
    other["targets"]["cluster2"] = state
    for rows in ([*report["reach"], other], [other, *report["reach"]]):
        cell = matrix_of({**report, "reach": rows}).of("cluster1", "cluster2")[0]

        assert (cell.check, cell.reached.value) == ("MC-DISCOVERY-003", state)


def test_an_old_certificate_tells_of_conformant_checks_alone() -> None:
    healthy, broken = matrix_of(aged(recorded("healthy"))), matrix_of(aged(recorded("rs-missing")))

    assert healthy.summary("cluster1", "cluster2") == "reached"
    assert not broken


def test_of_a_recorded_mesh_proxies_tell_who_knows_whom() -> None:
    matrix = matrix_of(recorded("rs-missing"))

    assert matrix.protocols == ("endpoints",)
    assert matrix.summary("cluster1", "cluster2") == "not reached"
    assert matrix.summary("cluster2", "cluster1") == "reached"


def test_a_proxy_that_was_not_recorded_makes_nothing_green() -> None:
    assert not matrix_of(recorded("multi-network-primary-remote-pr-injection-path"))


def test_federated_meshes_know_nothing_of_each_other_on_purpose() -> None:
    assert not matrix_of(recorded("healthy-federated"))


def test_hostile_names_neither_act_nor_break_the_tables() -> None:
    report = hostile(of_many(2))

    terminal, markdown = matrix_lines(report), matrix_markdown(report)

    assert len(terminal) == 4
    assert len(markdown) == 4
    assert not {*"\x1b\x00\u202e\n"} & {*"".join(terminal + markdown)}
    assert "<script" not in "".join(markdown)
    assert HOSTILE.count("|") == 0
    assert all(line.replace("\\|", "").count("|") == 4 for line in markdown)
