"""Fixtures: described without a mesh, skipping without one, and never in another plugin's way."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from pytest_istio_mc import absent
from pytest_istio_mc.session.short_names import SHORT_NAMES
from tests.certifying import CERTIFY, write_suite

pytestmark = pytest.mark.usefixtures("clean_environment")

FOLDER = Path(absent.__file__).parent / "fixtures"

THEIRS = """
import pytest

@pytest.fixture
def snapshot():
    return "theirs"

@pytest.fixture(name="traffic")
def some_traffic():
    return "theirs"
"""


def real() -> dict[str, str]:
    """The first line of each fixture's docstring, by name."""
    return {
        node.name: (ast.get_docstring(node) or "").partition("\n")[0]
        for file in FOLDER.glob("*.py")
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("mesh_")
    }


def test_without_a_mesh_every_fixture_is_described_in_the_same_words(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile("def test_it(): pass")

    told = " ".join(pytester.runpytest("--fixtures").stdout.str().split())

    assert len(real()) >= 11
    for name, words in real().items():
        assert f"{name} [session scope]" in told
        assert words in told
    assert pytester.runpytest("--fixtures", "--pyargs", "pytest_istio_mc.suites").ret == 0


def test_without_a_mesh_tests_of_one_are_skipped_with_what_is_missing(
    pytester: pytest.Pytester,
) -> None:
    names = sorted(real())
    pytester.makepyfile("".join(f"def test_{name}({name}): assert False\n" for name in names))

    result = pytester.runpytest("-rs")

    result.assert_outcomes(skipped=len(names))
    result.stdout.fnmatch_lines(["*needs a mesh: give --mesh-topology=NAME*"])


@pytest.mark.parametrize("order", [("-p", "theirs", *CERTIFY), (*CERTIFY, "-p", "theirs")])
def test_short_names_never_hide_fixtures_of_others(
    pytester: pytest.Pytester, order: tuple[str, ...]
) -> None:
    write_suite(pytester)
    pytester.makepyfile(theirs=THEIRS)
    pytester.syspathinsert()
    pytester.makepyfile(
        test_mine="""
        def test_theirs(snapshot, traffic):
            assert (snapshot, traffic) == ("theirs", "theirs")

        def test_ours(mesh, mesh_snapshot, mesh_under_test, topology):
            assert mesh is mesh_under_test
            assert mesh_snapshot.spec.topology == topology == "fake-topology"
        """
    )

    pytester.runpytest(*order, "test_mine.py").assert_outcomes(passed=2)


def test_every_short_name_leads_to_a_fixture_that_says_whose_it_is() -> None:
    leads = {"mesh": "mesh_under_test", "own_namespace": "mesh_namespace"}

    assert {leads.get(name, f"mesh_{name}") for name in SHORT_NAMES} | {"mesh_run"} == set(real())
