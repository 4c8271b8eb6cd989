"""What a run may not do: left out and claimed; its connections and faults refuse it anyway."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pytest_istio_mc.errors import NotAllowed
from pytest_istio_mc.session.run import Run
from pytest_istio_mc.settings import Settings
from pytest_istio_mc.topologies import known
from tests.certifying import CERTIFY, HEALTHY, entry_of, report_of, write_suite
from tests.checks.live_mesh import mesh

TOPOLOGY = "multi-network-multi-primary"
ATTACHED = Settings(TOPOLOGY, "attach", known()[TOPOLOGY].default_spec())
DISRUPTIVE = ("--mesh-disruptive", "--mesh-profile=disruptive")
REFUSED = (
    '__import__("pytest_istio_mc.mesh").mesh.Mesh.from_dict(mesh.to_dict())'
    '.demand(__import__("pytest_istio_mc.rights").rights.Permission.SINGLE_GATEWAYS, "killing")'
)


@pytest.mark.parametrize("workers", [(), ("-n2",)])
def test_a_check_that_finds_on_the_way_that_it_may_not_is_left_out_and_claimed(
    pytester: pytest.Pytester, workers: tuple[str, ...]
) -> None:
    write_suite(pytester, HEALTHY | {"fault": REFUSED})

    result = pytester.runpytest_subprocess(*CERTIFY, *DISRUPTIVE, *workers)

    assert result.ret == pytest.ExitCode.OK
    report = report_of(pytester)
    entry = entry_of(report, "MC-EASTWEST-902")
    assert (report["result"], entry["claimed"], entry["ran"]) == ("partial", True, False)
    assert entry["reason"].startswith("not run: not allowed: killing: is not allowed on clusters")
    assert "--mesh-allow=single-gateways" in entry["reason"]


def test_it_is_carried_out_where_it_is_allowed(pytester: pytest.Pytester) -> None:
    write_suite(pytester, HEALTHY | {"fault": f"({REFUSED}, {HEALTHY['fault']})[1]"})

    pytester.runpytest_subprocess(*CERTIFY, *DISRUPTIVE, "--mesh-allow=single-gateways")

    assert report_of(pytester)["result"] == "success"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run on clusters that outlive it, which may disrupt nothing."""
    return Run(ATTACHED, "cafe0123", tmp_path, mesh=mesh())


def test_observers_of_a_harmless_run_cannot_change_anything_of_others(run: Run) -> None:
    kube = run.kubes()["east"]

    with pytest.raises(NotAllowed):
        kube.delete("Secret", "cacerts", "istio-system")
    with pytest.raises(NotAllowed):
        kube.merge("ConfigMap", "istio", "istio-system", {})
    with pytest.raises(NotAllowed, match=f"clusters of {TOPOLOGY}"):
        run.faults()


def test_observers_of_a_disruptive_run_can(run: Run) -> None:
    run.settings = replace(ATTACHED, disruptive=True, quick=True)

    with pytest.raises(Exception, match="kubeconfig") as caught:  # there is no cluster
        run.kubes()["east"].delete("Secret", "cacerts", "istio-system")

    assert not isinstance(caught.value, NotAllowed)
    assert run.faults()
