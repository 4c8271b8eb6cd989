"""Sessions with a real agent as a child process, which comes and goes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from pytest_istio_mc.errors import GivenUp, KubeError, ObservationError, ProvisionError
from pytest_istio_mc.probes.sessions import Session, Sessions
from tests.probes.conftest import Agent
from tests.probes.loopback import LocalExec


@pytest.fixture
def session(agent: Agent, opened: list[LocalExec]) -> Iterator[Session]:
    def open_exec() -> LocalExec:
        opened.append(LocalExec([*agent.command, "session"], agent.environment))
        return opened[-1]

    session = Session("pod client", open_exec)
    yield session
    session.close()


def dns(session: Session, timeout_seconds: float = 10) -> object:
    asked = session.ask({"op": "dns", "name": "127.0.0.1"}, timeout_seconds=timeout_seconds)
    return asked["addresses"]


def ask_in_vain(session: Session, port: int, timeout_seconds: float = 30) -> None:
    """Ask for a request to a port that never answers."""
    operation = {"op": "http", "host": "127.0.0.1", "port": port, "timeout": 30}
    session.ask(operation, timeout_seconds=timeout_seconds)


def test_one_exec_serves_any_number_of_threads(session: Session, opened: list[LocalExec]) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: dns(session), range(100)))

    assert answers == [["127.0.0.1"]] * 100
    assert len(opened) == 1


def test_the_probe_says_who_it_is(session: Session) -> None:
    assert session.hello()["cluster"] == "east"
    assert "domain" in session.hello()


def test_nothing_is_opened_before_it_is_needed(session: Session, opened: list[LocalExec]) -> None:
    assert not opened


def test_a_broken_session_fails_what_runs_and_is_opened_anew_by_the_next(
    session: Session, opened: list[LocalExec], silent_port: int
) -> None:
    dns(session)
    failures: list[ObservationError] = []

    def ask() -> None:
        try:
            ask_in_vain(session, silent_port)
        except ObservationError as error:
            failures.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    opened[0].process.kill()
    thread.join(10)

    assert not thread.is_alive()
    assert "pod client" in str(failures[0])
    assert dns(session) == ["127.0.0.1"]
    assert len(opened) == 2


def test_what_waits_for_a_pod_that_is_given_up_ends(
    session: Session, opened: list[LocalExec], silent_port: int
) -> None:
    dns(session)
    why = ProvisionError('cluster "east"', "kubelet ended")
    threading.Timer(0.2, session.give_up, [why]).start()

    with pytest.raises(GivenUp, match="kubelet ended"):
        ask_in_vain(session, silent_port)
    with pytest.raises(GivenUp):
        dns(session)
    assert len(opened) == 1


def test_silence_is_an_observation_error(session: Session, silent_port: int) -> None:
    dns(session)
    with pytest.raises(ObservationError, match="no result within"):
        ask_in_vain(session, silent_port, timeout_seconds=0.2)

    assert dns(session) == ["127.0.0.1"]


def test_a_pod_that_cannot_be_reached_is_an_observation_error() -> None:
    def refuse() -> LocalExec:
        raise KubeError("pod client", "exec", "forbidden", status=403)

    with pytest.raises(ObservationError, match="forbidden"):
        dns(Session("pod client", refuse))


def test_an_image_without_a_probe_in_it_is_an_observation_error(agent: Agent) -> None:
    def sleep() -> LocalExec:
        return LocalExec(["sleep", "30"], agent.environment)

    with pytest.raises(ObservationError, match="hello"):
        dns(Session("pod client", sleep, open_seconds=0.2))
    with pytest.raises(ObservationError, match="ended"):
        dns(Session("pod client", lambda: LocalExec(["false"], agent.environment)))


def test_a_cluster_without_a_client_is_an_observation_error(session: Session) -> None:
    with Sessions({"east": session}) as sessions:
        assert sessions["east"] is session
        with pytest.raises(ObservationError, match="west"):
            sessions["west"]
