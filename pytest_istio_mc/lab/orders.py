"""Orders to a lab's supervisor, over the control socket in its folder.

An order is a JSON line, and so is its answer.
"""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ..errors import ProvisionError

CONTROL = "control.sock"
"""The name of the control socket in a lab's folder."""


class Conversation:
    """One connection to the control socket.

    Its end, by a kill too, mends everything that was broken over it.
    """

    def __init__(self, home: Path) -> None:
        self._thing = f'lab "{home.name}"'
        try:
            folder = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise ProvisionError(self._thing, "is not there", str(error)) from error
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # Through the folder's descriptor: a socket's path has at most 107 bytes (unix(7)).
            self._socket.connect(f"/proc/self/fd/{folder}/{CONTROL}")
        except OSError as error:
            self._socket.close()
            step = "its supervisor does not answer"
            raise ProvisionError(self._thing, step, str(error)) from error
        finally:
            os.close(folder)
        self._stream = self._socket.makefile("rw")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def order(self, order: str, *, timeout_seconds: float = 10.0, **details: Any) -> Any:
        """Send an order and return its result.

        Raises :class:`ProvisionError` where it is refused, or where no answer comes.
        """
        try:
            self._socket.settimeout(timeout_seconds)
            self._stream.write(json.dumps({"order": order, **details}) + "\n")
            self._stream.flush()
            answer = json.loads(self._stream.readline() or "{}")
        except (OSError, ValueError) as error:
            raise ProvisionError(self._thing, f"order {order}", str(error)) from error
        if not answer.get("ok"):
            detail = str(answer.get("error") or "the supervisor is gone")
            raise ProvisionError(self._thing, f"order {order} refused", detail)
        return answer["result"]

    def close(self) -> None:
        """Hang up."""
        try:
            self._stream.close()
        except OSError:
            pass  # the other side hung up first
        self._socket.close()
