"""Allure: labels, parameters, steps and attachments for each check.

Does nothing, and fails nothing, where Allure is missing.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FunctionType
from typing import Any
from uuid import uuid4

import pytest

from ..checks.catalogue import Check, Profile, area_title
from ..checks.tracing.trace import MEDIA_TYPE, State
from ..errors import Inconclusive, NonConformant
from ..verdicts import Evidence, Finding, Outcome, Verdict, Weight
from ..visible import visible_lines

EPIC = "Istio multi-cluster conformance"

_TAG = re.compile(r"<(?=[a-zA-Z/!?])")

SEVERITIES = {Profile.CORE: "critical", Profile.EXTENDED: "normal", Profile.DISRUPTIVE: "normal"}


def label(item: pytest.Item, check: Check, topology: str) -> None:
    """Label the test of a check, with the markers that allure-pytest reads.

    ``--allure-features`` and its kin select by them.
    """
    labels = {
        "epic": EPIC,
        "feature": area_title(check.area),
        "story": f"{check.id} {check.title}",
        "severity": SEVERITIES[check.profile],
        "parentSuite": topology,
        "suite": area_title(check.area),
        "subSuite": check.kind.value,
        "tag": check.profile.value,
    }
    for kind, value in labels.items():
        item.add_marker(pytest.mark.allure_label(value, label_type=kind))
    item.add_marker(pytest.mark.allure_link(check.spec_url, name="specification", link_type="link"))
    if isinstance(item, pytest.Function):
        # what @allure.title sets; braces are its placeholders
        title = f"{check.id} {check.title}".replace("{", "{{").replace("}", "}}")
        item.obj = _own(item.obj)
        item.obj.__dict__["__allure_display_name__"] = title


def _own(function: Any) -> Any:
    """A copy of a test function for one item: those of an area share one function."""
    if not isinstance(function, FunctionType):
        return function
    where, closure = function.__globals__, function.__closure__
    own = FunctionType(function.__code__, where, argdefs=function.__defaults__, closure=closure)
    own.__kwdefaults__ = function.__kwdefaults__
    return functools.update_wrapper(own, function)


def show(verdict: Verdict) -> None:
    """Write the verdict into the running test.

    There is a step for each finding, judged pair and hop; evidence is attached.
    """
    import allure

    match verdict.outcome:
        case Outcome.NON_CONFORMANT:
            for finding in verdict.findings:
                if finding.weight is Weight.BROKEN:
                    _failed_step(finding)
        case Outcome.INCONCLUSIVE:
            with _ended_step(harmless(f"could not find out: {verdict.reason}"), Inconclusive()):
                pass
        case _:
            with allure.step(harmless(f"{verdict.outcome.value}: {verdict.reason}")):
                for pair in verdict.pairs:
                    with allure.step(harmless(pair)):
                        pass
    for evidence in verdict.evidence:
        if evidence.media_type == MEDIA_TYPE:
            _hops(json.loads(evidence.text))
        kind, extension = evidence.media_type, _extension(evidence)
        name = harmless(evidence.name)
        allure.attach(evidence.text, name=name, attachment_type=kind, extension=extension)


def harmless(text: str) -> str:
    """A text without anything that a page takes for a tag.

    Allure shows some of its texts as Markdown, with tags in them.
    """
    return _TAG.sub("‹", visible_lines(text))


def _failed_step(finding: Finding) -> None:
    import allure

    with _ended_step(harmless(finding.summary), NonConformant()):
        for name, text in (
            ("clusters", ", ".join(finding.clusters)),
            ("expected", finding.expected),
            ("seen", finding.seen),
            ("remedy", finding.remedy),
        ):
            if "\n" in text:  # a step's name is one line; what is to be copied must keep its lines
                allure.attach(text, name=name, attachment_type="text/plain", extension="txt")
            elif text:
                with allure.step(harmless(f"{name}: {text}")):
                    pass


def _hops(trace: Mapping[str, Any]) -> None:
    """A step for each hop of a request, up to the first broken one."""
    import allure

    way = harmless(f"from {trace['source']} to {trace['target']}, port {trace['port']}")
    broken = trace["firstBroken"]
    with (
        _ended_step(f"{way}: broken at {broken}", NonConformant())
        if broken
        else allure.step(f"{way}: no broken hop is known")
    ):
        for hop in trace["hops"]:
            title = harmless(f"{hop['name']}: {hop['seen']}" if hop["seen"] else hop["name"])
            match State(hop["state"]):
                case State.BROKEN:
                    expected = harmless(f"{title}, expected {hop['expected']}")
                    with _ended_step(expected, NonConformant()):
                        pass
                case State.UNKNOWN:
                    with _ended_step(title, Inconclusive()):
                        pass
                case State.GOOD:
                    with allure.step(title):
                        pass


@contextmanager
def _ended_step(title: str, error: BaseException) -> Iterator[None]:
    """A step that ends with ``error``: failed or broken.

    It has no Python trace, which would tell a reader nothing.
    """
    from allure_commons import plugin_manager

    uuid = uuid4()
    plugin_manager.hook.start_step(uuid=uuid, title=title, params={})
    yield
    ended = {"exc_type": type(error), "exc_val": error, "exc_tb": None}
    plugin_manager.hook.stop_step(uuid=uuid, title=title, **ended)


def _extension(evidence: Evidence) -> str:
    known = {
        "application/json": "json",
        MEDIA_TYPE: "json",
        "application/yaml": "yaml",
        "text/html": "html",
        "text/csv": "csv",
        "image/svg+xml": "svg",
    }
    return known.get(evidence.media_type, "txt")
