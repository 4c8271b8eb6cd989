"""``python -m bench.upgrade``: a real mesh from one Istio to the next, under counted traffic.

By the commands that a user types: ``istio-mc lab up`` with the older version, ``precheck``, then
``gate`` around ``istio-mc lab upgrade``, with the same restarts of the same version as the control.
The lab is taken down whatever happens. The exit code is the gate's, or that of the first command
which did not succeed before it.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ISTIO_MC = str(Path(sys.executable).with_name("istio-mc"))


def main() -> int:
    """Do it once; the time of each part is printed."""
    parser = argparse.ArgumentParser(prog="python -m bench.upgrade")
    parser.add_argument("--topology", default="multi-network-multi-primary")
    parser.add_argument("--from", dest="old", default="1.30", metavar="VERSION")
    parser.add_argument("--to", default="1.31", metavar="VERSION")
    parser.add_argument("--method", default="canary", choices=("canary", "in-place"))
    parser.add_argument("--report", default="mesh-report.yaml")
    parsed = parser.parse_args()
    lab, began = f"upgrade-{os.getpid()}", time.monotonic()
    up = ("lab", "up", "--topology", parsed.topology, "--name", lab, "--istio", parsed.old)
    try:
        started = subprocess.run([ISTIO_MC, *up, "--json"], stdout=subprocess.PIPE, check=False)
        if started.returncode:
            return started.returncode
        _told("the lab is up", began)
        return _upgraded(parsed, lab, json.loads(started.stdout), began)
    finally:
        subprocess.run([ISTIO_MC, "lab", "down", "--name", lab], check=False)
        _told("all of it", began)


def _upgraded(parsed: argparse.Namespace, lab: str, mesh: dict[str, Any], began: float) -> int:
    contexts = ",".join(f"{name}={context}" for name, context in mesh["contexts"].items())
    there = ["--topology", parsed.topology, "--contexts", contexts]
    there += ["--kubeconfig", str(mesh["kubeconfig"])]
    if code := _run(["precheck", "--to", parsed.to, *there]):
        return code
    _told("prechecked", began)
    again = [ISTIO_MC, "lab", "upgrade", "--name", lab]
    control = shlex.join([*again, "--method", "restart"])
    command = [*again, "--to", parsed.to, "--method", parsed.method]
    # the gate's own probes are of the old revision until the gate has ended
    watched = [*command, "--until", "tags"] if parsed.method == "canary" else command
    code = _run(["gate", *there, "--report", parsed.report, "--control", control, "--", *watched])
    _told("gated", began)
    if watched != command and (left := subprocess.run(command, check=False).returncode):
        return code or left
    return code


def _run(arguments: list[str]) -> int:
    print("$ istio-mc", shlex.join(arguments), flush=True)
    return subprocess.run([ISTIO_MC, *arguments], check=False).returncode


def _told(what: str, began: float) -> None:
    print(f"== {what} after {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
