"""Tests of checks: made from the catalogue, collected, ordered, run and reported."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ..checks import catalogue
from ..checks.catalogue import Check, Kind
from ..errors import GivenUp, Inconclusive, MeshError, NonConformant, NotAllowed
from ..evidence import allure
from ..options import SUITES, is_dry
from ..validation.values import unknown_checks
from ..verdicts import Outcome, Verdict, inconclusive, not_applicable, worst
from .marking import mark_as
from .run import CHECK, RECORDED, TOPOLOGY, Recorded, Run, Runs
from .short_names import free

MARKER = "mesh_check"

_KINDS = tuple(Kind)
_SKIPPED = {
    ("mesh_verdict", Outcome.NOT_APPLICABLE.value): "NOT APPLICABLE",
    ("mesh_verdict", Outcome.INCONCLUSIVE.value): "NOT RUN",
}
"""The words for tests that were skipped before they began, by what is said of them."""


def checks_of(*wanted: str | Callable[..., Verdict]) -> Callable[..., None]:
    """A test for each check of an area, or of judges: ``test_check = checks_of("TRUST")``.

    An area of ours has our own checks only: for one of yours in it, name its judge.
    """
    known = catalogue.known_checks().values()
    chosen = [check for check in known if _is_wanted(check, wanted)]
    if not chosen:
        raise pytest.UsageError(f"checks_of{wanted}: no such check; --mesh-list prints every area")

    @pytest.mark.parametrize(
        "check",
        [
            pytest.param(check, id=check.test_id, marks=pytest.mark.mesh_check(check.id))
            for check in chosen
        ],
    )
    def test_check(
        check: Check, mesh_run: Run, request: pytest.FixtureRequest, mesh_expect: Any
    ) -> None:
        verdict, request.node.stash[RECORDED].seconds_before = mesh_run.judge(check)
        mesh_expect(verdict)

    made: Callable[..., None] = test_check
    return made


def _is_wanted(check: Check, wanted: Sequence[str | Callable[..., Verdict]]) -> bool:
    ours = check.is_ours or check.area not in catalogue.AREAS
    return check.judge in wanted or (check.area in wanted and ours)


class Tests:
    """The hooks around tests. Registered in the controller and in every worker of xdist alike.

    ``folder`` is one that they all share.
    """

    def __init__(self, runs: Runs, folder: Path, *, is_worker: bool = False) -> None:
        self._runs = runs
        self._lock_file = folder / "faults.lock"
        self._is_worker = is_worker
        self._looked_ahead: list[Run] = []

    @pytest.hookimpl(trylast=True)
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Add the short names of our fixtures that nobody else has."""
        session.config.pluginmanager.register(free(session), "mesh_short_names")

    @pytest.hookimpl(tryfirst=True)
    def pytest_pycollect_makemodule(
        self, module_path: Path, parent: pytest.Collector
    ) -> pytest.Module | None:
        """Give the modules of our suites the id that they have in a checkout.

        It is ``suites/trust/test_trust.py`` wherever the package is installed; pytest would derive
        another one from each place, and histories, baselines and reruns would not match.
        """
        try:
            inside = module_path.resolve().relative_to(SUITES.resolve())
        except ValueError:
            return None
        return pytest.Module.from_parent(
            parent, path=module_path, nodeid=f"suites/{inside.as_posix()}"
        )

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Make every test once for each topology; a single one stays out of ids."""
        marked = metafunc.definition.get_closest_marker(MARKER) is not None
        if not marked and TOPOLOGY not in metafunc.fixturenames:  # all that touch the mesh need it
            return
        names = self._runs.topologies
        if TOPOLOGY not in metafunc.fixturenames:
            metafunc.fixturenames.append(TOPOLOGY)
        ids = names if len(names) > 1 else [pytest.HIDDEN_PARAM]
        metafunc.parametrize(TOPOLOGY, names, ids=ids, indirect=True, scope="session")

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        """Find the check of the item."""
        marker = item.get_closest_marker(MARKER)
        if marker is None:
            return
        named = str(marker.args[0]) if len(marker.args) == 1 and not marker.kwargs else ""
        check = catalogue.known_checks().get(named)
        if check is None:
            mark = f"@pytest.mark.{MARKER}{marker.args!r}"
            raise pytest.UsageError(
                f"{item.nodeid}: {mark} names no known check; --mesh-list prints every id"
            )
        item.stash[CHECK] = check
        mark_as(item, check)
        if item.config.pluginmanager.hasplugin("allure_pytest"):
            allure.label(item, check, self._run_of(item).topology)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        """Leave out what ``--mesh-checks`` does not name, and sort the rest.

        One topology after the other; in each, what reads comes first and what breaks last.
        """
        for run in self._runs:
            if problem := unknown_checks(run.settings.checks):
                raise pytest.UsageError(str(problem))
        unwanted = [
            item
            for item in items
            if CHECK in item.stash and not self._run_of(item).settings.selects(item.stash[CHECK])
        ]
        if unwanted:
            config.hook.pytest_deselected(items=unwanted)
            items[:] = [item for item in items if item not in unwanted]
        topologies = {run: place for place, run in enumerate(self._runs.topologies)}
        places = {
            id: (_KINDS.index(check.kind), check.alone, place)
            for place, (id, check) in enumerate(catalogue.known_checks().items())
        }

        def place(item: pytest.Item) -> tuple[int, int, bool, int]:
            run = self._runs.of(item)
            return (
                topologies[run.topology] if run else -1,
                *(places[item.stash[CHECK].id] if CHECK in item.stash else (0, False, -1)),
            )

        items.sort(key=place)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> Generator[None, object, object]:
        """Run faults and exclusive checks alone, and leave a mesh after the last test on it.

        Other live checks hold the lock together, these hold it for themselves.
        """
        run = self._runs.of(item)
        is_told = run is None or run.mesh is not None or run.problem or is_dry(item.config)
        if run is not None and self._is_worker and not is_told:
            run.attach()
        if (
            run is not None
            and not self._is_worker
            and run.mesh is not None
            and not run.no_probes
            and run not in self._looked_ahead
        ):
            self._looked_ahead.append(run)
            run.look_ahead(self._observed(run, item.session.items))
        check = item.stash.get(CHECK, None)
        needs_lock = check is not None and check.kind is not Kind.STATIC
        with _held(
            self._lock_file if needs_lock else None, exclusive=check is not None and check.alone
        ):
            result = yield
        if run is not None and (nextitem is None or self._runs.of(nextitem) is not run):
            run.leave()
        return result

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Skip what cannot run here, with the reason, before any of its fixtures is made."""
        check = item.stash.get(CHECK, None)
        if check is None:
            return
        item.stash[RECORDED] = Recorded()
        run = self._run_of(item)
        standing = run.settings.standing(check)
        if obstacle := standing.obstacle:
            if standing.claimed:
                _describe(item, check, Outcome.INCONCLUSIVE, f"not run: {obstacle}")
                pytest.skip(f"not run: {obstacle}")
            _describe(item, check, Outcome.NOT_APPLICABLE, obstacle)
            pytest.skip(f"not applicable: {obstacle}")
        if why := _why_unknown(run, check):
            raise Inconclusive(why)
        capabilities = run.mesh.capabilities if run.mesh is not None else check.needs
        lacking = [need for need in check.needs if need not in capabilities]
        if lacking:
            what = f"this provider cannot do to clusters what it takes ({', '.join(lacking)})"
            verdict = not_applicable(f"{what}; the lab can: --mesh-provider=lab")
            item.stash[RECORDED].verdicts.append(replace(verdict, check=check.id))
            pytest.skip(allure.harmless(f"not applicable: {verdict.reason}"))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """Leave out, and still claim, a check that finds that it is not allowed."""
        try:
            return (yield)
        except NotAllowed as refused:
            if CHECK not in item.stash:
                raise
            pytest.skip(f"not allowed: {refused}")

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
        ours = call.excinfo is not None and isinstance(
            call.excinfo.value, (NonConformant, Inconclusive, MeshError, GivenUp)
        )
        if call.excinfo is not None and ours and _wants_short(item.config):
            report.longrepr = _short(call.excinfo, item.config.option.tbstyle)
        if call.when == "call" or not report.passed:
            verdict = worst(check.id, recorded.verdicts)
            if verdict is not None:
                _describe(item, check, verdict.outcome, verdict.reason)
                report.user_properties = list(item.user_properties)
            report.mesh_check = {  # type: ignore[attr-defined]
                "check": check.id,
                "topology": self._run_of(item).topology,
                "verdicts": [verdict.to_dict() for verdict in recorded.verdicts],
                "seconds_before": recorded.seconds_before,
            }
            recorded.verdicts.clear()
        return report

    def _observed(self, run: Run, items: Iterable[pytest.Item]) -> Iterator[Check]:
        """The checks on this mesh that can be observed before their tests.

        (Workers of xdist do not know which tests they will get, and are several.)
        """
        for item in items:
            check = item.stash.get(CHECK, None)
            if check is None or check.alone or self._runs.of(item) is not run:
                continue
            if _is_of_catalogue(item) and not run.settings.standing(check).obstacle:
                yield check

    def _run_of(self, item: pytest.Item) -> Run:
        run = self._runs.of(item)
        if run is None:  # it was collected by something else than pytest's own functions
            raise pytest.UsageError(f"{item.nodeid}: a test of a check must be a test function")
        return run

    def pytest_report_teststatus(
        self, report: pytest.CollectReport | pytest.TestReport
    ) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
        """Show the verdict's word with ``-v``, and ``?`` where a check could not find out."""
        if report.when == "setup" and report.skipped:
            said = getattr(report, "user_properties", ())
            # a worker of xdist sends lists
            words = (_SKIPPED.get((str(one[0]), str(one[1]))) for one in said)
            if word := next(filter(None, words), None):
                return "skipped", "s", (word, {"yellow": True})
        verdict = verdict_of(report)
        if verdict is None or report.when != "call":
            return None
        match verdict.outcome:
            case Outcome.CONFORMANT if report.passed:
                return "passed", ".", ("CONFORMANT", {"green": True})
            case Outcome.NON_CONFORMANT if report.failed:
                return "failed", "F", ("NON-CONFORMANT", {"red": True})
            case Outcome.INCONCLUSIVE if report.failed:
                return "failed", "?", ("INCONCLUSIVE", {"yellow": True})
            case Outcome.NOT_APPLICABLE if report.skipped:
                return "skipped", "s", ("NOT APPLICABLE", {"yellow": True})
        return None


