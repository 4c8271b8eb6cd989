"""``istio-mc gate``: a command of yours, watched while it changes a mesh."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import Any, NoReturn

from ..errors import UsageProblem
from .shared import GOOD

SUITES = "pytest_istio_mc.suites"

_PASSED_ON = (
    ("topology", "NAME", "the topology of the mesh"),
    ("contexts", "CLUSTER=CONTEXT,…", "which kubeconfig context is which cluster of the mesh"),
    ("kubeconfig", "FILE", "the kubeconfig file (default: $KUBECONFIG, then ~/.kube/config)"),
    ("spec", "FILE", "the mesh spec file"),
    ("report", "FILE", "the certificate of afterwards; -before and -gate stand beside it"),
    ("checks", "ID,…", "certify only these checks or areas, before and after"),
    ("namespace", "NAME,…", "namespaces that are prepared for the probes"),
    ("probe-image", "IMAGE", "the image of the probes"),
    ("probe-patch", "FILE", "what the cluster demands of the probes' namespaces and pods"),
    ("timeout-factor", "X", "multiply every time budget"),
    ("control", "COMMAND", "first, a shell command with the same restarts that changes nothing"),
)
"""Options that are pytest's with --mesh- before them."""


def add_parser(commands: Any) -> None:
    """Add the command."""
    told = (
        "certify a mesh, run a command that changes it under counted traffic, certify again: "
        "istio-mc gate --topology NAME --contexts … -- COMMAND…; "
        "from within that command: istio-mc gate mark TEXT"
    )
    gate = commands.add_parser(
        "gate",
        help=told,
        description=told,
        epilog="Exit codes: 0 nothing lost and nothing worse, 1 lost or worse, or the command "
        "failed; 3 could not find out; 2 and 4 wrong usage.",
    )
    for name, metavar, text in _PASSED_ON:
        gate.add_argument(f"--{name}", metavar=metavar, help=text)
    gate.add_argument("words", nargs="*", metavar="COMMAND", help="the command, after --")
    gate.set_defaults(run=_gate)


def _gate(parsed: argparse.Namespace) -> int:
    given = {
        name: value
        for name, _, _ in _PASSED_ON
        if (value := getattr(parsed, name.replace("-", "_"))) is not None
    }
    if parsed.words[:1] == ["mark"] and not given:
        return _mark(parsed.words[1:])
    if not parsed.words:
        example = (
            "istio-mc gate --topology NAME --contexts east=prod-a,west=prod-b -- helm upgrade …"
        )
        raise UsageProblem("istio-mc gate", "has no command to watch", advice=example)
    if "topology" not in given and "MESH_TOPOLOGY" not in os.environ:
        raise UsageProblem(
            "istio-mc gate", "needs --topology", advice="before the -- of the command"
        )
    # one word is a line of shell, as it is for sh -c; several are a command's own words
    text = parsed.words[0] if len(parsed.words) == 1 else shlex.join(parsed.words)
    return _become_pytest([f"--mesh-{name}={value}" for name, value in given.items()], text)


def _become_pytest(options: list[str], text: str) -> NoReturn:
    """Signals and the exit code are pytest's own then; the folder's own settings do not count."""
    command = [sys.executable, "-m", "pytest", "-c", os.devnull, f"--rootdir={Path.cwd()}"]
    command += ["-p", "no:cacheprovider", "--pyargs", SUITES, "--mesh-provider=attach"]
    sys.stdout.flush()
    os.execv(command[0], [*command, *options, f"--mesh-gate={text}"])  # noqa: S606


def _mark(words: list[str]) -> int:
    from ..gate_marks import send

    if not words:
        raise UsageProblem("istio-mc gate mark", "has no text", advice="istio-mc gate mark TEXT")
    send(" ".join(words))
    return GOOD
