"""Answers of pods have a limit, so that none fills up the memory of whoever asks."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_istio_mc.errors import KubeError
from pytest_istio_mc.kube import portforward


class Tunnel:
    """A forwarded connection to a pod with an endless answer."""

    usable = True
    complaint = ""
    ended = 0

    def __init__(self, *_: Any) -> None:
        pass

    def get(self, path: str, timeout_seconds: float, most_bytes: int) -> tuple[int, bytes]:
        return 200, b"x" * min(int(path.strip("/")), most_bytes + 1)

    def end(self) -> None:
        Tunnel.ended += 1


def test_an_answer_that_is_too_long_is_an_error_and_ends_the_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(portforward, "_Tunnel", Tunnel)

    class Connection:
        thing = 'cluster "east"'

    pods = portforward.PodHttp(Connection())  # type: ignore[arg-type]
    megabyte = 1 << 20

    assert len(pods.get("ns", "pod", 80, f"/{megabyte}", 1, megabyte)) == megabyte
    with pytest.raises(KubeError, match="longer than 1 MiB"):
        pods.get("ns", "pod", 80, f"/{megabyte + 1}", 1, megabyte)
    assert Tunnel.ended == 1
