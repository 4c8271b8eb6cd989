"""Traffic: what client pods can be asked to send, as observations."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar

from ..errors import MeshError
from ..eventually import Timeouts
from ..mesh import Mesh
from ..observations import (
    Answer,
    ClientCertificate,
    Connection,
    Ending,
    PeerCertificate,
    Plaintext,
    Protocol,
    Request,
    TlsHandshake,
)
from ..statistics import least_share, sample_size
from ..together import for_each
from . import manifests
from .sessions import Session, Sessions

if TYPE_CHECKING:
    from ..kube import Kube

S = TypeVar("S")
T = TypeVar("T")

AT_FIRST = 24
"""How many requests of a sample are sent at first; more where some instance has not answered."""

ISTIO_ALPN = ("istio-http/1.1", "istio")
"""What a sidecar names in its handshake, so that a PERMISSIVE port takes it for mutual TLS.

Istio, pilot/pkg/networking/util.
"""

_AT_ONCE = 16
_PORTS = {
    Protocol.HTTP: manifests.HTTP,
    Protocol.TCP: manifests.TCP,
    Protocol.HTTP2: manifests.HTTP2,
}


class Traffic:
    """Sends from the client pods of a mesh, and judges nothing.

    A context manager; any thread may use it.
    """

    def __init__(self, mesh: Mesh, sessions: Sessions, timeouts: Timeouts) -> None:
        self.mesh = mesh
        self.probes = mesh.require_probes()
        self.timeouts = timeouts
        self._sessions = sessions

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def give_up(self, why: MeshError) -> None:
        """The client pods will not come back: all that waits for them ends."""
        self._sessions.give_up(why)

    def close(self) -> None:
        """End the sessions in the client pods."""
        self._sessions.close()

    def ask(
        self, cluster: str, operation: Mapping[str, Any], *, timeout_seconds: float | None = None
    ) -> dict[str, Any]:
        """Have the client in ``cluster`` run an operation, and return its result.

        Raises :class:`ObservationError` where the client cannot be reached or does not understand.
        """
        asked = {"timeout": self.timeouts.request, **operation}
        rounds = math.ceil(int(asked.get("count", 1)) / max(1, int(asked.get("concurrency", 1))))
        # the channel is a request to the API server, besides the operation itself
        patience = float(asked["timeout"]) * rounds + self.timeouts.kube_request
        return self._sessions[cluster].ask(asked, timeout_seconds=timeout_seconds or patience)

    def host(self, service: str, namespace: str = "") -> str:
        """The name by which clients call a service, without a cluster's domain."""
        return f"{service}.{namespace or self.probes.namespace}"

    def sni(
        self, cluster: str, service: str, port: int, subset: str = "", namespace: str = ""
    ) -> str:
        """The server name by which a client's sidecar asks a gateway for a service.

        It is ``outbound_.<port>_.<subset>_.<host>``.
        """
        return f"outbound_.{port}_.{subset}_.{self.full_name(cluster, service, namespace)}"

    def full_name(self, cluster: str, service: str, namespace: str = "") -> str:
        """The name of a service as mesh-wide configuration spells it, with the domain."""
        domain = self._sessions[cluster].hello().get("domain", "cluster.local")
        return f"{self.host(service, namespace)}.svc.{domain}"

    def requests(
        self,
        source: str,
        host: str,
        port: int,
        protocol: Protocol = Protocol.HTTP,
        *,
        count: int = 1,
        concurrency: int = 1,
        keep_alive: bool = False,
        path: str = "/",
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float | None = None,
        address: str = "",
    ) -> tuple[Request, ...]:
        """Requests from the client in ``source`` through its sidecar, oldest first.

        - Every one is recorded, and none is repeated.
        - ``count`` requests, ``concurrency`` of them at a time. There are fewer where the client
          gave up, because several were not answered in time (``operations.MOST_TIMEOUTS``).
        - ``keep_alive``: on kept connections, else each on a new one.
        - ``path`` and ``headers`` are those of HTTP requests.
        - ``timeout_seconds`` is for each request; ``Timeouts.request`` where it is None.
        - ``address``: where to send them instead of to where ``host`` resolves to.
        """
        operation: dict[str, Any] = {"op": protocol.value, "host": host, "port": port}
        operation |= {"count": count, "concurrency": concurrency, "keep_alive": keep_alive}
        operation |= {"path": path, "headers": dict(headers or {}), "address": address}
        operation["timeout"] = timeout_seconds or self.timeouts.request
        pod = self.probes.client(source).name
        return tuple(
            Request(
                when=record["when"],
                source=source,
                source_pod=pod,
                host=host,
                port=port,
                protocol=protocol,
                ending=Ending(record["ending"]),
                status=record["status"],
                latency_seconds=record["seconds"],
                new_connection=record["new"],
                answer=_answer(record),
                error=record["error"] or record.get("body", ""),
            )
            for record in self.ask(source, operation)["requests"]
        )

    def resolve(self, source: str, name: str) -> tuple[str, ...]:
        """The addresses that a name has in a client pod, if any."""
        return tuple(self.ask(source, {"op": "dns", "name": name})["addresses"])

    def reach(
        self, protocol: Protocol = Protocol.HTTP, *, timeout_seconds: float | None = None
    ) -> tuple[Request, ...]:
        """Requests from every cluster's client to the probe service.

        Each client sends until every cluster has answered it, but no more than it takes to see
        every cluster (``sample_size``).
        """
        clusters = [cluster.name for cluster in self.mesh.spec.data_planes]
        number = sample_size(least_share(self.mesh.spec))
        target = (self.host(self.probes.service), _PORTS[protocol], protocol)
        # several at a time, so that clusters that swallow requests do not hold up the rest
        ask = partial(self.requests, concurrency=4, timeout_seconds=timeout_seconds)

        def send(source: str) -> tuple[Request, ...]:
            sent: tuple[Request, ...] = ()
            missing = set(clusters)
            while len(sent) < number and missing:
                some = ask(source, *target, count=min(AT_FIRST, number - len(sent)))
                missing -= {request.answer.cluster for request in some if request.answer}
                sent += some
            return sent

        sent = self.from_each(clusters, send)
        return tuple(request for requests in sent for request in requests)

    def reach_instances(self, *, timeout_seconds: float | None = None) -> tuple[Request, ...]:
        """HTTP requests from every cluster's client to the probe service.

        Where several clusters are behind one gateway, TCP connections as well: a gateway spreads
        connections. Proxies open few of them for HTTP and keep these, so that all may lead to one
        cluster by chance.
        """
        sent = self.reach(timeout_seconds=timeout_seconds)
        if not self.mesh.spec.several_behind_a_gateway:
            return sent
        return sent + self.reach(Protocol.TCP, timeout_seconds=timeout_seconds)

    def tls(
        self,
        source: str,
        address: str,
        port: int,
        *,
        sni: str,
        certificate: ClientCertificate = ClientCertificate.MESH,
        foreign: Mapping[str, str] | None = None,
        alpn: Sequence[str] = ISTIO_ALPN,
        host: str = "",
    ) -> TlsHandshake:
        """A TLS handshake of the client in ``source``, past its sidecar.

        - ``sni`` is the server name that it asks for; none where it is empty.
        - ``certificate`` is what it shows; ``foreign`` = {cert_pem, key_pem} goes with
          ``ClientCertificate.FOREIGN``.
        - A GET for ``host`` follows inside the connection, if one is named.
        """
        shown = {ClientCertificate.MESH: "mesh", ClientCertificate.FOREIGN: foreign}
        operation = {"op": "tls", "address": address, "port": port, "sni": sni, "alpn": list(alpn)}
        operation |= {"certificate": shown.get(certificate), "ca_pem": "mesh"}
        operation["request"] = {"host": host} if host else None
        result = self.ask(source, operation, timeout_seconds=3 * self.timeouts.request)
        return TlsHandshake(
            source=source,
            address=address,
            port=port,
            sni=sni,
            certificate=certificate,
            ending=Ending(result["ending"]),
            connected=result["connected"],
            completed=result["completed"],
            verified=result["verified"],
            verify_error=result["verify_error"],
            version=result["version"],
            alpn=result["alpn"],
            peer=peer_certificate(result["peer"]),
            status=result["status"],
            answer=_answer(result),
            error=result["error"] or result.get("body", ""),
            seconds=result["seconds"],
        )

    def plaintext(self, source: str, address: str, port: int, host: str) -> Plaintext:
        """An HTTP request in plaintext past the sidecar."""
        operation = {"op": "plaintext", "address": address, "port": port, "host": host}
        result = self.ask(source, operation)
        return Plaintext(
            source=source,
            address=address,
            port=port,
            ending=Ending(result["ending"]),
            connected=result["connected"],
            received=result["received"],
            answer=_answer(result),
            error=result["error"],
            seconds=result["seconds"],
        )

    def connect(
        self, source: str, address: str, port: int, *, timeout_seconds: float | None = None
    ) -> Connection:
        """A TCP connection past the sidecar."""
        operation = {"op": "connect", "address": address, "port": port}
        operation["timeout"] = timeout_seconds or self.timeouts.request
        result = self.ask(source, operation)
        ending, error = Ending(result["ending"]), result["error"]
        return Connection(source, address, port, ending, error, result["seconds"])

    def from_each(self, items: Sequence[S], send: Callable[[S], T]) -> list[T]:
        """``send`` for every item, many at the same time; results in order."""
        return for_each(send, items, _AT_ONCE)


