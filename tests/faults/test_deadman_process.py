"""The dead man's process: how long it goes on trying where the clusters do not answer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pytest_istio_mc.faults import deadman
from pytest_istio_mc.faults.undo import Merge, to_list

STEP = Merge("east", "Service", "echo", "ns", {"spec": {}})


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Path:
    """A kubeconfig with a cluster that refuses connections."""
    path = tmp_path / "kubeconfig.yaml"
    named = {"name": "east"}
    content = {
        "clusters": [{**named, "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{**named, "user": {"token": "x"}}],
        "contexts": [{**named, "context": {"cluster": "east", "user": "east"}}],
        "current-context": "east",
    }
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.parametrize("disposable", [True, False])
def test_it_gives_up_clusters_that_ended_with_the_run_and_no_others(
    kubeconfig: Path, disposable: bool
) -> None:
    document = {
        "kubeconfig": str(kubeconfig),
        "disposable": disposable,
        "contexts": {"east": "east"},
        "undo": to_list([STEP]),
        "for_seconds": 60,
    }
    keeper = subprocess.Popen([sys.executable, "-m", deadman.PROCESS], stdin=subprocess.PIPE)
    try:
        assert keeper.stdin is not None
        keeper.stdin.write(json.dumps(document).encode() + b"\n")
        keeper.stdin.close()  # as when its maker is gone
        with pytest.raises(subprocess.TimeoutExpired):
            keeper.wait(4)

        kubeconfig.unlink()

        if disposable:
            assert keeper.wait(30) == 2
        else:
            with pytest.raises(subprocess.TimeoutExpired):
                keeper.wait(4)
    finally:
        keeper.kill()
        keeper.wait()
