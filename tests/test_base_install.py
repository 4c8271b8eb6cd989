"""An installation without extras: every command that starts no lab runs, pytest does, too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_istio_mc.snapshot import Snapshot

from .checks.topologies import RECORDED

# Refuses every package that does not come with the base dependencies and theirs.
WITHOUT_EXTRAS = """
import importlib.metadata, re, sys

def needed(name, found):
    name = re.sub(r"[-_.]+", "-", name).lower()
    if name in found:
        return
    try:
        wanted = importlib.metadata.requires(name) or ()
    except importlib.metadata.PackageNotFoundError:
        return
    found.add(name)
    for line in wanted:
        if "extra ==" not in line.replace("'", '"'):
            needed(re.match(r"[A-Za-z0-9._-]+", line)[0], found)

base = set()
needed("pytest-istio-mc", base)
owners = importlib.metadata.packages_distributions()
refused = {
    module
    for module, names in owners.items()
    if not {re.sub(r"[-_.]+", "-", name).lower() for name in names} & base
} - set(sys.stdlib_module_names) - {"pytest_istio_mc", "tests"}
assert {"pip", "hypothesis", "xdist"} <= refused, refused
assert not {"filelock", "platformdirs", "kubernetes", "yaml"} & refused

class Refusing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in refused:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refusing())
"""

ISTIO_MC = "from pytest_istio_mc.cli import main; sys.exit(main(sys.argv[1:]))"
PYTEST = "import pytest; sys.exit(pytest.main(sys.argv[1:], plugins=['pytest_istio_mc.plugin']))"


def run(program: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A program in a Python that has only what the base installation brings."""
    return subprocess.run(
        [sys.executable, "-c", f"{WITHOUT_EXTRAS}\n{program}", *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env=dict(
            os.environ,
            ISTIO_MC_CACHE=str(folder / "cache"),
            PYTHONPATH=str(Path(__file__).parent.parent),
            PYTEST_DISABLE_PLUGIN_AUTOLOAD="1",
        ),
    )


@pytest.mark.parametrize(
    "command",
    ["lab doctor", "lab list", "lab down --name=x", "sweep", "checks", "docs", "compare a b"],
)
def test_a_command_that_starts_no_lab_needs_no_extra(command: str, tmp_path: Path) -> None:
    ran = run(ISTIO_MC, *command.split(), folder=tmp_path)

    assert "Traceback" not in ran.stderr
    assert "No module named" not in ran.stdout + ran.stderr
    assert ran.returncode in (0, 1, 2), ran.stdout + ran.stderr


def test_sweeping_clusters_needs_no_extra(tmp_path: Path) -> None:
    """The command that users of attached clusters need, who have no reason to want the lab."""
    (tmp_path / "kubeconfig").write_text("{clusters: [], contexts: [], users: []}")

    ran = run(ISTIO_MC, "sweep", "--kubeconfig=kubeconfig", folder=tmp_path)

    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "nothing is left behind\n", "")


def test_judging_a_recorded_mesh_needs_no_extra(tmp_path: Path) -> None:
    suites = Path(__file__).parent.parent / "suites"
    snapshot = tmp_path / "snapshot"
    Snapshot.load(RECORDED / "healthy").save(snapshot)

    ran = run(PYTEST, str(suites), f"--mesh-replay={snapshot}", folder=tmp_path)

    assert "No module named" not in ran.stdout + ran.stderr
    assert (tmp_path / "mesh-report.yaml").exists(), ran.stdout


def test_a_missing_package_is_told_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from pytest_istio_mc import cli

    monkeypatch.setenv("ISTIO_MC_CACHE", str(tmp_path))
    monkeypatch.setitem(sys.modules, "filelock", None)
    for name in [one for one in sys.modules if one.startswith("pytest_istio_mc.lab")]:
        monkeypatch.delitem(sys.modules, name)

    assert cli.main(["lab", "list"]) == cli.UNKNOWN

    told = capsys.readouterr().err
    assert told.startswith("istio-mc: import of filelock halted; None in sys.modules; install")
    assert "Traceback" not in told
    assert "-m pip install filelock" in told
