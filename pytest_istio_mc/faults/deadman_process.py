"""The dead man's timer as a process: ``python -m pytest_istio_mc.faults.deadman_process``.

It reads one line of JSON, what to undo and where, and waits on standard input.

- ``done`` ends it.
- The end of the input, which comes however the other process ends, makes it undo.
- So does the end of its time.
"""

from __future__ import annotations

import json
import os
import select
import time
from pathlib import Path
from typing import Any

from ..errors import MeshError
from . import mesh_config  # noqa: F401 - defines a step
from .deadman import PATIENCE_SECONDS
from .undo import from_list


def main() -> int:
    """Watch over one fault.

    The exit code is 0 where its maker undid it, 1 where this process did, and 2 where it could not.
    """
    # unbuffered, so that select sees what is not read yet
    lines = open(0, "rb", buffering=0, closefd=False)  # noqa: SIM115
    document: Any = json.loads(lines.readline())
    readable, _, _ = select.select([lines], [], [], document["for_seconds"])
    if readable and lines.readline().strip() == b"done":
        return 0
    from ..kube import Kube  # slow to import, and hardly ever needed

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
            # clusters that end with the run take their kubeconfig with them
            ended = document["disposable"] and not Path(document["kubeconfig"]).exists()
            if ended or time.monotonic() > deadline:
                return 2
            time.sleep(1.0)
    return 1


if __name__ == "__main__":
    os._exit(main())
