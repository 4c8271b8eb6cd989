"""``istio-mc lab upgrade``: another Istio for a lab that runs."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from ..errors import UsageProblem
from ..eventually import Timeouts
from ..progress import Progress
from .shared import GOOD, UNKNOWN, document, progress, say

GATE = "ISTIO_MC_GATE"
"""Set by ``istio-mc gate`` for its command.

Then each phase is put into the gate's time line, and its probes, which count, are not restarted.
"""

_MARK_SECONDS = 10.0


def add_parser(actions: Any) -> None:
    """Add the action."""
    from ..topologies.phases import Method, Phase

    told = "replace the Istio of a lab that runs, cluster by cluster, and print each phase"
    parser = actions.add_parser("upgrade", help=told)
    parser.add_argument("--name", help="the lab's name (default: the only lab that runs)")
    told = "the minor version to upgrade to, such as 1.31; a restart needs none"
    parser.add_argument("--to", metavar="VERSION", default="", help=told)
    methods = [method.value for method in Method]
    told = (
        "canary: a second revision beside the first (default); in-place: the new istiod takes the "
        "old one's place; restart: the same restarts with the same version"
    )
    parser.add_argument("--method", choices=methods, default=methods[0], help=told)
    told = "only these clusters, as cluster1,cluster2 (default: all)"
    parser.add_argument("--clusters", metavar="NAME,…", default="", help=told)
    phases = [phase.value for phase in Phase]
    words = ", ".join(phases)
    told = "the last phase to go through; without it all"
    parser.add_argument("--until", choices=phases, metavar="PHASE", help=f"{told}: {words}")
    told = "take back what an upgrade to --to has done, from whatever phase"
    parser.add_argument("--rollback", action="store_true", help=told)
    told = "print the phases with their times as JSON on standard output"
    parser.add_argument("--json", action="store_true", help=told)
    parser.set_defaults(run=_upgrade)


def _upgrade(parsed: argparse.Namespace) -> int:
    from dataclasses import asdict

    from ..lab import homes
    from ..probes.manifests import RUN_LABEL
    from ..providers.lab_upgrade import Wanted, upgrade
    from ..spec_file import spec_of
    from ..topologies.phases import Method, Phase

    running = _running(parsed.name)
    file = running.plan.home / homes.MESH_SPEC
    spec = spec_of(document(file), str(file))
    told = progress()
    names = tuple(name.strip() for name in parsed.clusters.split(",") if name.strip())
    until = Phase(parsed.until) if parsed.until else None
    spared = RUN_LABEL if os.environ.get(GATE) else ""
    wanted = Wanted(parsed.to, Method(parsed.method), names, until, parsed.rollback, spared)
    try:
        times = upgrade(
            running, spec, wanted, timeouts=Timeouts(), progress=told, mark=marker(told)
        )
    except KeyboardInterrupt:
        say("istio-mc: interrupted; nothing was taken back", error=True)
        return UNKNOWN
    if parsed.json:
        print(json.dumps([asdict(one) | {"phase": one.phase.value} for one in times], indent=2))
    else:
        whole = sum(one.seconds for one in times)
        say(f"lab {running.plan.name}: {len(times)} phases in {whole:.1f} s")
    return GOOD


def _running(name: str | None) -> Any:
    from ..lab import lab

    if name:
        return lab.find(name)
    found = list(lab.running())
    if len(found) != 1:
        names = ", ".join(one.plan.name for one in found)
        raise UsageProblem(
            "istio-mc lab upgrade",
            f"{len(found)} labs run" + (f": {names}" if names else ""),
            advice="name one with --name" if found else "start one with `istio-mc lab up`",
        )
    return found[0]


def marker(told: Progress) -> Callable[[str], None]:
    """What tells ``istio-mc gate`` a phase, where it started this command; else nothing.

    A phase that could not be told is noted, and stops nothing.
    """
    if not os.environ.get(GATE):
        return lambda text: None

    def mark(text: str) -> None:
        command = [sys.executable, "-m", "pytest_istio_mc.cli", "gate", "mark", text]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=_MARK_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            told.note(f"the gate was not told of this phase: {error}")
            return
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            told.note(f"the gate was not told of this phase: {last}")

    return mark
