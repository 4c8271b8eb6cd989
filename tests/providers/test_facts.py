"""What a provider says of its clusters, and is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_istio_mc.errors import UsageProblem
from pytest_istio_mc.eventually import Timeouts
from pytest_istio_mc.mesh import Mesh
from pytest_istio_mc.progress import Progress
from pytest_istio_mc.providers import Provider, ProvisionRequest, as_provided
from pytest_istio_mc.providers.attach import AttachProvider, Found, adopted
from pytest_istio_mc.providers.lab import LabProvider
from pytest_istio_mc.providers.replay import Replay
from pytest_istio_mc.session.provision import prepared_mesh
from pytest_istio_mc.settings import Settings
from pytest_istio_mc.spec import Locality
from tests.certifying import CERTIFY, entry_of, report_of, write_suite
from tests.fake_mesh import FakeLab, FakeProvider, fake_topology

pytestmark = pytest.mark.usefixtures("clean_environment")

TOPOLOGY = fake_topology("fake-topology")
SPEC = TOPOLOGY.default_spec()
MESH = Mesh(SPEC, "run1", "some", "image")
CERTIFY_ON_LAB = (*CERTIFY, "--mesh-provider=fake-lab", "--mesh-profile=disruptive")


@pytest.mark.parametrize(
    ("provider", "facts"),
    [
        (LabProvider(), (True, True)),
        (AttachProvider(), (False, False)),
        (Replay(Path()), (False, False)),
        (FakeProvider(), (False, False)),
        (FakeLab(), (True, True)),
    ],
)
def test_a_mesh_carries_what_its_provider_says(
    provider: Provider, facts: tuple[bool, bool]
) -> None:
    mesh = as_provided(MESH, provider)

    assert (mesh.disposable, mesh.on_this_machine) == facts
    assert Mesh.from_dict(mesh.to_dict()) == mesh


def test_documents_from_before_do_not_say_so() -> None:
    document = as_provided(MESH, FakeLab()).to_dict()
    del document["disposable"], document["on_this_machine"]

    assert Mesh.from_dict(document) == MESH


def test_the_lab_builds_the_topology_that_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[object] = []

    def bring_up(topology: object, *_: object, **versions: str) -> Any:
        built.extend((topology, versions))
        return nullcontext((SimpleNamespace(when_it_fails=lambda tell: None), MESH))

    monkeypatch.setattr("pytest_istio_mc.providers.lab.bring_up", bring_up)
    request = ProvisionRequest(
        SPEC, "run2", Timeouts(), topology=TOPOLOGY, istio="1.30", kubernetes="1.35"
    )

    with LabProvider().provide(request, Progress()) as mesh:
        assert mesh.run_id == "run2"

    assert built == [TOPOLOGY, {"istio": "1.30", "kubernetes": "1.35"}]


def test_the_lab_refuses_a_topology_that_nobody_knows() -> None:
    request = ProvisionRequest(SPEC, "run1", Timeouts())

    with (
        pytest.raises(UsageProblem, match='topology "fake-topology": is not known'),
        LabProvider().provide(request, Progress()),
    ):
        pass


def test_a_topology_of_a_plugin_reaches_the_provider(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_LOG", str(pytester.path / "log"))
    write_suite(pytester)

    pytester.runpytest(*CERTIFY)

    first = (pytester.path / "log").read_text().splitlines()[0]
    assert "as=https://topologies.test/fake-topology" in first.split()


@pytest.mark.parametrize("provider", ["lab", "fake-lab"])
def test_the_plan_for_clusters_that_are_built_names_the_page_of_the_topology(
    pytester: pytest.Pytester, provider: str
) -> None:
    write_suite(pytester)

    result = pytester.runpytest(*CERTIFY, f"--mesh-provider={provider}", "--mesh-plan")

    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "steps     1. build the clusters cluster1, cluster2 and install Istio on them",
            "          2. join them, as in https://topologies.test/fake-topology",
            "removed   the clusters, with everything in them",
        ]
    )


def test_clusters_that_end_with_the_run_may_be_broken(pytester: pytest.Pytester) -> None:
    write_suite(pytester)

    result = pytester.runpytest(*CERTIFY_ON_LAB)

    assert result.ret == 0
    assert entry_of(report_of(pytester), "MC-EASTWEST-902")["verdict"] == "conformant"
    assert report_of(pytester)["result"] == "success"


def test_workers_know_what_the_provider_says(pytester: pytest.Pytester) -> None:
    pytest.importorskip("xdist")
    pytester.makepyfile(
        """
        def test_facts(mesh, worker_id):
            assert worker_id != "master"
            assert mesh.disposable and mesh.on_this_machine
        """
    )

    pytester.runpytest_subprocess(*CERTIFY_ON_LAB, "-n1").assert_outcomes(passed=1)


class Building:
    """A provider of real clusters that end with the run."""

    name = "building"
    summary = "for tests"
    disposable = True
    provide = FakeProvider.provide


class Finding:
    """A provider of real clusters from before there were facts."""

    name = "finding"
    summary = "for tests"
    provide = FakeProvider.provide


@pytest.mark.parametrize(("provider", "cleans"), [(Building(), False), (Finding(), True)])
def test_only_clusters_that_stay_are_swept_and_cleaned(
    provider: Provider, cleans: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swept: list[object] = []
    removed: list[bool] = []

    @contextmanager
    def deployed(mesh: Mesh, *_: object, remove: bool, **__: object) -> Iterator[Mesh]:
        removed.append(remove)
        yield mesh

    session = "pytest_istio_mc.session.provision"
    monkeypatch.setattr(f"{session}.connected", lambda *_: nullcontext({}))
    monkeypatch.setattr(f"{session}.sweep_dead_runs", lambda *_: swept.append("swept"))
    monkeypatch.setattr("pytest_istio_mc.probes.workloads.deployed", deployed)
    monkeypatch.setattr(
        "pytest_istio_mc.probes.traffic.open_traffic",
        lambda *_: nullcontext(SimpleNamespace(ask=None)),
    )
    monkeypatch.setattr(
        "pytest_istio_mc.collect.collect",
        lambda mesh, progress, **_: FakeProvider().record(mesh, progress),
    )
    settings = Settings("fake-topology", provider.name, SPEC)

    with prepared_mesh(provider, settings, "run1", tmp_path / "s", Progress(), []) as prepared:
        assert prepared.mesh.disposable is not cleans

    assert (removed, bool(swept)) == ([cleans], cleans)


def test_networks_that_only_mesh_networks_name_are_adopted() -> None:
    """They are in the ConfigMap of one cluster, for all."""

    def found(name: str, **registries: str) -> Found:
        return Found("", "", name, "", "", "", "", Locality(), registries)

    one, two = SPEC.clusters[:2]
    said = {one.name: "here", two.name: "there"}

    spec = adopted(SPEC, {one.name: found(one.name, **said), two.name: found(two.name)})

    assert [cluster.network for cluster in spec][:2] == ["here", "there"]
