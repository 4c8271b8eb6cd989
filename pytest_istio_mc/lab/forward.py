"""Forwarder: ports of 127.0.0.1 that lead to the apiservers in the fabric."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Mapping

from .namespaces import enter_network


class Forwarder(threading.Thread):
    """Listens on the host and connects inside the fabric.

    - Its sockets are made before the thread enters the fabric; that is how they listen on the host.
    - ``ports`` holds the listening port of each target, by name.
    """

    def __init__(self, fabric_pid: int, targets: Mapping[str, tuple[str, int]]) -> None:
        super().__init__(name="forwarder", daemon=True)
        self._fabric_pid = fabric_pid
        self._listeners = {target: _listener() for target in targets.values()}
        self.ports = {
            name: int(self._listeners[target].getsockname()[1]) for name, target in targets.items()
        }

    def run(self) -> None:
        """Serve until the process ends."""
        enter_network(self._fabric_pid)
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        servers = [
            await asyncio.start_server(self._connection_to(target), sock=listener)
            for target, listener in self._listeners.items()
        ]
        await asyncio.gather(*(server.serve_forever() for server in servers))

    def _connection_to(
        self, target: tuple[str, int]
    ) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            opening = asyncio.open_connection(*target)
            try:
                far_reader, far_writer = await asyncio.wait_for(opening, 10)
            except (OSError, TimeoutError):
                writer.transport.abort()
                return
            await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
            far_writer.close()
            writer.close()

        return serve


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(256 * 1024):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
            return
    except OSError:
        pass
    writer.transport.abort()


def _listener() -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    listener.setblocking(False)
    return listener
