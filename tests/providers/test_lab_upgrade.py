"""What a lab can be upgraded to, and what is refused before anything changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pytest_istio_mc.errors import KubeError, UsageProblem
from pytest_istio_mc.eventually import Timeouts
from pytest_istio_mc.kube import Kube
from pytest_istio_mc.lab.lab import Lab
from pytest_istio_mc.progress import Progress
from pytest_istio_mc.providers import lab as provider
from pytest_istio_mc.providers.lab_upgrade import Wanted, upgrade
from pytest_istio_mc.spec import MeshSpec
from pytest_istio_mc.topologies import known
from pytest_istio_mc.topologies.access import ClusterAccess
from pytest_istio_mc.topologies.istio import IstioDistribution
from pytest_istio_mc.topologies.phases import Method, PhaseTime
from pytest_istio_mc.topologies.upgrade import Upgrade
from tests.topologies.living import HUB, SYSTEM, LivingCluster, istio_manifests

SPEC = known()["multi-network-multi-primary"].default_spec()
OLD = IstioDistribution(Path("istioctl"), HUB, "1.30.4", Path("cache"))
NEW = replace(OLD, tag="lab")

Run = Callable[..., Upgrade]


@pytest.fixture
def clusters() -> dict[str, LivingCluster]:
    """Two clusters with Istio 1.30."""
    found = {name: LivingCluster(name) for name in ("cluster1", "cluster2")}
    for cluster in found.values():
        cluster.namespace(SYSTEM)
        cluster.apply(*istio_manifests("", "1.30.4"))
    return found


@pytest.fixture
def told() -> list[str]:
    """The lines of progress."""
    return []


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, clusters: dict[str, LivingCluster], told: list[str]
) -> Run:
    """Asks for an upgrade of a lab with both versions; the upgrade as it was begun."""
    begun: list[Upgrade] = []

    @contextmanager
    def reached(*_: object) -> Iterator[dict[str, ClusterAccess]]:
        yield {
            name: ClusterAccess(name, "kubeconfig", name, "https://peer", cast("Kube", cluster))
            for name, cluster in clusters.items()
        }

    def go(self: Upgrade, *_: object) -> tuple[PhaseTime, ...]:
        begun.append(self)
        return ()

    def ask(
        wanted: Wanted,
        images: dict[str, IstioDistribution] | None = None,
        spec: MeshSpec = SPEC,
    ) -> Upgrade:
        found = images or {"1.30": OLD, "1.31": NEW}
        monkeypatch.setattr(provider, "distributions", lambda *_: found)
        running = cast("Lab", SimpleNamespace(plan=SimpleNamespace(name="try")))
        upgrade(running, spec, wanted, timeouts=Timeouts(), progress=Progress(told.append))
        return begun[-1]

    monkeypatch.setattr(provider, "reached", reached)
    monkeypatch.setattr(Upgrade, "run", go)
    return ask


def test_a_canary_is_of_the_revision_that_its_version_names(run: Run) -> None:
    begun = run(Wanted("1.31"))

    assert (begun.source, begun.target) == (OLD, replace(NEW, revision="1-31"))
    assert not begun.back


def test_taking_back_is_the_same_the_other_way(run: Run) -> None:
    begun = run(Wanted("1.31", back=True))

    assert (begun.source, begun.target) == (replace(NEW, revision="1-31"), OLD)
    assert begun.back


def test_in_place_there_is_one_revision(run: Run) -> None:
    begun = run(Wanted("1.31", Method.IN_PLACE))

    assert (begun.source, begun.target) == (OLD, NEW)


def test_a_restart_is_of_what_is_there(run: Run, clusters: dict[str, LivingCluster]) -> None:
    assert run(Wanted("", Method.RESTART)).target == OLD
    assert run(Wanted("1.30", Method.RESTART)).source == OLD

    for cluster in clusters.values():
        cluster.objects.clear()
        cluster.apply(*istio_manifests("1-31", "lab"))

    assert run(Wanted("", Method.RESTART)).target == replace(NEW, revision="1-31")


def test_it_says_in_the_end_what_each_cluster_has(run: Run, told: list[str]) -> None:
    run(Wanted("1.31"))

    assert [line.partition("s  ")[2] for line in told] == [
        f"now there is: {name}: istiod default 1.30 (1 of 1 ready)" for name in SPEC_NAMES
    ]


@pytest.mark.parametrize("error", [KubeError("cluster", "step"), KeyboardInterrupt()])
def test_whatever_interrupts_it_it_says_what_there_is(
    run: Run, told: list[str], monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def interrupted(*_: object) -> Any:
        raise error

    monkeypatch.setattr(Upgrade, "run", interrupted)

    with pytest.raises(type(error)):
        run(Wanted("1.31"))

    *states, advice = (line.partition("s  ")[2] for line in told)
    assert states == [
        f"interrupted; now there is: {name}: istiod default 1.30 (1 of 1 ready)"
        for name in SPEC_NAMES
    ]
    assert advice == "the same command goes on from here; with --rollback it goes back"


def test_a_cluster_that_cannot_be_read_is_said_to_be_so(
    run: Run, told: list[str], clusters: dict[str, LivingCluster]
) -> None:
    def refuse(*_: object, **__: object) -> Any:
        raise KubeError("cluster", "list", "refused")

    clusters["cluster2"].list = refuse  # type: ignore[method-assign]

    run(Wanted("1.31"))

    assert told[1].endswith("now there is: cluster2: cannot be read: list (refused)")


SPEC_NAMES = [cluster.name for cluster in SPEC]
EXTERNAL = known()["external-control-plane"].default_spec()


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (Wanted("1.29"), 'lab "try": has no images of Istio 1.29: it was made with 1.30, 1.31'),
        (Wanted(""), "--to: is missing"),
        (Wanted("1.30"), "--to: 1.30 is not newer than 1.30"),
        (Wanted("1.30", Method.IN_PLACE), "is not newer than 1.30"),
        (Wanted("1.31", Method.RESTART), r"the istiods are of Istio 1.30 \(default\)"),
        (Wanted("", Method.RESTART, back=True), "nothing to take back of a restart"),
    ],
)
def test_what_cannot_be_is_refused(
    run: Run, clusters: dict[str, LivingCluster], wanted: Wanted, message: str
) -> None:
    for cluster in clusters.values():
        cluster.log.clear()

    with pytest.raises(UsageProblem, match=message) as refused:
        run(wanted)

    assert "nothing was changed" in str(refused.value)
    assert [cluster.log for cluster in clusters.values()] == [[], []]


def test_a_lab_of_one_version_has_nothing_to_go_to(run: Run) -> None:
    with pytest.raises(UsageProblem, match=r"made with 1.31\n?.*lab up --istio VERSION") as refused:
        run(Wanted("1.32"), {"1.31": NEW})

    assert refused.value.step.endswith("it was made with 1.31")


def test_a_restart_of_two_versions_is_refused(run: Run, clusters: dict[str, LivingCluster]) -> None:
    clusters["cluster2"].apply(*istio_manifests("1-31", "lab"))

    with pytest.raises(UsageProblem, match=r"of Istio 1.31 \(1-31\), 1.30 \(default\)"):
        run(Wanted("", Method.RESTART))


def test_an_external_control_plane_gets_no_canary(
    run: Run, clusters: dict[str, LivingCluster]
) -> None:
    with pytest.raises(UsageProblem, match="--method in-place"):
        run(Wanted("1.31"), spec=EXTERNAL)

    clusters["cluster3"] = LivingCluster("cluster3")
    assert run(Wanted("1.31", Method.IN_PLACE), spec=EXTERNAL).target == NEW
