"""``istio-mc sweep``: clear what killed labs and runs have left behind."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageProblem
from ..shell import command
from .shared import GOOD, UNKNOWN, document, progress, say

if TYPE_CHECKING:
    from ..faults.sweep import Swept

_RUN = re.compile(r"[0-9a-f]{8}")


def add_parser(commands: Any) -> None:
    """Add the command."""
    told = "clear what killed labs and runs have left behind, here and in clusters"
    command = commands.add_parser(
        "sweep",
        help=told,
        description="Clear what killed labs and runs have left behind on this machine and, with "
        "--kubeconfig, in clusters, whichever machine the run was on: what it changed is "
        "restored from the journals in istiod's namespace, and what it made is removed.",
        epilog="Exit codes: 0 all is swept, 3 something could not be, or a run is at work on it.",
    )
    add = command.add_argument
    add("--dry-run", action="store_true", help="only say what is there")
    add("--kubeconfig", metavar="FILE", help="also sweep the clusters of this kubeconfig")
    told = "of these contexts only (default: all of the kubeconfig)"
    add("--context", action="append", default=[], dest="contexts", metavar="NAME", help=told)
    add(
        "--run",
        default="",
        dest="run_id",
        metavar="ID",
        help="what this run left in clusters, and nothing else",
    )
    told = "where istiod is, and the journals (default: istio-system); may be repeated"
    add("--istio-namespace", action="append", default=[], metavar="NAME", help=told)
    command.set_defaults(run=_sweep)


def _sweep(parsed: argparse.Namespace) -> int:
    if parsed.run_id and not _RUN.fullmatch(parsed.run_id):
        raise UsageProblem(f"--run {parsed.run_id}", "is no run's id", "eight hexadecimal digits")
    alone = parsed.contexts or parsed.run_id or parsed.istio_namespace
    if alone and not parsed.kubeconfig:
        raise UsageProblem("sweep", "of clusters needs --kubeconfig=FILE")
    contexts = _contexts(parsed.kubeconfig, parsed.contexts) if parsed.kubeconfig else []
    word = "would remove" if parsed.dry_run else "removed"
    here = [] if parsed.run_id else [f"{word}: {item}" for item in _labs(dry_run=parsed.dry_run)]
    for line in here:
        say(line)
    swept = _clusters(parsed, contexts) if contexts else []
    lines = list(_lines(swept, parsed))
    for line in lines:
        say(line)
    problems = [problem for one in swept for problem in one.problems]
    for problem in problems:
        say(f"istio-mc: {problem}", error=True)
    if not here and not lines and not problems:
        say("nothing is left behind")
    return UNKNOWN if problems or any(one.pending for one in swept) else GOOD


def _labs(*, dry_run: bool) -> list[object]:
    from ..lab.leftovers import sweep

    return list(sweep(dry_run=dry_run))


def _clusters(parsed: argparse.Namespace, contexts: list[str]) -> list[Swept]:
    from ..faults.sweep import Wanted, sweep_patiently
    from ..kube import Kube

    namespaces = tuple(parsed.istio_namespace) or ("istio-system",)
    wanted = Wanted(namespaces, parsed.run_id, parsed.dry_run)
    with ExitStack() as stack:
        kubes = [Kube(context, parsed.kubeconfig, context) for context in contexts]
        for kube in kubes:
            stack.callback(kube.close)
        return sweep_patiently(kubes, wanted, progress().note)


def _lines(swept: list[Swept], parsed: argparse.Namespace) -> Iterator[str]:
    word = "would sweep" if parsed.dry_run else "swept"
    for one in swept:
        where = f"in context {one.cluster}"
        for what in one.done:
            yield f"{word}: {what} {where}"
        for entry in one.pending:
            yield (
                f"left alone: {entry.what} {where}: "
                f"run {entry.run_id} {'may be' if parsed.dry_run else 'is'} at work"
            )
        for told in one.told:
            yield f"left alone: {told} {where}"


def _contexts(kubeconfig: str, wanted: list[str]) -> list[str]:
    """The contexts to sweep: those that are named, or all."""
    known: list[str] = []
    for part in filter(None, kubeconfig.split(os.pathsep)):
        found = document(Path(part))
        entries = found.get("contexts") if isinstance(found, dict) else None
        if not isinstance(entries, list):
            why = "it has no list of contexts"
            raise UsageProblem(f"--kubeconfig {part}", "is not a kubeconfig", why)
        named = [entry for entry in entries if isinstance(entry, dict) and "name" in entry]
        known += [str(entry["name"]) for entry in named]
    strangers = [name for name in wanted if name not in known]
    if strangers:
        advice = command("kubectl config get-contexts", f"--kubeconfig={kubeconfig}")
        step = f"has no context {', '.join(strangers)}"
        raise UsageProblem(f"--kubeconfig {kubeconfig}", step, advice=advice)
    return wanted or list(dict.fromkeys(known))