def open_traffic(mesh: Mesh, kubes: Mapping[str, Kube], timeouts: Timeouts) -> Traffic:
    """Traffic from a mesh's client pods; first use opens a session into each."""
    probes = mesh.require_probes()
    sessions = {}
    for pod in probes.pods:
        if pod.role == "client":
            kube = kubes[pod.cluster]
            sessions[pod.cluster] = _session(kube, pod.cluster, probes.namespace, pod.name)
    return Traffic(mesh, Sessions(sessions), timeouts)


def peer_certificate(chain: Sequence[str]) -> PeerCertificate | None:
    """The public facts of a PEM chain, leaf first; None if empty."""
    if not chain:
        return None
    from ..certificates import facts

    leaf = facts(chain[0])
    return PeerCertificate(
        uris=leaf.spiffe_ids,
        names=leaf.names,
        subject=leaf.subject,
        issuer=leaf.issuer,
        sha256=leaf.sha256,
        not_after=leaf.not_after.isoformat(),
        chain_length=len(chain),
    )


def _session(kube: Kube, cluster: str, namespace: str, pod: str) -> Session:
    command = [*manifests.AGENT, "session"]
    open_exec = partial(kube.open_exec, namespace, pod, manifests.CONTAINER, command)
    return Session(f'cluster "{cluster}": pod {namespace}/{pod}', open_exec)


def _answer(record: Mapping[str, Any]) -> Answer | None:
    return Answer.from_probe(record["answer"]) if record.get("answer") else None
