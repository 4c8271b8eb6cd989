"""``istio-mc sweep``: clear what killed labs and runs have left behind."""

from __future__ import annotations

import argparse
from contextlib import closing
from pathlib import Path
from typing import Any

from .. import shell
from ..errors import MeshError, UsageProblem
from .shared import GOOD, UNKNOWN, document, say


def add_parser(commands: Any) -> None:
    """Add the command."""
    told = "clear what killed labs and runs have left behind on this machine"
    command = commands.add_parser("sweep", help=told)
    command.add_argument("--dry-run", action="store_true", help="only say what is there")
    told = "also look for namespaces of dead runs in the clusters of this kubeconfig"
    command.add_argument("--kubeconfig", help=told)
    command.set_defaults(run=_sweep)


def _sweep(parsed: argparse.Namespace) -> int:
    from ..lab.leftovers import sweep

    contexts = _contexts(parsed.kubeconfig) if parsed.kubeconfig else []
    found: list[object] = list(sweep(dry_run=parsed.dry_run))
    problems: list[MeshError] = []
    for context in contexts:
        try:
            found += _sweep_cluster(parsed.kubeconfig, context, dry_run=parsed.dry_run)
        except MeshError as error:
            problems.append(error)
    for item in found:
        say(f"{'would remove' if parsed.dry_run else 'removed'}: {item}")
    for problem in problems:
        say(f"istio-mc: {problem}", error=True)
    if not found and not problems:
        say("nothing is left behind")
    return UNKNOWN if problems else GOOD


def _contexts(kubeconfig: str) -> list[str]:
    found = document(Path(kubeconfig))
    entries = found.get("contexts") if isinstance(found, dict) else None
    if not isinstance(entries, list):
        why = "it has no list of contexts"
        raise UsageProblem(f"--kubeconfig {kubeconfig}", "is not a kubeconfig", why)
    return [str(entry["name"]) for entry in entries if isinstance(entry, dict) and "name" in entry]


def _sweep_cluster(kubeconfig: str, context: str, *, dry_run: bool) -> list[object]:
    """Remove what dead runs left in one cluster: namespaces and other changes.

    Those of runs that may go on, here or elsewhere, are only told of.
    """
    from ..faults.leftovers import leftover_objects
    from ..kube import Kube
    from ..probes.leftovers import leftovers

    found: list[object] = []
    with closing(Kube(context, kubeconfig, context)) as kube:
        for leftover in leftovers(kube):
            namespace, owner = leftover.namespace, leftover.owner
            name = f"namespace {namespace} of run {leftover.run_id} in context {context}"
            if not leftover.owner_is_dead:
                whose = f"{owner} may still be at work" if owner else "it was kept"
                remove = shell.kubectl(context, "delete", f"namespace/{namespace}", file=kubeconfig)
                say(f"left alone: {name}: {whose}; to remove it: {remove}")
                continue
            if not dry_run:
                kube.delete("Namespace", namespace)
            found.append(name)
        for item in leftover_objects(kube):
            name = f"{item} in context {context}"
            if not item.left.owner_is_dead:
                say(f"left alone: {name}: {item.left.owner} may still be at work")
                continue
            if not dry_run:
                item.take_back(kube)
            found.append(name)
    return found
