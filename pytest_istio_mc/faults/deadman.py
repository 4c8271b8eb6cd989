"""The dead man's timer: another process that undoes faults when this one is gone.

That is ``deadman_process``, started by its name.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import MeshError, NotHealed
from ..mesh import Mesh
from .undo import Step, to_list

if TYPE_CHECKING:
    from ..kube import Kube

PROCESS = f"{__package__}.deadman_process"

PATIENCE_SECONDS = 600.0
"""How long the process keeps trying: what is broken may be the API server that it needs."""


@contextmanager
def undone(
    mesh: Mesh, kubes: Mapping[str, Kube], steps: Sequence[Step], for_seconds: float
) -> Iterator[None]:
    """Carry out ``steps`` at the end, even where this process is killed.

    - The other process does so where this one is gone before, or after ``for_seconds``.
    - :class:`NotHealed` says that the time was up.
    - An error of undoing is reported beside one of the context, never in its place; the other
      process then goes on trying.
    """
    keeper = _start(mesh, steps, for_seconds)
    assert keeper.stdin is not None
    try:
        try:
            yield
        except BaseException as error:
            try:
                _carry_out(kubes, steps)
                _dismiss(keeper)
            except MeshError as second:
                error.add_note(f"and what was broken could not be undone: {second}")
            raise
        _carry_out(kubes, steps)
        if not _dismiss(keeper):
            step = f"was undone after {for_seconds:g} s by its dead-man timer, before its end"
            advice = "on a slow machine give --mesh-timeout-factor=2"
            raise NotHealed("a fault", step, advice=advice)
    finally:
        keeper.stdin.close()  # still at work where undoing failed: it tries on its own now


def _carry_out(kubes: Mapping[str, Kube], steps: Sequence[Step]) -> None:
    for step in steps:
        step.run(kubes)


def _start(mesh: Mesh, steps: Sequence[Step], for_seconds: float) -> subprocess.Popen[str]:
    path = os.pathsep.join(str(Path(folder).resolve()) for folder in sys.path if folder)
    keeper = subprocess.Popen(
        [sys.executable, "-m", PROCESS],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
        cwd="/",
        env=dict(os.environ, PYTHONPATH=path),
    )
    document = {
        "kubeconfig": mesh.spec.kubeconfig,
        "disposable": mesh.disposable,
        "contexts": {cluster.name: cluster.context for cluster in mesh.spec},
        "undo": to_list(steps),
        "for_seconds": for_seconds,
    }
    assert keeper.stdin is not None
    keeper.stdin.write(json.dumps(document) + "\n")
    keeper.stdin.flush()
    return keeper


def _dismiss(keeper: subprocess.Popen[str]) -> bool:
    """Tell the process that all is undone; false if it did that itself."""
    assert keeper.stdin is not None
    try:
        keeper.stdin.write("done\n")
        keeper.stdin.flush()
    except OSError:
        pass  # it has ended, and its exit code says why
    return keeper.wait(PATIENCE_SECONDS) == 0
