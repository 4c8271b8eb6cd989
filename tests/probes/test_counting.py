"""Requests that are counted, by the agent's own process, to servers that fail."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pytest_istio_mc.counted import LATE_SECONDS, Count, Fate
from pytest_istio_mc.errors import KubeError, ObservationError
from pytest_istio_mc.eventually import Timeouts
from pytest_istio_mc.kube import Kube
from pytest_istio_mc.observations import Ending, Protocol
from pytest_istio_mc.probes import manifests
from pytest_istio_mc.probes.agent import counts as agent_counts
from pytest_istio_mc.probes.agent import served
from pytest_istio_mc.probes.agent.counts import CountingLog
from pytest_istio_mc.probes.counted_services import (
    CLIENT_BUDGET,
    MOST_RATE,
    WAYS,
    CountPlan,
    Way,
    pairs,
    plans,
)
from pytest_istio_mc.probes.counting import Counting
from pytest_istio_mc.probes.sessions import Session, Sessions
from pytest_istio_mc.probes.traffic import Traffic
from pytest_istio_mc.spec import ClusterSpec
from tests.checks.live_mesh import mesh
from tests.probes.conftest import Agent
from tests.probes.loopback import LocalExec
from tests.probes.test_flows import stubborn_server

HERE = "east"
RULES = {"slow": 2.0, "gap": 1.0, "unread": 300, "longest": 1.0}


@pytest.fixture
def traffic(agent: Agent, opened: list[LocalExec]) -> Iterator[Traffic]:
    """Traffic from one cluster, whose client and server pods share this machine's scratch."""

    def open_exec() -> LocalExec:
        opened.append(LocalExec([*agent.command, "session"], agent.environment))
        return opened[-1]

    session = Session("pod client", open_exec)
    timeouts = replace(Timeouts(), request=2.0, kube_request=8.0)
    yield Traffic(mesh(), Sessions({HERE: session}), timeouts)
    session.close()


@pytest.fixture
def kubes(agent: Agent, opened: list[LocalExec]) -> dict[str, Kube]:
    """Connections over which only processes are started, in the servers' pods."""

    def open_exec(*place: Any) -> LocalExec:
        opened.append(LocalExec([*agent.command, "session"], agent.environment))
        return opened[-1]

    return {name: cast("Kube", SimpleNamespace(open_exec=open_exec)) for name in ("east", "west")}


def plan(
    port: int, protocol: Protocol = Protocol.HTTP, *, target: str = HERE, **way: bool
) -> CountPlan:
    keep = way.pop("keep_alive", False)
    return CountPlan(HERE, target, "127.0.0.1", port, Way(protocol, keep, **way), 0.05)


def counted(traffic: Traffic, kubes: dict[str, Kube], wanted: CountPlan, sent: int = 12) -> Count:
    """The count of a flow, after so many requests were due, and as many as a slow machine sends."""
    counting = Counting(traffic, kubes, [wanted])
    counting.start()
    time.sleep(sent * wanted.interval_seconds + 0.5)
    counting.poll()
    (count,) = counting.finish()
    return count


@pytest.mark.parametrize("protocol", list(Protocol), ids=lambda protocol: protocol.value)
@pytest.mark.parametrize("keep_alive", [False, True], ids=["new-connections", "kept-alive"])
def test_every_request_that_is_due_is_counted(
    traffic: Traffic,
    kubes: dict[str, Kube],
    server: dict[str, int],
    protocol: Protocol,
    keep_alive: bool,
) -> None:
    count = counted(traffic, kubes, plan(server[protocol.value], protocol, keep_alive=keep_alive))

    assert (count.lost, count.unlisted, count.missing) == ((), 0, "")
    assert count.due == count.answered + count.unsent
    assert count.answered >= 12
    assert sum(sent for _, sent, _ in count.seconds) == count.answered
    assert count.connections == (1 if keep_alive else count.answered)
    assert 0 < count.longest_silence_seconds < 5


def test_a_stream_is_counted_by_its_lines(
    traffic: Traffic, kubes: dict[str, Kube], server: dict[str, int]
) -> None:
    here = plan(server["tcp"], Protocol.TCP, keep_alive=True, stream=True)

    count = counted(traffic, kubes, here)

    assert (count.stream, count.cuts, count.losses) == (True, 0, 0)
    assert count.answered >= 12


def test_what_a_server_did_and_did_not_answer_well_is_known_from_its_own_record(
    traffic: Traffic, kubes: dict[str, Kube], server: dict[str, int], agent: Agent
) -> None:
    ill = Path(agent.environment["TMPDIR"]) / "ill-127.0.0.1"
    ill.touch()
    try:
        count = counted(traffic, kubes, plan(server["http"]))
    finally:
        ill.unlink()

    assert count.answered == 0
    assert len(count.lost) == count.due - count.unsent
    assert {one.fate for one in count.lost} == {Fate.DONE}
    assert "500" in count.lost[0].failure


