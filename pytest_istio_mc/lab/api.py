"""AdminApi: the few requests that a lab itself makes to its apiservers, with nothing but the standard library.

The supervisor stays for as long as the mesh lives; it must be small and start at once, which the full client is not.
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
    """One cluster's apiserver at a 127.0.0.1 port, with the administrator's certificate."""

    def __init__(self, name: str, port: int, home: Path) -> None:
        self.name = name
        self._port = port
        self._context = ssl.create_default_context(cafile=str(home / "ca.crt"))
        self._context.load_cert_chain(home / "admin.crt", home / "admin.key")

    def request(
        self, method: str, path: str, body: object = None, content_type: str = "application/json"
    ) -> Any:
        """One request, its JSON answer (text where it is none); :class:`KubeError` with the status where it is refused."""
        connection = self._connect(10)
        try:
            connection.request(
                method,
                path,
                body=None if body is None else json.dumps(body),
                headers={"Content-Type": content_type, "Accept": "application/json"},
            )
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            raise KubeError(f'cluster "{self.name}"', f"{method} {path}", str(error)) from error
        finally:
            connection.close()
        if answer.status >= 300:
            raise KubeError(
                f'cluster "{self.name}"', f"{method} {path}", text[:300], status=answer.status
            )
        try:
            return json.loads(text)
        except ValueError:
            return text

    def apply(self, path: str, manifest: dict[str, Any]) -> None:
        """Server-side apply of one object at its own path."""
        self.request(
            "PATCH",
            f"{path}?fieldManager=istio-mc-lab&force=true",
            manifest,
            "application/apply-patch+yaml",
        )

    def watch(self, path: str, ended: threading.Event) -> Iterator[dict[str, Any]]:
        """Objects of a list as they are and as they change, until the connection breaks or ``ended`` is set."""
        connection = self._connect(None)
        try:
            connection.request(
                "GET", f"{path}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
            )
            answer = connection.getresponse()
            if answer.status != 200:
                raise KubeError(f'cluster "{self.name}"', f"watch {path}", status=answer.status)
            while not ended.is_set() and (line := answer.readline()):
                event = json.loads(line)
                if event["type"] in ("ADDED", "MODIFIED"):
                    yield event["object"]
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise KubeError(f'cluster "{self.name}"', f"watch {path}", str(error)) from error
        finally:
            connection.close()

    def _connect(self, timeout_seconds: float | None) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(
            "127.0.0.1", self._port, context=self._context, timeout=timeout_seconds
        )
