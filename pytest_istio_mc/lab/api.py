"""AdminApi: the few requests that a lab makes to its own apiservers.

It uses only the standard library: the supervisor starts at once and stays small for as long as the
mesh lives, which the full client does not allow.
"""

from __future__ import annotations

import http.client
import json
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import KubeError


class AdminApi:
    """One cluster's apiserver at a port of 127.0.0.1, with the administrator's certificate."""

    def __init__(self, name: str, port: int, home: Path) -> None:
        self.name = name
        self._thing = f'cluster "{name}"'
        self._port = port
        self._context = ssl.create_default_context(cafile=str(home / "ca.crt"))
        self._context.load_cert_chain(home / "admin.crt", home / "admin.key")

    def request(
        self, method: str, path: str, body: object = None, content_type: str = "application/json"
    ) -> Any:
        """Make one request and return its JSON answer, or else its text.

        A refusal raises :class:`KubeError` with the status.
        """
        connection = self._connect(10)
        step = f"{method} {path}"
        content = None if body is None else json.dumps(body)
        headers = {"Content-Type": content_type, "Accept": "application/json"}
        try:
            connection.request(method, path, body=content, headers=headers)
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            raise KubeError(self._thing, step, str(error)) from error
        finally:
            connection.close()
        if answer.status >= 300:
            raise KubeError(self._thing, step, text[:300], status=answer.status)
        try:
            return json.loads(text)
        except ValueError:
            return text

    def apply(self, path: str, manifest: dict[str, Any]) -> None:
        """Apply one object at its own path (server-side apply)."""
        path = f"{path}?fieldManager=istio-mc-lab&force=true"
        self.request("PATCH", path, manifest, "application/apply-patch+yaml")

    def watch(self, path: str, ended: threading.Event) -> Iterator[dict[str, Any]]:
        """The objects of a list as they are, then as they change.

        It ends when the connection breaks or ``ended`` is set.
        """
        connection = self._connect(None)
        query = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
        try:
            connection.request("GET", f"{path}?{query}")
            answer = connection.getresponse()
            if answer.status != 200:
                raise KubeError(self._thing, f"watch {path}", status=answer.status)
            while not ended.is_set() and (line := answer.readline()):
                event = json.loads(line)
                if event["type"] in ("ADDED", "MODIFIED"):
                    yield event["object"]
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise KubeError(self._thing, f"watch {path}", str(error)) from error
        finally:
            connection.close()

    def _connect(self, timeout_seconds: float | None) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(
            "127.0.0.1", self._port, context=self._context, timeout=timeout_seconds
        )
