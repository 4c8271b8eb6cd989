"""Requests at a fixed rate, by the agent's own process, to servers that fail."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_istio_mc.errors import ObservationError
from pytest_istio_mc.eventually import Timeouts, eventually
from pytest_istio_mc.observations import Ending, Protocol
from pytest_istio_mc.probes.agent.flows import RECORD_BYTES, read
from pytest_istio_mc.probes.agent.records import Log
from pytest_istio_mc.probes.flows import FlowPlan, Running, flowing
from pytest_istio_mc.probes.sessions import Session, Sessions
from pytest_istio_mc.probes.traffic import Traffic
from pytest_istio_mc.timelines import Timeline
from tests.checks.live_mesh import mesh
from tests.probes.conftest import IDENTITY, Agent
from tests.probes.loopback import LocalExec

HERE = "east"


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """The pod's scratch folder."""
    return tmp_path


@pytest.fixture
def traffic(agent: Agent, scratch: Path, opened: list[LocalExec]) -> Iterator[Traffic]:
    """Traffic from one cluster, whose client pod is a process here."""

    environment = {**agent.environment, "TMPDIR": str(scratch)}

    def open_exec() -> LocalExec:
        opened.append(LocalExec([*agent.command, "session"], environment))
        return opened[-1]

    session = Session("pod client", open_exec)
    timeouts = replace(Timeouts(), request=2.0, kube_request=5.0)
    yield Traffic(mesh(), Sessions({HERE: session}), timeouts)
    session.close()


@contextmanager
def stubborn_server(handle: Callable[[socket.socket, int], None]) -> Iterator[int]:
    """A server that hands each connection, with its number, to ``handle``; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for number in range(10**6):
                try:
                    sock, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=_quietly, args=(handle, sock, number), daemon=True).start()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def _quietly(
    handle: Callable[[socket.socket, int], None], sock: socket.socket, number: int
) -> None:
    with sock:
        try:
            handle(sock, number)
        except OSError:
            pass  # the client has gone


def a_line(sock: socket.socket) -> bool:
    """Answer the lines that came as a probe does; whether there were any.

    There is one, unless this machine is slow.
    """
    lines = sock.recv(4096).count(b"\n")
    answer = json.dumps({"pod": "p", "cluster": "east", "version": "v1"})
    sock.sendall(lines * f"{answer}\n".encode())
    return lines > 0


def plan(port: int, protocol: Protocol = Protocol.TCP, **changes: object) -> FlowPlan:
    return replace(FlowPlan(HERE, "127.0.0.1", port, protocol, interval_seconds=0.02), **changes)  # type: ignore[arg-type]


def until(running: Running, holds: Callable[[Timeline], bool], what: str = "records") -> Timeline:
    return eventually(running.so_far, holds, within_seconds=20, what=what, every_seconds=0.02).value


def sent(running: Running, count: int) -> Timeline:
    """Wait until every flow has so many records."""
    return until(running, lambda seen: all(len(flow.records) >= count for flow in seen.flows))


@pytest.mark.parametrize("protocol", list(Protocol), ids=lambda protocol: protocol.value)
@pytest.mark.parametrize("keep_alive", [False, True], ids=["new-connections", "kept-alive"])
def test_every_request_is_on_record_with_who_answered(
    traffic: Traffic, server: dict[str, int], scratch: Path, protocol: Protocol, keep_alive: bool
) -> None:
    here = plan(server[protocol.value], protocol, keep_alive=keep_alive)
    with flowing(traffic, [here], at_most_seconds=30) as running:
        with running.marked("watched"):
            sent(running, 15)
        with pytest.raises(RuntimeError, match="so_far"):
            _ = running.timeline

    timeline = running.timeline
    (flow,) = timeline.flows
    assert not timeline.failures
    assert len(flow.records) >= 15
    answer = flow.records[0]
    assert (answer.cluster, answer.pod, answer.version) == tuple(
        IDENTITY[f"ISTIO_MC_{key}"] for key in ("CLUSTER", "POD", "VERSION")
    )
    assert answer.new_connection
    if keep_alive:
        assert flow.breaks < len(flow.records) / 2
    else:
        assert all(record.new_connection for record in flow.records)
    assert all(flow.began - 0.01 <= record.when <= flow.ended + 0.01 for record in flow.records)
    assert abs(flow.ended - time.time()) < 10
    assert timeline.clock_error_seconds < 1
    assert timeline.mark("watched").end <= time.time()
    assert not list(scratch.iterdir()), "the record's files are removed"


def test_a_slow_answer_does_not_hold_up_the_next_request(traffic: Traffic) -> None:
    def handle(sock: socket.socket, number: int) -> None:
        if number % 2:
            time.sleep(0.4)
        a_line(sock)

    with (
        stubborn_server(handle) as port,
        flowing(traffic, [plan(port)], at_most_seconds=30) as running,
    ):
        sent(running, 30)

    (flow,) = running.timeline.flows
    slow = [record for record in flow.records if record.latency_seconds >= 0.4]
    assert not flow.failures
    assert len(slow) >= 10
    during = [record for record in flow.records if slow[0].when < record.when < slow[0].answered_at]
    assert len(during) >= 5, "requests were sent while the first slow one was unanswered"


def test_requests_that_cannot_be_sent_any_more_are_failures(traffic: Traffic) -> None:
    released = threading.Event()

    def handle(sock: socket.socket, number: int) -> None:
        released.wait(20)
        a_line(sock)

    here = plan(0, interval_seconds=0.01, timeout_seconds=0.5)
    with (
        stubborn_server(handle) as port,
        flowing(traffic, [replace(here, port=port)], at_most_seconds=30) as running,
    ):
        skip = Ending.SKIPPED
        until(running, lambda seen: any(one.ending is skip for one in seen.failures), "a skip")
        released.set()

    (flow,) = running.timeline.flows
    endings = {record.ending for record in flow.failures}
    assert endings <= {Ending.SKIPPED, Ending.TIMEOUT}
    skipped = next(record for record in flow.failures if record.ending is Ending.SKIPPED)
    assert "32 requests were unanswered" in skipped.error
    assert len(flow.records) == len({record.when for record in flow.records})


def test_refusals_are_failures_and_none_is_repeated(traffic: Traffic) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with flowing(traffic, [plan(port)], at_most_seconds=30) as running:
        sent(running, 5)

    (flow,) = running.timeline.flows
    assert {record.ending for record in flow.records} == {Ending.REFUSED}
    assert flow.longest_gap_seconds == pytest.approx(flow.ended - flow.began)


def test_the_senders_outlive_the_session_that_started_them(
    traffic: Traffic, server: dict[str, int], opened: list[LocalExec]
) -> None:
    with flowing(traffic, [plan(server["tcp"])], at_most_seconds=30) as running:
        sent(running, 3)
        opened[0].process.kill()
        opened[0].process.wait()
        broke = time.time()
        time.sleep(0.5)  # nothing reads meanwhile

    (flow,) = running.timeline.flows
    meanwhile = [record for record in flow.records if broke < record.when < broke + 0.5]
    assert len(opened) == 2
    assert len(meanwhile) > 5
    assert not flow.failures


def test_the_senders_end_by_themselves(
    traffic: Traffic, server: dict[str, int], scratch: Path
) -> None:
    with (
        pytest.raises(ObservationError, match="it was given too little time"),
        flowing(traffic, [plan(server["tcp"])], at_most_seconds=0.3),
    ):
        what = "the sender to end"
        eventually(lambda: '"ended"' in _written(scratch), bool, within_seconds=10, what=what)


def _written(scratch: Path) -> str:
    return next(iter(scratch.glob("flows-*.jsonl"))).read_text()


def test_a_record_that_was_lost_is_noticed(
    traffic: Traffic, server: dict[str, int], scratch: Path
) -> None:
    with (
        pytest.raises(ObservationError, match=r"not complete.*No such file"),
        flowing(traffic, [plan(server["tcp"])], at_most_seconds=30) as running,
    ):
        sent(running, 3)
        next(iter(scratch.glob("flows-*.jsonl"))).unlink()


def test_a_sender_that_died_is_noticed(
    traffic: Traffic, server: dict[str, int], scratch: Path
) -> None:
    with (
        pytest.raises(ObservationError, match="the sender has died"),
        flowing(traffic, [plan(server["tcp"])], at_most_seconds=30) as running,
    ):
        sent(running, 3)
        for folder in Path("/proc").glob("[0-9]*"):
            if _sends_for(folder, scratch):
                os.kill(int(folder.name), 9)


def _sends_for(process: Path, scratch: Path) -> bool:
    try:
        return (
            b"flows" in (process / "cmdline").read_bytes()
            and f"TMPDIR={scratch}".encode() in (process / "environ").read_bytes()
        )
    except OSError:
        return False


def test_what_went_wrong_in_the_block_is_what_is_told(
    traffic: Traffic, server: dict[str, int], scratch: Path
) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        flowing(traffic, [plan(server["tcp"])], at_most_seconds=30),
    ):
        _ = 1 / 0

    assert not list(scratch.iterdir())


def test_too_many_records_are_refused_before_anything_is_sent(
    traffic: Traffic, server: dict[str, int]
) -> None:
    with (
        pytest.raises(ObservationError, match="send less often or for a shorter time"),
        flowing(traffic, [plan(server["tcp"], interval_seconds=0.001)], at_most_seconds=3600),
    ):
        pass


def test_a_stream_stays_on_one_connection(traffic: Traffic, server: dict[str, int]) -> None:
    with flowing(traffic, [plan(server["tcp"], stream=True)], at_most_seconds=30) as running:
        sent(running, 20)

    (flow,) = running.timeline.flows
    assert (flow.breaks, flow.failures) == (0, ())
    assert flow.answered_by() == {"east": len(flow.records)}


def test_a_stream_that_breaks_is_a_failure_and_opens_again(traffic: Traffic) -> None:
    def handle(sock: socket.socket, number: int) -> None:
        for _ in range(5 if number == 0 else 10**6):
            if not a_line(sock):
                return

    with (
        stubborn_server(handle) as port,
        flowing(traffic, [plan(port, stream=True)], at_most_seconds=30) as running,
    ):
        sent(running, 20)

    (flow,) = running.timeline.flows
    assert flow.breaks == 1
    assert 1 <= len(flow.failures) <= 3
    assert flow.failures[0].ending in (Ending.CLOSED, Ending.RESET)
    assert flow.records[-1].succeeded


def test_a_stream_that_breaks_between_two_lines_is_a_failure(traffic: Traffic) -> None:
    def handle(sock: socket.socket, number: int) -> None:
        a_line(sock)
        if number:
            time.sleep(20)

    here = plan(0, stream=True, interval_seconds=5)
    with (
        stubborn_server(handle) as port,
        flowing(traffic, [replace(here, port=port)], at_most_seconds=30) as running,
    ):
        sent(running, 2)

    (flow,) = running.timeline.flows
    assert [record.succeeded for record in flow.records] == [True, False]
    assert "the stream ended" in flow.failures[0].error


def test_a_stream_that_falls_silent_is_a_failure_for_every_line(traffic: Traffic) -> None:
    def handle(sock: socket.socket, number: int) -> None:
        a_line(sock)
        time.sleep(20)

    here = plan(0, stream=True, interval_seconds=0.1, timeout_seconds=0.5)
    with (
        stubborn_server(handle) as port,
        flowing(traffic, [replace(here, port=port)], at_most_seconds=30) as running,
    ):
        sent(running, 8)

    (flow,) = running.timeline.flows
    assert flow.records[0].succeeded
    silent = [record for record in flow.failures if record.ending is Ending.TIMEOUT]
    assert len(silent) >= 4
    assert silent[0].latency_seconds >= 0.5


def test_a_stream_of_requests_makes_no_sense(traffic: Traffic, server: dict[str, int]) -> None:
    with (
        pytest.raises(ValueError, match="TCP"),
        flowing(traffic, [plan(server["http"], Protocol.HTTP, stream=True)], at_most_seconds=1),
    ):
        pass


def test_a_record_takes_no_more_than_it_may(tmp_path: Path) -> None:
    log = Log(str(tmp_path / "log"), 1)
    answer = {"cluster": "c" * 63, "pod": "p" * 63, "version": "v" * 63}
    seen = {"ending": "answered", "status": 200, "seconds": 1.0, "answer": answer}
    log.record(0, time.time(), 1.0, {**seen, "error": "\\" * 1000})

    assert len((tmp_path / "log").read_bytes()) <= 2 * RECORD_BYTES


def test_records_come_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    lines = [f'["line {number}"]\n' for number in range(100)]
    (tmp_path / "flows-job.jsonl").write_text("".join(lines))

    text, offset, more = "", 0, True
    pieces = 0
    while more:
        came = read({"name": "job", "offset": offset, "limit": 100})
        text, offset, more, pieces = text + came["text"], came["offset"], came["more"], pieces + 1

    assert text == "".join(lines)
    assert pieces > 5


@pytest.mark.parametrize("name", ["../etc/passwd", "a/b", ""])
def test_names_of_jobs_are_no_paths(name: str) -> None:
    with pytest.raises(ValueError, match="no name for a job"):
        read({"name": name})
