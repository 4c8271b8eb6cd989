"""Kube: everything that one cluster's Kubernetes API can do for us."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import MeshError
from . import apply as applying
from . import availability
from .confinement import Confinement
from .exec import ExecSession
from .objects import Objects
from .portforward import MOST_BYTES, PodHttp


class Kube(Objects):
    """One cluster: its objects, and the processes in its pods."""

    def __init__(
        self, name: str, kubeconfig: str, context: str, *, request_timeout_seconds: float = 30.0
    ) -> None:
        super().__init__(name, kubeconfig, context, request_timeout_seconds=request_timeout_seconds)
        self._timeout_seconds = request_timeout_seconds
        self._pod_http = PodHttp(self._connection)

    def apply(
        self,
        *manifests: Mapping[str, Any],
        namespace: str | None = None,
        field_manager: str = "istio-mc",
        patience_seconds: float = applying.PATIENCE_SECONDS,
    ) -> None:
        """Server-side apply, side by side where the order does not matter.

        - Fields of other managers are taken over.
        - CRDs and namespaces go first, workloads last.
        - ``namespace`` is for manifests that name none.
        - Only answers that say "not ready yet" (a fresh CRD, an admission webhook whose server is
          starting) are tried again, for at most ``patience_seconds``.
        - Returns when all is accepted and new kinds are served.
        """
        applying.apply(self, manifests, namespace or "default", field_manager, patience_seconds)

    def wait_available(
        self, kind_and_name: Sequence[tuple[str, str]], namespace: str, *, within_seconds: float
    ) -> None:
        """Wait until Deployments have rolled out and are available.

        :class:`NotInTime` says which pod waits for what.
        """
        availability.wait_available(self, kind_and_name, namespace, within_seconds)

    def exec(
        self,
        namespace: str,
        pod: str,
        container: str,
        command: Sequence[str],
        *,
        stdin: str = "",
        timeout_seconds: float = 30,
    ) -> str:
        """Run a command in a container to its end; its stdout.

        Where it fails, the error has the exit code and its stderr.
        """
        session = ExecSession(
            self._connection,
            namespace,
            pod,
            container,
            command,
            timeout_seconds=min(timeout_seconds, self._timeout_seconds),
            stdin=bool(stdin),
        )
        try:
            if stdin:
                session.write(stdin.encode())
                session.end_of_input()
            return session.finish(timeout_seconds).decode(errors="replace")
        finally:
            session.close()

    def open_exec(
        self, namespace: str, pod: str, container: str, command: Sequence[str]
    ) -> ExecSession:
        """Start a process in a container, to talk to it in lines."""
        wait = self._timeout_seconds
        return ExecSession(
            self._connection, namespace, pod, container, command, timeout_seconds=wait
        )

    def http_get(
        self,
        namespace: str,
        pod: str,
        port: int,
        path: str,
        *,
        timeout_seconds: float = 10,
        most_bytes: int = MOST_BYTES,
    ) -> bytes:
        """GET from a pod's own localhost, through port-forward.

        - ``timeout_seconds`` is the longest silence, and six times that the time for all of it.
        - An answer that is not 2xx raises, and one of more than ``most_bytes``, of which no more
          is read then.
        """
        return self._pod_http.get(namespace, pod, port, path, timeout_seconds, most_bytes)

    def confine(self, owns: Callable[[str], bool]) -> None:
        """Make every request raise :class:`NotAllowed` that changes anything elsewhere.

        ``owns`` says of a namespace whether it may be written to, and processes run in its pods.
        """
        self._connection.confinement = Confinement(owns)

    def give_up(self, why: MeshError) -> None:
        """Make every further request raise :class:`GivenUp`: the cluster will not come back.

        All that waits for it ends by that.
        """
        self._connection.give_up(why)

    def close(self) -> None:
        """Close kept connections. Exec sessions end with their own ``close``."""
        self._pod_http.close()
        self._connection.close()
