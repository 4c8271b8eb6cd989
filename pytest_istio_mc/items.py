"""Items: how the tests of checks are collected, ordered, run and reported, in every pytest process of a run."""

from __future__ import annotations

import fcntl
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from .checks.catalogue import Check, Kind
from .errors import Inconclusive, MeshError, NonConformant
from .evidence import allure
from .options import SUITES, names_suites
from .run import CHECK, RECORDED, Recorded, Run
from .verdicts import Outcome, Verdict, inconclusive

MARKER = "mesh_check"
MESH_FIXTURES = frozenset({"mesh", "snapshot", "kubes", "traffic"})
"""A test that uses one of these needs a mesh, whether it is marked or not."""

_KINDS = tuple(Kind)
_NOT_APPLICABLE = ("mesh_verdict", Outcome.NOT_APPLICABLE.value)


class Items:
    """The hooks around tests. Registered in the controller and in every worker of xdist alike."""

    def __init__(self, run: Run, lock_file: Path | None = None) -> None:
        self._run = run
        self.lock_file = lock_file

    @pytest.hookimpl(tryfirst=True)
    def pytest_pycollect_makemodule(self, module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
        """Give the modules of our suites the id that they have in a checkout: ``suites/trust/test_roots.py``.

        pytest derives ids from the place of the file, so an installed package would have other ones in every environment, and
        histories, baselines and reruns would not match.
        """
        try:
            inside = module_path.resolve().relative_to(SUITES.resolve())
        except ValueError:
            return None
        return pytest.Module.from_parent(parent, path=module_path, nodeid=f"suites/{inside.as_posix()}")

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        """Find the check of the item."""
        marker = item.get_closest_marker(MARKER)
        if marker is None:
            return
        check = self._run.checks.get(str(marker.args[0])) if len(marker.args) == 1 and not marker.kwargs else None
        if check is None:
            raise pytest.UsageError(
                f"{item.nodeid}: @pytest.mark.{MARKER}{marker.args!r} names no known check; --mesh-list prints every id"
            )
        item.stash[CHECK] = check
        if item.config.pluginmanager.hasplugin("allure_pytest"):
            allure.label(item, check, self._run.settings.topology)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Demand one test for each check, leave out what ``--mesh-checks`` does not name, put what reads first and what breaks last."""
        _demand_one_test_each(items)
        _demand_all_checks(items, self._run.checks.values())
        unwanted = [item for item in items if CHECK in item.stash and not self._run.settings.selects(item.stash[CHECK].id)]
        if unwanted:
            config.hook.pytest_deselected(items=unwanted)
            items[:] = [item for item in items if item not in unwanted]
        places = {id: (_KINDS.index(check.kind), check.alone, place) for place, (id, check) in enumerate(self._run.checks.items())}
        items.sort(key=lambda item: places[item.stash[CHECK].id] if CHECK in item.stash else (0, False, -1))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Run faults and exclusive checks alone: other live checks hold the lock together, these hold it for themselves."""
        check = item.stash.get(CHECK, None)
        needs_lock = check is not None and check.kind is not Kind.STATIC
        with _held(self.lock_file if needs_lock else None, exclusive=check is not None and check.alone):
            return (yield)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Skip what cannot run here, with the reason, before any of its fixtures is made."""
        check = item.stash.get(CHECK, None)
        if check is None:
            return
        item.stash[RECORDED] = Recorded()
        if item.config.pluginmanager.hasplugin("allure_listener"):
            allure.begin(self._run.settings.topology)
        obstacle = self._run.settings.standing(check).obstacle
        if obstacle:
            _describe(item, check, Outcome.NOT_APPLICABLE, obstacle)
            pytest.skip(f"not applicable: {obstacle}")
        if check.kind is not Kind.STATIC and self._run.no_probes:
            raise Inconclusive(f"{check.id} inconclusive: the probes could not be deployed: {self._run.no_probes}")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Put the verdicts onto the report, and show a finding instead of a Python traceback."""
        report = yield
        check = item.stash.get(CHECK, None)
        if check is None or RECORDED not in item.stash:
            return report
        recorded = item.stash[RECORDED]
        _conclude(check, recorded, report, call)
        ours = call.excinfo is not None and isinstance(call.excinfo.value, (NonConformant, Inconclusive, MeshError))
        if call.excinfo is not None and ours and _wants_short(item.config):
            report.longrepr = _short(call.excinfo)
        if call.when == "call" or not report.passed:
            verdict = worst(check.id, recorded.verdicts)
            if verdict is not None:
                _describe(item, check, verdict.outcome, verdict.reason)
                report.user_properties = list(item.user_properties)
            report.mesh_check = {  # type: ignore[attr-defined]
                "check": check.id,
                "verdicts": [verdict.to_dict() for verdict in recorded.verdicts],
                "convergence": list(recorded.convergence),
            }
            recorded.verdicts.clear()
            recorded.convergence.clear()
        return report

    def pytest_report_teststatus(self, report: pytest.CollectReport | pytest.TestReport) -> tuple[str, str, str] | None:
        """Show the verdict's own word with ``-v``, and a question mark where a check could not find out."""
        if report.when == "setup" and report.skipped and _NOT_APPLICABLE in getattr(report, "user_properties", ()):
            return "skipped", "s", "NOT APPLICABLE"
        verdict = verdict_of(report)
        if verdict is None or report.when != "call":
            return None
        match verdict.outcome:
            case Outcome.CONFORMANT if report.passed:
                return "passed", ".", "CONFORMANT"
            case Outcome.NON_CONFORMANT if report.failed:
                return "failed", "F", "NON-CONFORMANT"
            case Outcome.INCONCLUSIVE if report.failed:
                return "failed", "?", "INCONCLUSIVE"
            case Outcome.NOT_APPLICABLE if report.skipped:
                return "skipped", "s", "NOT APPLICABLE"
        return None


def needs_mesh(item: pytest.Item) -> bool:
    """Whether the test cannot run without a mesh."""
    return CHECK in item.stash or bool(MESH_FIXTURES.intersection(getattr(item, "fixturenames", ())))


def worst(check: str, verdicts: Iterable[Verdict]) -> Verdict | None:
    """All verdicts of one check as one: the worst outcome, and the findings, evidence and pairs of all."""
    found = list(verdicts)
    if not found:
        return None
    order = (Outcome.NON_CONFORMANT, Outcome.INCONCLUSIVE, Outcome.CONFORMANT, Outcome.NOT_APPLICABLE)
    decisive = min(found, key=lambda verdict: order.index(verdict.outcome))
    return Verdict(
        outcome=decisive.outcome,
        reason=decisive.reason,
        findings=tuple(dict.fromkeys(finding for verdict in found for finding in verdict.findings)),
        evidence=tuple(dict.fromkeys(item for verdict in found for item in verdict.evidence)),
        pairs=tuple(dict.fromkeys(pair for verdict in found for pair in verdict.pairs)),
        check=check,
    )


def verdict_of(report: Any) -> Verdict | None:
    """The verdict on a report that :meth:`Items.pytest_runtest_makereport` wrote."""
    recorded = getattr(report, "mesh_check", None)
    return worst(recorded["check"], map(Verdict.from_dict, recorded["verdicts"])) if recorded else None


def _conclude(check: Check, recorded: Recorded, report: pytest.TestReport, call: pytest.CallInfo[None]) -> None:
    """Make sure that nothing passes without a verdict, and that no error is left without one."""
    error = call.excinfo.value if call.excinfo is not None else None
    if call.when == "call" and report.passed and not recorded.verdicts:
        report.outcome = "failed"
        report.longrepr = f"the test of {check.id} ended without a verdict: it must call expect(…)"
        recorded.verdicts.append(inconclusive(report.longrepr))
    elif report.failed and not isinstance(error, NonConformant) and not any(v.outcome is Outcome.INCONCLUSIVE for v in recorded.verdicts):
        what = {"setup": "could not be prepared", "call": "could not be carried out", "teardown": "could not be cleaned up after"}[
            report.when
        ]
        message = str(error) if isinstance(error, Inconclusive) else f"the check {what}: {type(error).__name__}: {error}"
        recorded.verdicts.append(inconclusive(message.strip()))


def _describe(item: pytest.Item, check: Check, outcome: Outcome, reason: str) -> None:
    """Tell JUnit (and every other reader of user properties) which check this was, and what came out."""
    wanted = {"mesh_check": check.id, "mesh_verdict": outcome.value, "mesh_reason": reason}
    kept = [entry for entry in item.user_properties if entry[0] not in wanted]
    item.user_properties[:] = [*kept, *wanted.items()]


def _demand_one_test_each(items: Iterable[pytest.Item]) -> None:
    functions = Counter((item.stash[CHECK].id, item.nodeid.partition("[")[0]) for item in items if CHECK in item.stash)
    tests = Counter(id for id, _ in functions)
    twice = {id: [name for other, name in functions if other == id] for id, count in tests.items() if count > 1}
    for id, names in twice.items():
        raise pytest.UsageError(f"check {id} has {len(names)} tests, it must have one: {', '.join(names)}")


def _demand_all_checks(items: list[pytest.Item], checks: Iterable[Check]) -> None:
    """When the whole of our suites was asked for, every known check must have its test."""
    if not items or not _asked_for_all(items[0].config):
        return
    tested = {item.stash[CHECK].id for item in items if CHECK in item.stash}
    missing = [check.id for check in checks if check.id not in tested]
    if missing:
        raise pytest.UsageError(f"no test for {', '.join(missing)}: every known check needs one under suites/")


def _asked_for_all(config: pytest.Config) -> bool:
    if getattr(config.option, "ignore", None) or getattr(config.option, "ignore_glob", None) or getattr(config.option, "deselect", None):
        return False
    return names_suites(config, whole=True)


def _short(excinfo: pytest.ExceptionInfo[BaseException]) -> Any:
    """The error's own words, and their first line where pytest and JUnit show one line."""
    shown = excinfo.getrepr(style="value", chain=False)
    if shown.reprcrash is not None:
        shown.reprcrash.message = str(excinfo.value).partition("\n")[0]
    return shown


def _wants_short(config: pytest.Config) -> bool:
    """``--tb=long`` and ``--tb=native`` ask for Python's view."""
    return config.option.tbstyle not in ("long", "native")


@contextmanager
def _held(lock_file: Path | None, *, exclusive: bool) -> Iterator[None]:
    if lock_file is None:
        yield
        return
    with lock_file.open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield
