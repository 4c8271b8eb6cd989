"""Exec through a real kubelet: lines both ways, every end of a process."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from pytest_istio_mc.errors import KubeError
from pytest_istio_mc.kube import ExecSession, Kube

pytestmark = pytest.mark.lab

_ECHO = "import sys\nfor line in sys.stdin:\n    sys.stdout.write(line)\n    sys.stdout.flush()\n"
_BIG = json.dumps({"text": "é" * 500_000}, ensure_ascii=False)


@pytest.fixture
def echo(node: Kube, python_pod: str) -> Iterator[ExecSession]:
    """A process that sends every line back."""
    with closing(_open(node, python_pod, _ECHO)) as session:
        yield session


def _open(node: Kube, pod: str, program: str) -> ExecSession:
    return node.open_exec("default", pod, "python", ["python3", "-c", program])


def _run(node: Kube, pod: str, program: str, stdin: str = "", timeout_seconds: float = 20) -> str:
    command = ["python3", "-c", program]
    return node.exec(
        "default", pod, "python", command, stdin=stdin, timeout_seconds=timeout_seconds
    )


def test_stdout_comes_back_whole(node: Kube, python_pod: str) -> None:
    assert _run(node, python_pod, "print('x' * 3_000_000, end='')") == "x" * 3_000_000


def test_stdin_is_sent_and_ended(node: Kube, python_pod: str) -> None:
    count = "import sys; print(len(sys.stdin.read()))"
    assert _run(node, python_pod, count, stdin="é" * 700_000) == "700000\n"


def test_a_failure_has_the_exit_code_and_stderr(node: Kube, python_pod: str) -> None:
    told = r"pod default/python: run python3 .*exit code 3; stderr: too bad"
    with pytest.raises(KubeError, match=told):
        _run(node, python_pod, "import sys; sys.stderr.write('too bad'); sys.exit(3)")


def test_a_command_that_is_not_there(node: Kube, python_pod: str) -> None:
    with pytest.raises(KubeError, match="executable file not found"):
        node.exec("default", python_pod, "python", ["no-such-program"])


def test_a_command_that_does_not_end(node: Kube, python_pod: str) -> None:
    with pytest.raises(KubeError, match=r"did not end within 0\.5 s"):
        _run(node, python_pod, "import time; time.sleep(60)", timeout_seconds=0.5)


def test_a_session_carries_lines_of_a_megabyte_both_ways_at_once(echo: ExecSession) -> None:
    def send() -> None:
        for _ in range(5):
            echo.send(_BIG)

    sender = threading.Thread(target=send)
    sender.start()

    assert [echo.receive(20) == _BIG for _ in range(5)] == [True] * 5
    sender.join()


def test_lines_of_many_threads_are_neither_lost_nor_mixed(echo: ExecSession) -> None:
    def send(sender: int) -> None:
        for number in range(50):
            echo.send(json.dumps([sender, number, "x" * 2000]))

    threads = [threading.Thread(target=send, args=(sender,)) for sender in range(6)]
    for thread in threads:
        thread.start()
    received = [tuple(json.loads(echo.receive(20) or "")[:2]) for _ in range(300)]
    for thread in threads:
        thread.join()

    assert sorted(received) == [(sender, number) for sender in range(6) for number in range(50)]
    for sender in range(6):
        assert [number for who, number in received if who == sender] == list(range(50))


def test_no_line_in_time_is_none(echo: ExecSession) -> None:
    assert echo.receive(0.1) is None
    echo.send("still there")
    assert echo.receive(5) == "still there"


def test_the_end_of_the_process_is_told_after_its_last_line(node: Kube, python_pod: str) -> None:
    program = "import sys; print('last words'); sys.stderr.write('no more'); sys.exit(7)"
    with closing(_open(node, python_pod, program)) as session:
        assert session.receive(10) == "last words"
        for _ in range(2):
            with pytest.raises(KubeError, match="exit code 7; stderr: no more"):
                session.receive(10)
        with pytest.raises(KubeError, match="exit code 7"):
            session.send("too late")


def test_a_closed_session_says_so(echo: ExecSession) -> None:
    echo.close()

    with pytest.raises(KubeError, match="was closed"):
        echo.receive(1)
    with pytest.raises(KubeError, match="was closed"):
        echo.send("too late")
