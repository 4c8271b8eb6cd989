"""A certification from nothing to the certificate, as its own report times it."""

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
PYTEST = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
PYTEST += ["--pyargs", "pytest_istio_mc.suites"]


def build() -> float:
    """The seconds of a build of the lab's binaries; 0 where they are there."""
    if toolchain.cached():
        return 0.0
    began = time.monotonic()
    toolchain.ensure(Progress(lambda line: print(line, file=sys.stderr, flush=True)))
    return time.monotonic() - began


def certify() -> Iterator[tuple[str, float]]:
    """Each phase of one certification with its seconds; it fails without a success."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        options = [f"--mesh-topology={TOPOLOGY}", f"--mesh-report={report}"]
        command = [sys.executable, "-m", "pytest", "-q", *options]
        began = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        whole = time.monotonic() - began
        if done.returncode:
            said = f"{done.stdout[-3000:]}{done.stderr[-3000:]}"
            raise SystemExit(f"the certification failed:\n{said}")
        document = json.loads(report.read_text())
    for step in document["timing"]["steps"]:
        yield f"certification: {step['name']}", step["seconds"]
    yield "certification: whole command", whole
