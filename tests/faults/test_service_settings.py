"""Service settings come into any text and out of it again, and nothing else changes."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_istio_mc.faults.service_settings import KEY, marked, marker, put_in, runs_in, taken_out

RUN = "cafe0123"
ALL = {"settings": {"clusterLocal": True}, "hosts": ["*"]}
NAMED = {"settings": {"clusterLocal": True}, "hosts": ["a.b.svc.cluster.local"]}
TEXTS = {
    "nothing": "",
    "no settings": "# keep me\nrootNamespace:   istio-system  # and me\n",
    "no line end": "rootNamespace: istio-system",
    "settings": "a: 1\nserviceSettings:\n- hosts: ['*.x']  # keep\n"
    "  settings: {clusterLocal: true}\n# after\nz: 2\n",
    "indented": "serviceSettings:\n    # before\n    - hosts:\n      - '*.x'\n      settings:\n"
    "        clusterLocal: true\n\n# after\nz: 2\n",
    "flow": "{serviceSettings: [{hosts: ['*.x'], settings: {clusterLocal: true}}], z: 2}\n",
    "null": "serviceSettings:\nz: 2\n",
    "empty": "serviceSettings: []\n",
    "the same": "serviceSettings:\n- hosts: ['*']\n  settings: {clusterLocal: true}\n",
    "document": "---\na: 1\n...\n",
    "literal": "text: |\n  serviceSettings:\n  - hosts: ['*']\nz: 2\n",
}


def written(text: str, *settings: dict[str, Any]) -> str:
    return put_in(text, marked(settings, RUN))


def out(text: str, original: str) -> str:
    return taken_out(text, RUN, ["*", "a.b.svc.cluster.local"], original)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_what_was_put_in_comes_out_byte_for_byte(text: str) -> None:
    changed = written(text, NAMED, ALL)

    before = yaml.safe_load(text) or {}
    added = yaml.safe_load(changed)[KEY][len(before.get(KEY) or []) :]
    assert [entry["hosts"][0] for entry in added] == ["a.b.svc.cluster.local", "*"]
    assert runs_in(changed) == {RUN}
    assert out(changed, text) == text
    assert out(text, text) == text


@pytest.mark.parametrize("name", ["no settings", "settings", "indented"])
def test_comments_and_style_of_the_rest_stay_while_it_is_changed(name: str) -> None:
    text = TEXTS[name]
    changed = written(text, NAMED, ALL)

    assert [line for line in text.splitlines() if line not in changed.splitlines()] == []


@pytest.mark.parametrize("name", ["no settings", "settings", "indented"])
def test_what_others_wrote_meanwhile_stays_with_its_comments(name: str) -> None:
    text = TEXTS[name]
    theirs = written(text, ALL) + "# theirs\nmore: 3  # of them\n"

    after = out(theirs, text)

    assert runs_in(after) == set()
    assert after == f"{text.rstrip()}\n# theirs\nmore: 3  # of them\n"


@pytest.mark.parametrize("style", [True, False])
def test_an_entry_is_ours_whatever_style_somebody_wrote_it_in(style: bool) -> None:
    text = TEXTS["settings"]
    document = yaml.safe_load(written(text, ALL, NAMED))
    document["more"] = 3
    document[KEY].reverse()
    document[KEY][0]["settings"] = {"clusterLocal": True, "other": None}

    after = yaml.safe_load(out(yaml.safe_dump(document, default_flow_style=style), text))

    assert after == yaml.safe_load(text) | {"more": 3}


def test_hosts_that_somebody_put_into_our_entry_stay() -> None:
    document = yaml.safe_load(written("a: 1\n", ALL))
    document[KEY][0]["hosts"].append("theirs.svc.cluster.local")

    after = yaml.safe_load(out(yaml.safe_dump(document), "a: 1\n"))

    assert after[KEY] == [{**ALL, "hosts": ["theirs.svc.cluster.local"]}]


def test_our_entry_goes_even_without_its_mark_but_theirs_of_the_same_text_stays() -> None:
    document = yaml.safe_load(written("a: 1\n", ALL))
    document[KEY][0]["hosts"].remove(marker(RUN))
    theirs = {"serviceSettings": [ALL], "a": 1}

    assert out(yaml.safe_dump(document), "a: 1\n") == "a: 1\n"
    assert out(yaml.safe_dump(theirs), TEXTS["the same"]) == yaml.safe_dump(theirs)


def test_entries_of_another_run_stay() -> None:
    other = put_in("a: 1\n", marked([ALL], "0123cafe"))

    assert out(other, "a: 1\n") == other


@pytest.mark.parametrize("text", ["- a\n", "a: [", "text"])
def test_what_is_no_mesh_configuration_is_no_text_to_put_into(text: str) -> None:
    with pytest.raises((ValueError, yaml.YAMLError)):
        out(text, "a: 1\n")


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("ab#:- \n'", max_size=8),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text("ab", min_size=1), below),
    max_leaves=8,
)
ENTRIES = st.lists(
    st.fixed_dictionaries({"hosts": st.lists(st.sampled_from(["*", "*.x", "y.z"]), min_size=1)}),
    max_size=3,
)


@settings(deadline=None)  # the machine may be busy
@given(
    st.dictionaries(st.text("abz", min_size=1), PLAIN),
    ENTRIES,
    PLAIN,
    st.sampled_from([None, False]),
)
def test_any_document_of_anybody_keeps_its_meaning(
    document: dict[str, Any], entries: list[dict[str, Any]], theirs: object, style: bool | None
) -> None:
    whole = document | ({KEY: entries} if entries else {})
    text = yaml.safe_dump(whole, default_flow_style=style)
    changed = written(text, ALL, NAMED)
    assert yaml.safe_load(changed)[KEY][: len(entries)] == entries
    assert out(changed, text) == text

    edited = yaml.safe_dump(yaml.safe_load(changed) | {"theirs": theirs}, default_flow_style=style)

    assert yaml.safe_load(out(edited, text)) == whole | {"theirs": theirs}
