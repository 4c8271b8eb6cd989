"""Samples: who answered, who should have; a pass to JSON and back."""

from __future__ import annotations

import json
from dataclasses import replace

from pytest_istio_mc.checks.cluster_local.facts import ClusterLocal
from pytest_istio_mc.plain import from_plain, to_plain
from tests.checks.live_mesh import mesh
from tests.checks.routed import cluster_local, refusals, sample


def test_a_sample_is_as_expected_only_if_all_that_should_answer_do_and_nobody_else() -> None:
    here = mesh()
    both = ("east", "west")

    assert sample(here, "east", "any", both).as_expected
    assert not sample(here, "east", "any", both, ["east"]).as_expected
    assert sample(here, "east", "any", ["west"]).as_expected
    assert not sample(here, "east", "any", ["west"], both).as_expected
    assert sample(here, "east", "any", []).as_expected
    assert not sample(here, "east", "any", [], ["west"]).as_expected
    assert sample(here, "east", "any", ["west"], role="client").as_expected


def test_a_failure_or_silence_is_not_as_expected() -> None:
    here = mesh()
    good = sample(here, "east", "any", ["west"])

    assert not replace(good, requests=(*good.requests, *refusals(here, "east", 1))).as_expected
    assert not replace(good, requests=()).as_expected
    assert replace(good, requests=()).missing == ("west",)


def test_a_pass_survives_the_way_to_another_process() -> None:
    seen = cluster_local(mesh())

    assert from_plain(ClusterLocal, json.loads(json.dumps(to_plain(seen)))) == seen
