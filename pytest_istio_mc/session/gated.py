"""Gated: a certificate, then counted traffic around the user's command, before the session's own.

What it makes is gone before the session provisions the mesh for the certificate of afterwards.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..checks.catalogue import Check
from ..checks.excuses import on_a_crowded_machine
from ..checks.upgrade import observe
from ..checks.upgrade.facts import Commanded, Watched
from ..errors import GivenUp, MeshError, NotAllowed, ProvisionError
from ..evidence import report
from ..machine import Machine
from ..plain import to_plain
from ..probes.load import crowd
from ..progress import Progress
from ..providers import Provider
from ..settings import Settings
from ..verdicts import Verdict, inconclusive, not_applicable
from .commanding import run_command
from .provision import prepared_mesh
from .run import Run, new_run_id


@dataclass(frozen=True)
class Gated:
    """What was found before the session's own certificate.

    ``verdicts`` are those of the checks that judge a watched change, by id.
    """

    before: Mapping[str, Any]
    watched: Watched
    verdicts: Mapping[str, Verdict]


def gated(
    run: Run,
    provider: Provider,
    wanted: Collection[str],
    progress: Progress,
    line: Callable[[str], None],
    problems: list[str],
    version: str,
) -> Gated:
    """Certify the mesh, then run the command under traffic.

    - ``wanted`` are the ids of the checks that the session judges afterwards.
    - The certificate is written before the command runs, and what was watched is in the run's
      folder for all processes of the session.
    - Raises what keeps the mesh or its probes from being there; then the command has not run.
    """
    settings, began = run.settings, datetime.now(UTC)
    earlier = Run(settings, new_run_id(), run.folder)
    folder = run.folder / f"snapshot-before-{run.topology}"
    # --mesh-checks=static has no probes; traffic needs them all the same
    prepared = prepared_mesh(
        provider,
        replace(settings, checks=(), snapshot=None),
        earlier.run_id,
        folder,
        progress,
        problems,
        earlier.give_up,
    )
    progress.note("before the command: certificate, then traffic")
    with prepared as ready:
        earlier.mesh, earlier.snapshot_folder = ready.mesh, folder
        if ready.mesh.probes is None or ready.no_probes:
            raise ProvisionError(
                f"mesh {run.topology}",
                "cannot be watched, so the command was not run",
                f"no probes: {ready.no_probes}",
            )
        earlier.settings = _without_gate(replace(settings, spec=ready.mesh.spec))
        try:
            before = _certified(earlier, wanted, progress, began, version)
            report.write_document(before, before_path(settings))
            watched = _watched(earlier, settings, progress, line)
            verdicts = {
                check.id: check.judge(earlier.here, watched)
                for check in run.checks.values()
                if check.watches
            }
        finally:
            earlier.leave()
    run.gate_file.write_text(json.dumps(to_plain(watched)))
    return Gated(before, watched, verdicts)


def _without_gate(settings: Settings) -> Settings:
    """The settings of the certificate of before: nothing is watched by then."""
    given = {name: one for name, one in settings.given.items() if name not in ("gate", "control")}
    return replace(settings, gate="", control="", report=before_path(settings), given=given)


def before_path(settings: Settings) -> Path:
    """The file of the certificate of before the command: ``mesh-report-before.yaml``."""
    return settings.report.with_stem(f"{settings.report.stem}-before")


def result_path(settings: Settings) -> Path:
    """The file of the gate's result: ``mesh-report-gate.yaml``."""
    return settings.report.with_stem(f"{settings.report.stem}-gate")


def _watched(
    run: Run, settings: Settings, progress: Progress, line: Callable[[str], None]
) -> Watched:
    def running(text: str) -> Callable[[Callable[[], None]], Commanded]:
        def ran(meanwhile: Callable[[], None]) -> Commanded:
            progress.note(f"the command: {text}")
            command = run_command(text, run.folder, line, meanwhile)
            seconds = command.ended - command.began
            progress.note(command.failure or f"the command has ended well after {seconds:.1f} s")
            return command

        return ran

    with observe.prepared(run) as unready:
        for pair, why in unready.items():
            progress.note(f"{pair}: no answers before the command: {why}")
        control = None
        if settings.control:
            progress.note("the control run: the same restarts, and no change")
            control = observe.watch(run, unready, running(settings.control), progress.note)
            if control.command.failure:
                raise ProvisionError(
                    "the control run",
                    "did not succeed, so the command was not run",
                    control.command.failure,
                    advice="--mesh-control is to restart what the command restarts",
                )
        watched = observe.watch(run, unready, running(settings.gate), progress.note)
    return replace(watched, control=control)


def _certified(
    run: Run, wanted: Collection[str], progress: Progress, began: datetime, version: str
) -> dict[str, Any]:
    """The certificate of now, judged without tests."""
    checks = [
        check
        for id, check in run.checks.items()
        if id in wanted and not run.settings.standing(check).obstacle and not check.watches
    ]
    verdicts, durations = {}, {}
    with progress.step(f"{len(checks)} checks judged"):
        run.look_ahead(check for check in checks if not check.alone)
        for check in checks:
            waited = time.monotonic()
            verdict, seconds = _judged(run, check)
            if verdict is not None:
                verdicts[check.id] = verdict
                durations[check.id] = seconds + time.monotonic() - waited
    outcomes = report.Outcomes(
        verdicts=verdicts,
        durations=durations,
        convergence=_convergence(verdicts.values()),
        steps=progress.steps,
        began=began,
        seconds=(datetime.now(UTC) - began).total_seconds(),
    )
    return report.build_report(run.settings, run.checks, outcomes, run.mesh, version=version)


def _judged(run: Run, check: Check) -> tuple[Verdict | None, float]:
    assert run.mesh is not None
    lacking = [need for need in check.needs if need not in run.mesh.capabilities]
    if lacking:
        what = f"this provider cannot do to clusters what it takes ({', '.join(lacking)})"
        return replace(not_applicable(what), check=check.id), 0.0
    try:
        verdict, seconds = run.judge(check)
    except NotAllowed:
        return None, 0.0
    except GivenUp:
        raise
    except Exception as error:  # of any kind: the check could not find out
        kind = "" if isinstance(error, MeshError) else f"{type(error).__name__}: "
        verdict, seconds = replace(inconclusive(f"{kind}{error}"), check=check.id), 0.0
    if run.on_this_machine:
        verdict = on_a_crowded_machine(verdict, Machine(crowd=crowd()))
    return verdict, seconds


def _convergence(verdicts: Iterable[Verdict]) -> list[dict[str, Any]]:
    return [
        {"check": verdict.check, **entry.__dict__}
        for verdict in verdicts
        for entry in verdict.convergence
    ]