def _why_unknown(run: Run, check: Check) -> str:
    """Why a check cannot find out, before it is tried; empty where it can be tried."""
    if run.problem:
        first = run.problem.splitlines()[0]
        why = f"the mesh could not be provisioned: {first}"
        return f"{run.topology}: {check.id} inconclusive: {why}"
    if check.kind is Kind.STATIC:
        return ""
    if run.lost:
        return f"{check.id} inconclusive: the clusters were lost: {run.lost}"
    if run.no_probes:
        return f"{check.id} inconclusive: the probes could not be deployed: {run.no_probes}"
    return ""


def _is_of_catalogue(item: pytest.Item) -> bool:
    """Whether :func:`checks_of` made the test."""
    callspec = getattr(item, "callspec", None)
    return callspec is not None and isinstance(callspec.params.get("check"), Check)


def verdict_of(report: Any) -> Verdict | None:
    """The verdict on a report that :meth:`Tests.pytest_runtest_makereport` wrote."""
    recorded = getattr(report, "mesh_check", None)
    return (
        worst(recorded["check"], map(Verdict.from_dict, recorded["verdicts"])) if recorded else None
    )


def _conclude(
    check: Check, recorded: Recorded, report: pytest.TestReport, call: pytest.CallInfo[None]
) -> None:
    """Make sure that nothing passes without a verdict, and that no error is left without one."""
    error = call.excinfo.value if call.excinfo is not None else None
    if call.when == "call" and report.passed and not recorded.verdicts:
        report.outcome = "failed"
        report.longrepr = f"the test of {check.id} ended without a verdict: it must call expect(…)"
        recorded.verdicts.append(inconclusive(report.longrepr))
    elif (
        report.failed
        and not isinstance(error, NonConformant)
        and not any(v.outcome is Outcome.INCONCLUSIVE for v in recorded.verdicts)
    ):
        what = {
            "setup": "could not be prepared",
            "call": "could not be carried out",
            "teardown": "could not be cleaned up after",
        }[report.when]
        kind = "the clusters were lost" if isinstance(error, GivenUp) else type(error).__name__
        message = (
            str(error) if isinstance(error, Inconclusive) else f"the check {what}: {kind}: {error}"
        )
        recorded.verdicts.append(inconclusive(message.strip()))


def _describe(item: pytest.Item, check: Check, outcome: Outcome, reason: str) -> None:
    """Tell readers of user properties, such as JUnit, the check and what came out."""
    wanted = {"mesh_check": check.id, "mesh_verdict": outcome.value, "mesh_reason": reason}
    kept = [entry for entry in item.user_properties if entry[0] not in wanted]
    item.user_properties[:] = [*kept, *wanted.items()]


def _short(excinfo: pytest.ExceptionInfo[BaseException], tbstyle: str) -> Any:
    """The error's own words, and their first line where pytest and JUnit show one line."""
    shown = excinfo.getrepr(style="value", chain=False)
    if shown.reprcrash is not None:
        shown.reprcrash.message = str(excinfo.value).partition("\n")[0]
    if tbstyle == "line" and hasattr(shown.reprtraceback, "reprentries"):
        shown.reprtraceback.reprentries = []  # pytest shows that one line itself
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