def test_requests_that_never_came_to_a_server_are_plainly_failed(
    traffic: Traffic, kubes: dict[str, Kube]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    count = counted(traffic, kubes, plan(port))

    assert {one.fate for one in count.lost} == {Fate.FAILED}
    assert {one.ending for one in count.lost} == {Ending.REFUSED}
    assert count.longest_silence_seconds > 0.5


def test_where_no_server_can_be_asked_nobody_knows_what_was_done(traffic: Traffic) -> None:
    def gone(*place: Any) -> LocalExec:
        raise KubeError("pod", "exec", "not found", status=404)

    lost = {HERE: cast("Kube", SimpleNamespace(open_exec=gone))}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    count = counted(traffic, lost, plan(port))

    assert {one.fate for one in count.lost} == {Fate.UNKNOWN}


def test_an_answer_of_another_cluster_is_no_success(
    traffic: Traffic, kubes: dict[str, Kube], server: dict[str, int]
) -> None:
    count = counted(traffic, kubes, plan(server["http"], target="west"))

    assert count.answered == 0
    assert {one.fate for one in count.lost} == {Fate.ASTRAY}
    assert count.lost[0].failure == "answered by east"


def test_a_slow_answer_is_late(traffic: Traffic, kubes: dict[str, Kube]) -> None:
    def slow(sock: socket.socket, number: int) -> None:
        sock.recv(4096)
        time.sleep(LATE_SECONDS + 0.3)
        sock.sendall(json.dumps({"pod": "p", "cluster": HERE}).encode() + b"\n")

    with stubborn_server(slow) as port:
        count = counted(traffic, kubes, plan(port, Protocol.TCP), sent=3)

    assert {one.fate for one in count.lost} == {Fate.LATE}
    assert count.worst_seconds > LATE_SECONDS
    assert count.missing == ""


def test_a_sender_that_stood_still_says_so(
    traffic: Traffic, kubes: dict[str, Kube], server: dict[str, int], agent: Agent
) -> None:
    counting = Counting(traffic, kubes, [plan(server["http"])])
    counting.start()
    sender = _sender(agent)
    os.kill(sender, signal.SIGSTOP)
    time.sleep(1.2)
    os.kill(sender, signal.SIGCONT)
    time.sleep(0.5)
    (count,) = counting.finish()

    assert count.unsent >= 15
    assert count.due == count.answered + count.losses + count.unsent
    assert count.latest_seconds > 0.9
    assert all(one.starved for one in count.lost)


def test_a_sender_that_died_leaves_an_incomplete_count(
    traffic: Traffic, kubes: dict[str, Kube], server: dict[str, int], agent: Agent
) -> None:
    counting = Counting(traffic, kubes, [plan(server["http"])])
    counting.start()
    os.kill(_sender(agent), signal.SIGKILL)
    time.sleep(0.2)
    (count,) = counting.finish()

    assert count.missing == "the sender has died"


def _sender(agent: Agent) -> int:
    """The process that sends: of this test's own agent, started with ``flows``."""
    found, own = [], [*(word.encode() for word in agent.command), b"flows", b""]
    for folder in Path("/proc").iterdir():
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words == own:
            found.append(int(folder.name))
    (sender,) = found
    return sender


def test_nothing_is_left_where_a_sender_does_not_start(traffic: Traffic) -> None:
    wanted = [replace(plan(1), way=Way(Protocol.TCP, True, stream=True)), plan(1)]
    counting = Counting(traffic, {}, wanted)
    counting._jobs[0]._name = "no name for a job!"

    with pytest.raises(ObservationError, match="no name for a job"):
        counting.start()


# the sender's own record


def log(tmp_path: Path, **rules: float) -> CountingLog:
    job = {"id": "j", "flows": [{"interval": 0.1, "expect": HERE}], "count": {**RULES, **rules}}
    return CountingLog(str(tmp_path / "job"), job)


def answered(seconds: float = 0.01) -> dict[str, Any]:
    answer = {"pod": "p", "cluster": HERE}
    return {"ending": "answered", "status": 200, "seconds": seconds, "answer": answer}


def lines_of(tmp_path: Path) -> list[Any]:
    return [json.loads(line) for line in (tmp_path / "job").read_text().splitlines()]


def test_a_record_takes_a_line_a_second_however_many_requests_are_sent(tmp_path: Path) -> None:
    mine = log(tmp_path)
    began = int(mine.clock.now())
    for number in range(5000):
        mine.record(0, began + number / 1000, 0.0, answered())
    mine.finish()

    rows = [line for line in lines_of(tmp_path) if "second" in line]
    assert [row["second"] for row in rows] == [began + number for number in range(5)]
    assert sum(row["flows"][0][1] for row in rows) == 5000
    assert mine.sent == [5000]


def test_failures_beyond_the_bound_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_counts, "MOST_EXACT", 3)
    mine = log(tmp_path)
    for _ in range(5):
        mine.record(0, 1000.0, 0.0, {"ending": "refused", "error": "x" * 1000})
    end = mine.finish()

    assert sum(isinstance(line, list) for line in lines_of(tmp_path)) == 3
    assert end["left_out"] == 2
    assert mine.sent == [5]


