"""``python -m bench.healthy -n 20 --profile extended NAME…``: certify healthy lab meshes again and again, and count the alarms.

Every run builds a mesh of its own and takes it down; runs come one after the other, so that their times can be compared. With several
topologies they take turns. A line tells how each run ended, as soon as it did; those that are not ``success`` name their checks, and
keep their output, certificate and Allure results in the folder that is printed at the end. The exit code is 1 where there was any.
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

import yaml

from pytest_istio_mc.settings import Settings
from pytest_istio_mc.topologies import known


@dataclass(frozen=True)
class Healthy:
    """How one run ended. ``alarms`` are the checks that were not conformant, with their verdicts; ``load`` is the load average then."""

    topology: str
    result: str
    seconds: float
    load: float
    alarms: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = (
            f"{self.topology:<30} {self.result:<12} {self.seconds:>6.1f} s  load {self.load:>5.1f}"
        )
        return f"{text}  {', '.join(self.alarms)}".rstrip()


def main() -> int:
    """Certify, print the lines and the table; 1 where there was an alarm."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.healthy",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument(
        "topologies", nargs="*", metavar="NAME", help="the topologies (default: all)"
    )
    parser.add_argument(
        "-n", "--rounds", type=int, default=10, help="how many runs of each (default 10)"
    )
    parser.add_argument(
        "--profile", default=Settings.profile.value, help="core or extended (default core)"
    )
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
        print(
            f"{topology:<30} {good} of {len(mine)} success  {statistics.median(seconds):.1f} s  ({min(seconds):.1f} to {max(seconds):.1f})"
        )
    alarmed = any(one.result != "success" for one in found)
    if alarmed:
        print(f"output and certificates: {folder}")
    return 1 if alarmed else 0


def certify(topology: str, profile: str, folder: Path, number: int) -> Healthy:
    """One run of pytest; its files are kept only where something was wrong."""
    certificate, log, allure = (
        folder / f"{topology}-{number}{ending}" for ending in (".yaml", ".log", "-allure")
    )
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "--pyargs",
        "pytest_istio_mc.suites",
    ]
    command += [
        f"--mesh-topology={topology}",
        f"--mesh-profile={profile}",
        f"--mesh-report={certificate}",
        f"--alluredir={allure}",
    ]
    began = time.monotonic()
    with log.open("w") as output:
        code = subprocess.run(
            command, check=False, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        ).returncode
    seconds = time.monotonic() - began
    report = (
        yaml.safe_load(certificate.read_text())
        if certificate.exists()
        else {"result": f"exit code {code}", "checks": []}
    )
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
