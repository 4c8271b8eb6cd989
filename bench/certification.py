"""A certification from nothing running to the certificate, as its own report times it."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from pytest_istio_mc.lab.binaries import toolchain
from pytest_istio_mc.progress import Progress

TOPOLOGY = "multi-network-multi-primary"


def build() -> float:
    """Seconds to build the lab's binaries and images; 0 where they are there already."""
    if toolchain.cached():
        return 0.0
    began = time.monotonic()
    toolchain.ensure(Progress(lambda line: print(line, file=sys.stderr, flush=True)))
    return time.monotonic() - began


def certify() -> Iterator[tuple[str, float]]:
    """Each phase of one certification with its seconds; fails where the certificate is not a success."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            f"--mesh-topology={TOPOLOGY}",
            f"--mesh-report={report}",
        ]
        began = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        whole = time.monotonic() - began
        if done.returncode:
            raise SystemExit(
                f"the certification failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
            )
        document = json.loads(report.read_text())
    for step in document["timing"]["steps"]:
        yield f"certification: {step['name']}", step["seconds"]
    yield "certification: whole command", whole
