"""``python -m bench.healthy -n 20 --profile disruptive NAME…``: count the alarms on healthy meshes.

- Every run builds a lab mesh of its own, certifies it, and takes it down. Runs come one after the
  other, which makes their times comparable; several topologies take turns.
- A line tells the end of each run. A run without ``success`` names its checks; its output,
  certificate and Allure results are in the folder that is printed at the end.
- The exit code is 1 where there was any such run.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bench.certification import PYTEST
from pytest_istio_mc.topologies import known


@dataclass(frozen=True)
class Healthy:
    """The end of one run.

    - ``alarms`` are the checks that were not conformant, with their verdicts.
    - ``load`` is the machine's load average at the end.
    """

    topology: str
    result: str
    seconds: float
    load: float
    alarms: tuple[str, ...] = ()

    def __str__(self) -> str:
        figures = f"{self.seconds:>6.1f} s  load {self.load:>5.1f}  {', '.join(self.alarms)}"
        return f"{self.topology:<30} {self.result:<12} {figures}".rstrip()


def main() -> int:
    """Certify, print the lines and the table; 1 where there was an alarm."""
    parser = argparse.ArgumentParser("python -m bench.healthy", description=__doc__)
    parser.formatter_class = argparse.RawTextHelpFormatter
    add = parser.add_argument
    add("topologies", nargs="*", metavar="NAME", help="the topologies (default: all)")
    add("-n", "--rounds", type=int, default=10, help="how many runs of each (default 10)")
    told = "core, extended or disruptive (default: core and quick disruptive checks)"
    add("--profile", default="", help=told)
    arguments = parser.parse_args()
    topologies = arguments.topologies or list(known())
    if unknown := sorted(set(topologies) - set(known())):
        parser.error(f"no such topology: {', '.join(unknown)}; there are {', '.join(known())}")
    folder = Path(tempfile.mkdtemp(prefix="healthy-"))
    found: list[Healthy] = []
    for number in range(1, arguments.rounds + 1):
        for topology in topologies:
            found.append(certify(topology, arguments.profile, folder, number))
            print(f"{number:>3} {found[-1]}", flush=True)
    print()
    for topology in topologies:
        mine = [one for one in found if one.topology == topology]
        seconds = [one.seconds for one in mine]
        good = sum(one.result == "success" for one in mine)
        span = f"{min(seconds):.1f} to {max(seconds):.1f}"
        median = f"{statistics.median(seconds):.1f} s"
        print(f"{topology:<30} {good} of {len(mine)} success  {median}  ({span})")
    alarmed = any(one.result != "success" for one in found)
    if alarmed:
        print(f"output and certificates: {folder}")
    return 1 if alarmed else 0


def certify(topology: str, profile: str, folder: Path, number: int) -> Healthy:
    """Run pytest once; keep its files only where something was wrong."""
    certificate, log, allure = (
        folder / f"{topology}-{number}{ending}" for ending in (".yaml", ".log", "-allure")
    )
    command = [*PYTEST, f"--mesh-topology={topology}"]
    command += [f"--mesh-profile={profile}"] if profile else []
    command += [f"--mesh-report={certificate}", f"--alluredir={allure}"]
    began = time.monotonic()
    with log.open("w") as output:
        code = subprocess.run(
            command, check=False, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        ).returncode
    seconds = time.monotonic() - began
    report: dict[str, Any] = {"result": f"exit code {code}", "checks": []}
    if certificate.exists():
        report = yaml.safe_load(certificate.read_text())
    wrong = [
        f"{entry['id']} {entry['verdict']}"
        for entry in report["checks"]
        if entry["verdict"] in ("non-conformant", "inconclusive")
    ]
    if report["result"] == "success":
        certificate.unlink()
        log.unlink()
        shutil.rmtree(allure)
    return Healthy(topology, report["result"], seconds, os.getloadavg()[0], tuple(wrong))


if __name__ == "__main__":
    sys.exit(main())
