"""The dead man's timer as a process: ``python -m pytest_istio_mc.faults.deadman_process``.

It reads lines of JSON on standard input, each of which says all that there is to undo, and answers
each with ``ready`` once it has reached the clusters by itself.

- ``done`` ends it.
- The end of the input, which comes however the other process ends, makes it undo.
- So does the end of its time.
"""

from __future__ import annotations

import json
import os
import select
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ..errors import MeshError
from ..scratch import Scratch
from . import journal, steps  # noqa: F401 - steps defines what can be undone
from .deadman import NOT_UNDONE, PATIENCE_SECONDS, PROBLEM, READY, UNDONE, UNDONE_BY_ITS_MAKER
from .undo import Work, carry_out, from_list

if TYPE_CHECKING:
    from ..kube import Kube


def main() -> int:
    """Watch over one fault; its exit code."""
    lifeline, answers = _take_standard_streams()
    temporary = tempfile.gettempdir()
    first = lifeline.readline()
    if not first.strip():
        return UNDONE_BY_ITS_MAKER
    document: Any = json.loads(first)
    # Keys and certificates that the kubeconfig's loader writes to files end with this process, or
    # are swept where it is killed.
    scratch = Scratch(document["run_id"])
    tempfile.tempdir = str(scratch.folder)
    log = Path(temporary) / f"istio-mc-undo-{document['run_id']}-{os.getpid()}.log"
    try:
        watch = _Watch(document, log)
        deadline = time.monotonic() + document["for_seconds"]
        while True:
            _say(answers, watch.answer())
            left = max(0.0, deadline - time.monotonic())
            line = lifeline.readline() if select.select([lifeline], [], [], left)[0] else b""
            if line.strip() == b"done":
                return UNDONE_BY_ITS_MAKER
            if not line.strip():
                return watch.undo()
            watch = _Watch(json.loads(line), log)
    finally:
        scratch.remove()


def _take_standard_streams() -> tuple[IO[bytes], IO[bytes]]:
    """The lifeline and the way to answer; what is started from here gets neither.

    An exec plugin of a kubeconfig would read from the lifeline else, or hold it open.
    """
    lifeline = os.fdopen(os.dup(0), "rb", buffering=0)  # unbuffered, so that select sees it all
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    os.close(nothing)
    return lifeline, answers


def _say(answers: IO[bytes], line: str) -> None:
    with suppress(OSError):  # who asked is gone; the lifeline tells that, too
        answers.write(line.replace("\n", " ").encode() + b"\n")


class _Watch:
    """All that is to be undone, by now."""

    def __init__(self, document: Mapping[str, Any], log: Path) -> None:
        from ..kube import Kube

        self._document = document
        self._log = log
        self._kubes: dict[str, Kube] = {
            name: Kube(name, document["kubeconfig"], context)
            for name, context in document["contexts"].items()
        }

    def answer(self) -> str:
        """Whether all of it could be undone from here."""
        try:
            from_list([step for work in self._document["works"] for step in work["undo"]])
            for work in self._document["works"]:
                if work["journal"] is None:
                    continue
                written = journal.Written(**work["journal"])
                if not journal.is_there(self._kubes[work["cluster"]], written):
                    return f"{PROBLEM} cluster {work['cluster']}: its journal is not there"
        except Exception as error:
            return f"{PROBLEM} {error if isinstance(error, MeshError) else repr(error)}"
        return f"{READY} {self._log}"

    def undo(self) -> int:
        """Undo all of it, for as long as it takes or patience lasts."""
        works = []
        for work in self._document["works"]:
            written = journal.Written(**work["journal"]) if work["journal"] else None
            works.append(
                Work(
                    work["cluster"],
                    from_list(work["undo"]),
                    partial(self._remove, work["cluster"], written),
                )
            )
        left = carry_out(
            self._kubes,
            works,
            patience_seconds=PATIENCE_SECONDS,
            note=self._note,
            is_over=self._is_over,
        )
        if not left:
            self._log.unlink(missing_ok=True)
        return NOT_UNDONE if left else UNDONE

    def _remove(self, cluster: str, written: journal.Written | None) -> None:
        if written is not None:
            journal.remove(self._kubes[cluster], written)

    def _is_over(self) -> bool:
        """Clusters that end with the run take their kubeconfig with them."""
        return self._document["disposable"] and not Path(self._document["kubeconfig"]).exists()

    def _note(self, line: str) -> None:
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        with suppress(OSError):  # the work goes on where the disk is full
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
            handle = os.open(self._log, flags, 0o600)
            with os.fdopen(handle, "a") as file:
                print(when, line, file=file)


if __name__ == "__main__":
    sys.exit(main())
