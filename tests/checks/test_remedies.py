"""Remedies hold whatever names a mesh has, and change no more than they must."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_istio_mc.snapshot import Snapshot
from pytest_istio_mc.verdicts import Finding
from tests.checks.hostile import Call, Rename, findings_of, typed_in, with_names
from tests.checks.test_recorded import FAULTS, RECORDED
from tests.checks.test_unusual import cases
from tests.static_checks import taken_away
from tests.test_shell import PIECES

MARK = "ZQ9"
"""Where it stands without the rest of a hostile name, the name was taken apart."""

HOSTILE = {
    "semicolon": f"{MARK}; > pwned; {MARK}",
    "substitution": f"{MARK}$(> pwned){MARK}",
    "backticks": f"{MARK}`> pwned`{MARK}",
    "end of a document": f"{MARK}\nEOF\n> pwned\n{MARK}",
    "quotes": f'{MARK}\' > pwned \'"" > pwned "{MARK}',
    "pipe": f"{MARK} | eval '> pwned' & > pwned {MARK}",
    "option": f"-{MARK} --all{MARK}",
    "option and end": f"--{MARK}\n> pwned\n{MARK}",
    "expansions": f"{MARK}*?~{{a,b}}!!$HOME\\{MARK}",
    "formats": f"{MARK}%s%n%x\\n\\0{MARK}",
    "terminal": f"{MARK}\x1b]0;title\x07\r\x9b2J{MARK}",
    "directions": f"{MARK}\u202egnp.\u2066\u200b\ufeff{MARK}",
    "letters": f"{MARK}é世界 “x” – №{MARK}",
    "tab": f"{MARK}\t\v\x7f{MARK}",
    "comment": f"{MARK} # x\n> pwned # {MARK}",
}

TAKES_NEXT = ("-n", "-l", "-p", "-o", "-e", "-L", "-c", "--set", "--network", "--istioNamespace")
"""Options behind which a word is a value, whatever it looks like."""


@cache
def broken(name: str) -> Snapshot:
    return Snapshot.load(RECORDED / name)


@cache
def recorded_findings() -> tuple[tuple[str, Finding], ...]:
    """The findings in the recorded broken meshes, with the names of these."""
    return tuple((name, finding) for name in FAULTS for finding in findings_of(broken(name)))


@cache
def unusual() -> tuple[Snapshot, ...]:
    """The meshes of unusual shapes, each with a fault."""
    return tuple(case.snapshot(fault) for case in cases() for fault in case.faults)


def assert_whole(call: Call, hostile: str) -> None:
    """The hostile name is always whole, and never an option."""
    for text in call.texts():
        assert MARK not in text.replace(hostile, ""), call
    for before, word in zip(call.words, call.words[1:], strict=False):
        if word.startswith(hostile) and hostile.startswith("-"):
            assert before in TAKES_NEXT or "--" in call.words[: call.words.index(word)], call


def assert_ours(call: Call) -> None:
    """Nothing is deleted but pods of the run's own namespace."""
    if not {"delete", "uninstall", "drain"}.isdisjoint(call.words):
        assert "istio-mc-" in call.words[call.words.index("-n") + 1], call
        assert call.words[call.words.index("delete") + 1].startswith("pod/"), call


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_remedy_runs_nothing_of_a_name(kind: str, tmp_path: Path) -> None:
    hostile = HOSTILE[kind]
    ways: tuple[Rename, Rename] = (lambda name: hostile + name, lambda name: name + hostile)
    remedies: dict[str, str] = {}
    for number, name in enumerate(FAULTS):
        # before names and behind them, by turns
        rename = ways[(number + len(kind)) % 2]
        found = findings_of(with_names(broken(name), rename))
        remedies |= {one.remedy: name for one in found if one.remedy}

    calls = typed_in(remedies, tmp_path / "typed")

    assert len(set(remedies.values())) > len(FAULTS) / 2, "too little was found to tell"
    for remedy, called in zip(remedies, calls, strict=True):
        assert called, remedy
        for call in called:
            assert_whole(call, hostile)
            assert_ours(call)


@pytest.mark.parametrize("kind", ["semicolon", "end of a document", "option"])
def test_a_remedy_in_an_unusual_mesh_runs_nothing_of_a_name(kind: str, tmp_path: Path) -> None:
    hostile = HOSTILE[kind]
    found = [
        one.remedy
        for snapshot in unusual()
        for one in findings_of(with_names(snapshot, hostile.__add__))
    ]
    remedies = list(dict.fromkeys(filter(None, found)))

    calls = typed_in(remedies, tmp_path / "typed")

    for remedy, called in zip(remedies, calls, strict=True):
        assert called, remedy
        for call in called:
            assert_whole(call, hostile)
            assert_ours(call)


@settings(max_examples=8, deadline=None)
@given(st.lists(PIECES, min_size=1, max_size=3).map(lambda pieces: MARK.join(("", *pieces, ""))))
def test_a_remedy_runs_nothing_of_any_name(hostile: str) -> None:
    found = [
        finding.remedy
        for name in ("rs-wrong-namespace", "ew-lds-nack", "svc-port-number")
        for finding in findings_of(with_names(broken(name), hostile.__add__))
        if finding.remedy
    ]

    with TemporaryDirectory() as folder:
        calls = typed_in(found, Path(folder) / "typed")

    assert found
    for called in calls:
        for call in called:
            assert_whole(call, hostile)


def test_a_remedy_is_visible_lines_whatever_a_name_holds() -> None:
    for hostile in HOSTILE.values():
        snapshot = with_names(broken("rs-missing"), hostile.__add__)
        for finding in findings_of(snapshot):
            assert all(line.isprintable() for line in finding.remedy.split("\n")), finding.remedy


def test_no_remedy_of_a_recorded_mesh_deletes_what_is_not_ours() -> None:
    found = recorded_findings()

    assert len({name for name, _ in found}) > len(FAULTS) / 2, "too little was found to tell"
    for _, finding in found:
        assert not taken_away(finding.remedy), finding.remedy
