"""Provisioning: everything is undone in reverse; no clean-up error hides another."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from pytest_istio_mc.errors import GivenUp, KubeError, MeshError, ProvisionError
from pytest_istio_mc.mesh import Mesh
from pytest_istio_mc.progress import Progress
from pytest_istio_mc.providers.replay import Replay
from pytest_istio_mc.session.cleanup import Losses, Undo, finishing, interruptible
from pytest_istio_mc.session.provision import prepared_mesh
from pytest_istio_mc.settings import Settings
from pytest_istio_mc.snapshot import Snapshot
from tests.fake_mesh import FakeProvider, fake_topology

if TYPE_CHECKING:
    from pytest_istio_mc.kube import Kube

SETTINGS = Settings("fake-topology", "fake", fake_topology("fake-topology").default_spec(2))


@contextmanager
def recorded(name: str, lines: list[str], *, fails: bool = False) -> Iterator[str]:
    """A context that writes down when it is entered and left."""
    lines.append(f"+{name}")
    try:
        yield name
    finally:
        lines.append(f"-{name}")
        if fails:
            raise ProvisionError(name, "does not go away")


def test_everything_is_left_in_reverse_and_every_problem_is_kept() -> None:
    lines: list[str] = []
    undo = Undo()

    assert undo.enter("a", recorded("a", lines, fails=True)) == "a"
    undo.enter("b", recorded("b", lines))
    undo.enter("c", recorded("c", lines, fails=True))
    undo.close(ValueError("the first error"))

    assert lines == ["+a", "+b", "+c", "-c", "-b", "-a"]
    assert undo.problems == ["c: c: does not go away", "a: a: does not go away"]


def test_the_first_error_is_raised_and_clean_up_errors_stand_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_CLEAN_UP", "fail")
    problems: list[str] = []

    folder = tmp_path / "s"
    preparing = prepared_mesh(FakeProvider(), SETTINGS, "run1", folder, Progress(), problems)

    with pytest.raises(ValueError, match="in the middle"), preparing as prepared:
        assert Snapshot.load(folder).run_id == prepared.mesh.run_id == "run1"
        raise ValueError("in the middle")

    assert problems == ['the mesh: cluster "cluster2": does not go away\n  next: istio-mc sweep']


def test_a_snapshot_that_cannot_be_saved_undoes_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_LOG", str(tmp_path / "log"))
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "s"
    preparing = prepared_mesh(FakeProvider(), SETTINGS, "r", folder, Progress(), [])

    with pytest.raises(MeshError, match=r"snapshot in .*file.*cannot be written"), preparing:
        pass

    assert (tmp_path / "log").read_text().splitlines()[-1] == "clean up"


class WithoutRecord:
    """A provider like those of real clusters: probes are deployed, facts are collected."""

    name = "plain"
    summary = "for tests"
    provide = FakeProvider.provide


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The probes by which facts were collected, or None; nobody connects to clusters."""
    found: list[object] = []

    def collect(mesh: Mesh, progress: Progress, *, ask: object = None, **_: object) -> Snapshot:
        found.append(ask)
        return FakeProvider().record(mesh, progress)

    connected = "pytest_istio_mc.session.provision.connected"
    monkeypatch.setattr("pytest_istio_mc.collect.collect", collect)
    monkeypatch.setattr(connected, lambda mesh, timeouts: nullcontext({}))
    return found


def test_a_mesh_without_working_probes_still_gets_a_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[object]
) -> None:
    def deployed(*_: object, **__: object) -> None:
        raise ProvisionError('cluster "cluster1"', "probe pods not ready")

    monkeypatch.setattr("pytest_istio_mc.probes.workloads.deployed", deployed)
    said: list[str] = []
    progress = Progress(said.append)

    with prepared_mesh(WithoutRecord(), SETTINGS, "r", tmp_path / "s", progress, []) as prepared:
        assert prepared.no_probes == 'cluster "cluster1": probe pods not ready'
    assert asked == [None]

    assert any("no probes" in line for line in said)


