"""Polling with the agent's own process, until it is broken or given up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from pytest_istio_mc.errors import GivenUp, ObservationError, ProvisionError
from pytest_istio_mc.eventually import Timeouts, eventually
from pytest_istio_mc.observations import Ending
from pytest_istio_mc.probes.polling import Polling, polling
from pytest_istio_mc.probes.sessions import Session, Sessions
from pytest_istio_mc.probes.traffic import Traffic
from tests.checks.live_mesh import mesh
from tests.probes.conftest import Agent
from tests.probes.loopback import LocalExec

HERE = "east"
NOBODY = "127.0.0.1"  # where no server listens on the port of the probes


@pytest.fixture
def traffic(agent: Agent, opened: list[LocalExec]) -> Iterator[Traffic]:
    """Traffic from one client pod, a process here that can be started once."""

    def open_exec() -> LocalExec:
        if opened:
            raise ObservationError("pod client", "exec", "there is none any more")
        opened.append(LocalExec([*agent.command, "session"], agent.environment))
        return opened[-1]

    sessions = Sessions({HERE: Session("pod client", open_exec)})
    with Traffic(mesh(), sessions, replace(Timeouts(), request=2.0)) as traffic:
        yield traffic


def until(observe: Callable[[], object], what: str) -> None:
    eventually(observe, bool, within_seconds=10, what=what, every_seconds=0.02)


def broken(running: Polling) -> None:
    until(lambda: running.is_broken, "asking has ended")


def asked(running: Polling) -> None:
    until(lambda: running.so_far().records, "a request")


def test_every_request_is_on_record_until_the_block_ends(traffic: Traffic) -> None:
    with polling(traffic, HERE, NOBODY, "", "nobody") as running:
        asked(running)
        assert not running.is_broken

    (flow,) = running.timeline.flows
    assert {record.ending for record in flow.records} == {Ending.REFUSED}


def test_a_client_that_is_gone_is_told_at_once_and_what_was_recorded_stays(
    traffic: Traffic, opened: list[LocalExec]
) -> None:
    with (
        pytest.raises(ObservationError, match="pod client"),
        polling(traffic, HERE, NOBODY, "", "nobody") as running,
    ):
        asked(running)
        opened[0].process.kill()
        broken(running)
        assert running.so_far().records


def test_a_client_that_is_given_up_ends_it(traffic: Traffic) -> None:
    with (
        pytest.raises(GivenUp, match="kubelet ended"),
        polling(traffic, HERE, NOBODY, "", "nobody") as running,
    ):
        asked(running)
        traffic.give_up(ProvisionError('cluster "east"', "kubelet ended"))
        broken(running)
