"""Start: a pytest process takes part, as owner of meshes or as worker."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..errors import MeshError
from ..evidence import summary
from ..providers import Provider
from ..scratch import Scratch
from ..settings import Assignment
from .certification import Certification
from .console import Console
from .gate import Gate, scrub_log_records
from .meshes import Meshes
from .owner import Owner
from .results import Results
from .run import RUNS, Run, Runs, new_run_id
from .tests import Tests

FIXTURES = ("mesh", "expect", "traffic", "faults")

IN_ORDER = ("no", "load", "worksteal")
"""How pytest-xdist may distribute the tests of several topologies.

Only so every worker runs its tests in their order; else workers would wait for each other's
topologies for ever.
"""


def take_part(config: pytest.Config, assignment: Assignment, provider: Provider) -> None:
    """Register what this process does: own meshes, or attach to them as a worker."""
    for name in FIXTURES:
        config.pluginmanager.import_plugin(f"pytest_istio_mc.fixtures.{name}")
    worker: dict[str, str] | None = getattr(config, "workerinput", None)
    if worker is not None:
        _work(config, assignment, Path(worker["mesh_folder"]))
        return
    if assignment.overall is not None:
        _keep_in_order(config)
    try:
        baselines = summary.baselines(assignment)
    except MeshError as error:
        raise pytest.UsageError(f"--mesh-baseline: {error}") from error
    scratch = Scratch(new_run_id())
    config.add_cleanup(scratch.remove)
    runs = _work(config, assignment, scratch.folder)
    console = Console(config)
    certifications = [
        Certification(run, provider, baselines.get(run.topology), console) for run in runs
    ]
    meshes = Meshes(runs, certifications, console, several=assignment.overall is not None)
    config.add_cleanup(meshes.clean_up)
    owner = Owner(config, runs, meshes, Results(meshes, assignment, console, _allure(config)))
    config.pluginmanager.register(owner, "mesh_owner")
    if config.pluginmanager.hasplugin("xdist"):
        from .xdist import Distribution

        distribution = Distribution(owner, meshes, scratch.folder)
        config.pluginmanager.register(distribution, "mesh_distribution")


def _work(config: pytest.Config, assignment: Assignment, folder: Path) -> Runs:
    several, is_worker = assignment.overall is not None, hasattr(config, "workerinput")
    runs = Runs(
        Run(settings, new_run_id(), folder, among_others=several) for settings in assignment.runs
    )
    config.stash[RUNS] = runs
    config.pluginmanager.register(Gate(), "mesh_gate")
    config.add_cleanup(scrub_log_records())
    config.pluginmanager.register(Tests(runs, folder, is_worker=is_worker), "mesh_tests")
    return runs


def _allure(config: pytest.Config) -> Path | None:
    folder = getattr(config.option, "allure_report_dir", None)
    return config.invocation_params.dir / folder if folder else None


def _keep_in_order(config: pytest.Config) -> None:
    dist = config.getoption("dist", "no")
    if dist not in IN_ORDER:
        takes = " or ".join(IN_ORDER[1:])
        raise pytest.UsageError(f"--dist={dist}: several topologies take --dist={takes}")
    if getattr(config.option, "maxschedchunk", 0) is None:
        # else a worker gets tests of a later topology at once, and waits while others work
        config.option.maxschedchunk = 2