def test_probes_in_some_clusters_are_used_and_the_others_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[object]
) -> None:
    @contextmanager
    def deployed(
        mesh: Mesh, *_: object, tell_missing: Callable[[MeshError], None], **__: object
    ) -> Iterator[Mesh]:
        tell_missing(ProvisionError('cluster "cluster2"', "probe pods not ready"))
        yield mesh

    traffic = SimpleNamespace(ask="the probes there are")
    monkeypatch.setattr("pytest_istio_mc.probes.workloads.deployed", deployed)
    monkeypatch.setattr(
        "pytest_istio_mc.probes.traffic.open_traffic", lambda *_: nullcontext(traffic)
    )

    with prepared_mesh(WithoutRecord(), SETTINGS, "r", tmp_path / "s", Progress(), []) as prepared:
        assert prepared.no_probes == 'cluster "cluster2": probe pods not ready'
    assert asked == ["the probes there are"]


class GivenUpKube:
    """A cluster whose requests can be given up."""

    def __init__(self) -> None:
        self.why: MeshError | None = None

    def give_up(self, why: MeshError) -> None:
        self.why = why

    def request(self) -> None:
        if self.why:
            raise GivenUp(self.why)
        raise KubeError("cluster", "no answer")


LOST = ProvisionError('cluster "cluster1"', "kubelet ended")
LATER = ProvisionError('cluster "cluster2"', "kubelet ended")


def test_a_loss_ends_what_waits_for_the_clusters_and_is_what_is_raised() -> None:
    told: list[MeshError] = []
    losses, kube = Losses(told.append), GivenUpKube()

    with pytest.raises(ProvisionError) as raised, losses.ends([cast("Kube", kube)]):
        losses.tell(LOST)
        losses.tell(LATER)
        kube.request()

    assert raised.value is LOST
    assert isinstance(raised.value.__cause__, GivenUp)
    assert told == [LOST]


@pytest.mark.parametrize("before", [True, False], ids=["before", "at the end"])
def test_a_loss_is_raised_even_where_no_request_showed_it(before: bool) -> None:
    losses = Losses(lambda error: None)
    if before:
        losses.tell(LOST)

    with pytest.raises(ProvisionError) as raised, losses.ends([]):
        assert not before, "nothing is begun on a mesh that is lost"
        losses.tell(LOST)

    assert raised.value is LOST


def test_errors_without_a_loss_stay_as_they_are_and_a_loss_later_is_only_told() -> None:
    told: list[MeshError] = []
    losses, kube = Losses(told.append), GivenUpKube()

    with pytest.raises(KubeError, match="no answer"), losses.ends([cast("Kube", kube)]):
        kube.request()
    losses.tell(LOST)

    assert kube.why is None
    assert told == [LOST]


def test_a_replay_gives_the_recorded_mesh(tmp_path: Path) -> None:
    recorded, again = tmp_path / "recorded", tmp_path / "again"
    with prepared_mesh(FakeProvider(), SETTINGS, "run1", recorded, Progress(), []):
        pass

    replay = Replay(recorded)
    with prepared_mesh(replay, SETTINGS, "run2", again, Progress(), []) as prepared:
        assert (prepared.mesh.run_id, prepared.mesh.provider) == ("run1", "replay")
        assert prepared.mesh.spec == SETTINGS.spec
    assert Snapshot.load(again) == Snapshot.load(recorded)


def test_sigterm_ends_the_run_as_ctrl_c_does() -> None:
    before = signal.getsignal(signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt, match="SIGTERM"), interruptible():
        os.kill(os.getpid(), signal.SIGTERM)

    assert signal.getsignal(signal.SIGTERM) is before


def test_clean_up_survives_one_more_signal_but_not_two() -> None:
    said: list[str] = []

    with finishing(said.append):
        os.kill(os.getpid(), signal.SIGINT)
    behind = "still cleaning up; interrupt once more to leave things behind"
    assert said == [f"{behind} (istio-mc sweep removes them)"]

    with pytest.raises(KeyboardInterrupt), finishing(said.append):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
