"""A watch of a mesh without clusters: the command is run, and nothing is counted.

As a pytest plugin, behind ``tests.fake_mesh``, it stands in for what counts and samples.

- With ``FAKE_LOST`` a request is lost while a command runs that has ``lossy`` in it.
- Fake checks are conformant before the command, but for the one that ``FAKE_BROKEN`` names.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import pytest

from pytest_istio_mc.checks import catalogue
from pytest_istio_mc.checks.site import Site
from pytest_istio_mc.checks.upgrade import observe
from pytest_istio_mc.checks.upgrade.facts import Commanded, Watched
from pytest_istio_mc.plain import from_plain, to_plain
from pytest_istio_mc.verdicts import Finding, Verdict, conformant, non_conformant
from tests.checks.upgrade.watching import BEGAN, ENDED, losing, lost, watched
from tests.fake_mesh import CHECKS, log

WATCHING = catalogue.known_checks()


@pytest.hookimpl(trylast=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Stand in for the observers as long as this pytest runs."""
    real = observe.prepared, observe.watch, catalogue.known_checks
    watching = {id: check for id, check in WATCHING.items() if check.watches}
    fakes = {id: replace(check, judge=partial(judge, id)) for id, check in CHECKS.items()}
    observe.prepared, observe.watch = prepared, watch
    catalogue.known_checks = lambda: {**fakes, **watching}

    def restore() -> None:
        observe.prepared, observe.watch, catalogue.known_checks = real

    early_config.add_cleanup(restore)


def judge(id: str, *seen: object) -> Verdict:
    """Conformant, unless it is said to be broken: as in ``tests.certifying``."""
    missing = Finding(
        "cluster1 holds no remote secret for cluster2",
        ("cluster1",),
        "one secret",
        "none",
        fault="remote-secret-missing",
    )
    broken = os.environ.get("FAKE_BROKEN") == id
    verdict = non_conformant([missing]) if broken else conformant("well")
    return replace(verdict, check=id)


@contextmanager
def prepared(site: Site) -> Iterator[Mapping[str, str]]:
    """All pairs are ready."""
    yield {}


def watch(
    site: Site,
    unready: Mapping[str, str],
    run: Callable[[Callable[[], None]], Commanded],
    tell: Callable[[str], None],
) -> Watched:
    """What happens where nothing is lost, or something."""
    tell("traffic before the command: 0 s")
    log("watch")
    command = run(lambda: None)
    seen = watched()
    kept = replace(command, began=BEGAN, ended=ENDED, steps=())
    if "lossy" in command.text and os.environ.get("FAKE_LOST"):
        seen = losing(seen, lost(), source="east", target="west")
    text = json.dumps(to_plain(seen)).replace("east", "cluster1").replace("west", "cluster2")
    return replace(from_plain(Watched, json.loads(text)), command=kept)
