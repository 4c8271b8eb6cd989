"""The dead man's timer of faults in Kubernetes objects: a process that takes them back when the one that made them is gone.

Run as ``python -m pytest_istio_mc.faults.deadman``. It reads one line of JSON, what to undo and where, and waits on standard input:
``done`` ends it; the end of the input, which comes however the other process ends, and the end of its time make it undo.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import MeshError, NotHealed
from ..mesh import Mesh
from .undo import Undo, from_list, to_list

if TYPE_CHECKING:
    from ..kube import Kube

PATIENCE_SECONDS = 600.0
"""For how long it goes on trying: the API server that it needs may be what is broken."""


@contextmanager
def undone(
    mesh: Mesh, kubes: Mapping[str, Kube], steps: Sequence[Undo], for_seconds: float
) -> Iterator[None]:
    """Carry out ``steps`` at the end of the context, or from another process when this one is gone before, or after ``for_seconds``.

    That the time was up raises :class:`NotHealed`. An error of undoing is reported beside one of the context, never in its place; then the
    other process goes on trying.
    """
    keeper = _start(mesh, steps, for_seconds)
    assert keeper.stdin is not None
    try:
        try:
            yield
        except BaseException as error:
            try:
                undo(kubes, steps)
                _dismiss(keeper)
            except MeshError as second:
                error.add_note(f"and what was broken could not be undone: {second}")
            raise
        undo(kubes, steps)
        if not _dismiss(keeper):
            step = f"was undone after {for_seconds:g} s by its dead-man timer, before its end"
            raise NotHealed(
                "a fault", step, advice="on a slow machine give --mesh-timeout-factor=2"
            )
    finally:
        keeper.stdin.close()  # still at work where undoing failed: it tries on its own now


def undo(kubes: Mapping[str, Kube], steps: Sequence[Undo]) -> None:
    """Carry out the steps, in order."""
    for step in steps:
        step.run(kubes)


def _start(mesh: Mesh, steps: Sequence[Undo], for_seconds: float) -> subprocess.Popen[str]:
    keeper = subprocess.Popen(
        [sys.executable, "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
        cwd="/",
        env=dict(
            os.environ,
            PYTHONPATH=os.pathsep.join(str(Path(path).resolve()) for path in sys.path if path),
        ),
    )
    contexts = {cluster.name: cluster.context for cluster in mesh.spec}
    document = {
        "kubeconfig": mesh.spec.kubeconfig,
        "contexts": contexts,
        "undo": to_list(steps),
        "for_seconds": for_seconds,
    }
    assert keeper.stdin is not None
    keeper.stdin.write(json.dumps(document) + "\n")
    keeper.stdin.flush()
    return keeper


def _dismiss(keeper: subprocess.Popen[str]) -> bool:
    """Tell it that all is undone; false where it has taken that upon itself already."""
    assert keeper.stdin is not None
    try:
        keeper.stdin.write("done\n")
        keeper.stdin.flush()
    except OSError:
        pass  # it has ended, and its exit code says why
    return keeper.wait(PATIENCE_SECONDS) == 0


def main() -> int:
    """Watch over one fault: 0 when it was undone by who made it, 1 when it was undone from here, 2 when it could not be."""
    lines = open(0, "rb", buffering=0, closefd=False)  # noqa: SIM115 - unbuffered, so that select sees what is not read yet
    document: Any = json.loads(lines.readline())
    readable, _, _ = select.select([lines], [], [], document["for_seconds"])
    if readable and lines.readline().strip() == b"done":
        return 0
    from ..kube import Kube

    kubes = {
        name: Kube(name, document["kubeconfig"], context)
        for name, context in document["contexts"].items()
    }
    left = from_list(document["undo"])
    deadline = time.monotonic() + PATIENCE_SECONDS
    while left:
        try:
            left[0].run(kubes)
            del left[0]
        except MeshError:
            if time.monotonic() > deadline:
                return 2
            time.sleep(1.0)
    return 1


if __name__ == "__main__":
    os._exit(main())
