"""Gate marks: the phases that a command tells of while the gate watches it.

They come over a Unix socket in a folder that only its owner may enter; the environment of the
command names it.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from .counted import Step
from .errors import UsageProblem

VARIABLE = "ISTIO_MC_GATE"
MOST_TEXT = 200
MOST_STEPS = 1000
_MOST_BYTES = 4096
_PATIENCE = 5.0
_LONGEST_FOLDER = 70


class Marks:
    """The phases of a command, as they were told."""

    def __init__(self, address: Path) -> None:
        self.address = address
        self._steps: list[Step] = []
        self._lock = threading.Lock()

    @property
    def steps(self) -> tuple[Step, ...]:
        """The phases so far."""
        with self._lock:
            return tuple(self._steps)

    def add(self, text: str) -> str:
        """Note a phase that begins now; why not, else empty."""
        if not text.strip() or len(text) > MOST_TEXT:
            return f"a phase is a text of 1 to {MOST_TEXT} characters"
        with self._lock:
            if len(self._steps) >= MOST_STEPS:
                return f"{MOST_STEPS} phases were told already"
            self._steps.append(Step(time.time(), " ".join(text.split())))
        return ""


@contextmanager
def listening(folder: Path) -> Iterator[Marks]:
    """Take marks until the block ends; ``folder`` is private, and goes with whoever made it."""
    # a socket's path has at most 107 bytes, and TMPDIR may be a long one
    crowded = len(os.fsencode(folder)) > _LONGEST_FOLDER
    inside = tempfile.mkdtemp(prefix="istio-mc-gate-", dir="/tmp" if crowded else folder)  # noqa: S108
    server = socket.socket(socket.AF_UNIX)
    marks = Marks(Path(inside) / "socket")
    try:
        server.bind(str(marks.address))
        server.listen(8)
        threading.Thread(target=_serve, args=(server, marks), daemon=True).start()
        yield marks
    finally:
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        server.close()
        shutil.rmtree(inside, ignore_errors=True)


def _serve(server: socket.socket, marks: Marks) -> None:
    while True:
        try:
            client, _ = server.accept()
        except OSError:
            return
        with client, suppress(OSError):
            client.settimeout(_PATIENCE)
            client.sendall((_taken(client, marks) or "ok").encode())


def _taken(client: socket.socket, marks: Marks) -> str:
    came = b""
    while not came.endswith(b"\n") and len(came) <= _MOST_BYTES:
        piece = client.recv(_MOST_BYTES)
        if not piece:
            break
        came += piece
    try:
        text = json.loads(came)["mark"]
    except (ValueError, TypeError, KeyError):
        return "that is no mark"
    return marks.add(text) if isinstance(text, str) else "that is no mark"


def send(text: str, environment: Mapping[str, str] = os.environ) -> None:
    """Tell the gate that a phase begins; :class:`UsageProblem` outside of one."""
    address, thing = environment.get(VARIABLE, ""), "istio-mc gate mark"
    if not address:
        advice = "it is for the command that istio-mc gate runs: istio-mc gate … -- COMMAND"
        raise UsageProblem(
            thing, "is used outside of a gate", f"{VARIABLE} is not set", advice=advice
        )
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(_PATIENCE)
            client.connect(address)
            client.sendall(json.dumps({"mark": text}).encode() + b"\n")
            answer = client.recv(_MOST_BYTES).decode("utf-8", "replace")
    except OSError as error:
        advice = "that gate has ended, or is another user's"
        raise UsageProblem(thing, "does not reach its gate", str(error), advice=advice) from error
    if answer != "ok":
        raise UsageProblem(thing, "is refused", answer or "the gate has ended")