def test_ids_are_of_the_job_the_flow_and_the_request(tmp_path: Path) -> None:
    mine = log(tmp_path)

    assert [mine.next_id(0), mine.next_id(0)] == ["j.0.1", "j.0.2"]


def test_a_sender_ends_where_nobody_reads_its_record(tmp_path: Path) -> None:
    mine = log(tmp_path, unread=60)
    assert mine.wanted()  # nobody has read it yet
    read = tmp_path / "job.read"
    read.touch()
    assert mine.wanted()

    os.utime(read, (time.time() - 61, time.time() - 61))

    assert not mine.wanted()


# the server's own record


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The server's record, in a scratch folder of its own."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path / "served.ids"


def test_only_what_came_is_found(record: Path) -> None:
    mine = served.Served()
    mine.note("a.0.1")
    mine.note("")
    mine.note("../../etc\npasswd")

    assert served.look_up({"ids": ["a.0.1", "a.0.2"]}) == {"found": ["a.0.1"], "whole": True}
    assert record.read_text() == "a.0.1\n"


def test_a_server_that_was_never_asked_has_a_whole_empty_record(record: Path) -> None:
    assert served.look_up({"ids": ["a.0.1"]}) == {"found": [], "whole": True}
    assert not record.exists()


def test_a_full_record_says_that_it_is_not_whole(
    record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served, "MOST_BYTES", 20)
    mine = served.Served()
    for number in range(100):
        mine.note(f"a.0.{number}")

    assert not served.look_up({"ids": []})["whole"]
    assert record.stat().st_size < 40
    again = served.Served()  # the program was started again, in the same pod
    again.note("a.0.200")
    assert record.stat().st_size < 40


# what is sent


def test_every_pair_and_every_cluster_itself_is_sent_every_way() -> None:
    made = plans(mesh(), lambda service: f"{service}.ns")

    assert {(one.source, one.target) for one in made} == {
        (source, target) for source in ("east", "west") for target in ("east", "west")
    }
    assert len(made) == 4 * len(WAYS)
    hosts = {one.host for one in made if one.target == "west"}
    assert hosts == {"count-v2.ns", "count-v2-once.ns"}
    assert {one.way.protocol for one in made if one.host == "count-v2-once.ns"} == {
        Protocol.HTTP,
        Protocol.HTTP2,
    }
    assert {one.port for one in made} == {manifests.HTTP, manifests.HTTP2, manifests.TCP}


@pytest.mark.parametrize("clusters", [2, 3, 8, 20])
def test_a_client_sends_no_more_than_its_budget(clusters: int) -> None:
    members = [ClusterSpec(f"c{number}", "network1") for number in range(clusters)]
    made = [one for one in plans(mesh(*members), str) if one.source == "c0"]

    rate = sum(1 / one.interval_seconds for one in made)
    assert rate <= CLIENT_BUDGET
    assert rate > 0.9 * CLIENT_BUDGET or {1 / one.interval_seconds for one in made} == {MOST_RATE}


def test_separate_meshes_send_within_themselves_only() -> None:
    apart = mesh()
    apart = replace(apart, spec=replace(apart.spec, federated=True))

    assert pairs(apart) == (("east", "east"), ("west", "west"))


def test_a_tester_that_stood_still_excuses_silence_of_all_its_flows_and_no_error(
    traffic: Traffic,
) -> None:
    counting = Counting(traffic, {}, [plan(1), plan(2)])
    (job,) = counting._jobs
    for line in (
        {"lag": [1, 100.0, 1.0]},
        [0, 100.5, 2.5, 0.0, "answered", 200, 1, HERE, "p", "v1", "", "j.0.1"],
        [0, 100.5, 5.0, 0.0, "timeout", 0, 1, "", "", "", "timed out", "j.0.2"],
        [0, 100.5, 0.1, 0.0, "reset", 0, 1, "", "", "", "reset by peer", "j.0.3"],
        [0, 110.0, 5.0, 0.0, "timeout", 0, 1, "", "", "", "timed out", "j.0.4"],
        {"second": 100, "flows": [[0, 0, 1, 3, 4, 5.0]]},
    ):
        job._take(line)

    first, second = job.counts()

    assert [one.starved for one in first.lost] == [True, True, False, False]
    assert (first.latest_seconds, second.latest_seconds) == (0.0, 1.0)
    assert first.losses == 4
