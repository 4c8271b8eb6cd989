"""Traffic: what the client pods can be asked to send, as methods that return observations and judge nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from ..errors import MeshError, ObservationError
from ..eventually import Timeouts
from ..mesh import Mesh, Probes
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
from . import manifests
from .sessions import Session, Sessions

if TYPE_CHECKING:
    from ..kube import Kube


T = TypeVar("T")


S = TypeVar("S")


AT_FIRST = 24
"""How many requests of a sample are sent at first; more only where some instance has not answered yet."""


ISTIO_ALPN = ("istio-http/1.1", "istio")
"""What a sidecar names in its handshake, so that a PERMISSIVE port takes it for mutual TLS (Istio, pilot/pkg/networking/util)."""


class Traffic:
    """Sends from the client pods of a mesh. A context manager; any thread may use it."""

    def __init__(self, mesh: Mesh, sessions: Sessions, timeouts: Timeouts) -> None:
        if mesh.probes is None:
            raise ObservationError("traffic", "needs probe workloads", "the mesh has none")
        self.mesh = mesh
        self.probes: Probes = mesh.probes
        self.timeouts = timeouts
        self._sessions = sessions

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def give_up(self, why: MeshError) -> None:
        """The client pods will not come back: what waits for them ends."""
        self._sessions.give_up(why)

    def close(self) -> None:
        """End the sessions in the client pods."""
        self._sessions.close()

    def ask(
        self, cluster: str, operation: Mapping[str, Any], *, timeout_seconds: float | None = None
    ) -> dict[str, Any]:
        """Have the client in ``cluster`` run an operation of the agent; its result as it is.

        Raises :class:`ObservationError` where the client cannot be reached or does not understand.
        """
        rounds = math.ceil(
            int(operation.get("count", 1)) / max(1, int(operation.get("concurrency", 1)))
        )
        # the channel is a request to the API server, whatever the operation takes
        patience = (
            float(operation.get("timeout", self.timeouts.request)) * rounds
            + self.timeouts.kube_request
        )
        return self._sessions[cluster].ask(
            {"timeout": self.timeouts.request, **operation},
            timeout_seconds=timeout_seconds or patience,
        )

    def host(self, service: str, namespace: str = "") -> str:
        """The name by which clients call a service, short enough to be right whatever the cluster's domain."""
        return f"{service}.{namespace or self.probes.namespace}"

    def sni(
        self, cluster: str, service: str, port: int, subset: str = "", namespace: str = ""
    ) -> str:
        """The server name with which a sidecar asks a gateway for a service (``outbound_.<port>_.<subset>_.<host>``)."""
        return f"outbound_.{port}_.{subset}_.{self.full_name(cluster, service, namespace)}"

    def full_name(self, cluster: str, service: str, namespace: str = "") -> str:
        """The name of a service with the domain of that cluster, as configuration of the whole mesh has to spell it."""
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
        """Requests from the client in ``source`` through its sidecar, every one recorded, none repeated; oldest first.

        With an ``address`` they are sent there instead of to where ``host`` resolves to. They are fewer than ``count`` where several
        were not answered in time, so that the client gave up (``operations.MOST_TIMEOUTS``).
        """
        operation: dict[str, Any] = {
            "op": protocol.value,
            "host": host,
            "port": port,
            "count": count,
            "concurrency": concurrency,
        }
        operation |= {
            "keep_alive": keep_alive,
            "path": path,
            "headers": dict(headers or {}),
            "address": address,
        }
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
        """The addresses that a name has for a program in the client pod of ``source``; none where it does not resolve."""
        return tuple(self.ask(source, {"op": "dns", "name": name})["addresses"])

    def reach(
        self, protocol: Protocol = Protocol.HTTP, *, timeout_seconds: float | None = None
    ) -> tuple[Request, ...]:
        """Requests from every cluster's client to the probe service: until every cluster has answered it, or as many as it takes to see
        every cluster (``sample_size``)."""
        clusters = [cluster.name for cluster in self.mesh.spec.data_planes]
        port = {
            Protocol.HTTP: manifests.HTTP,
            Protocol.TCP: manifests.TCP,
            Protocol.HTTP2: manifests.HTTP2,
        }[protocol]
        number = sample_size(least_share(self.mesh.spec))
        host = self.host(self.probes.service)

        def send(source: str) -> tuple[Request, ...]:
            sent: tuple[Request, ...] = ()
            while len(sent) < number and not {
                request.answer.cluster for request in sent if request.answer
            }.issuperset(clusters):
                # a few at a time, so that clusters that swallow requests do not make the rest wait for each of them in turn
                some = min(AT_FIRST, number - len(sent))
                sent += self.requests(
                    source,
                    host,
                    port,
                    protocol,
                    count=some,
                    concurrency=4,
                    timeout_seconds=timeout_seconds,
                )
            return sent

        sent = self.from_each(clusters, send)
        return tuple(request for requests in sent for request in requests)

    def reach_instances(self, *, timeout_seconds: float | None = None) -> tuple[Request, ...]:
        """HTTP requests from every cluster's client to the probe service. Where several clusters are behind one gateway, TCP connections
        as well: a gateway spreads connections, of which proxies open few for HTTP and keep them, so that by chance all may lead to one of
        these clusters."""
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
        """A TLS handshake past the sidecar, then a GET for ``host`` if one is named. ``foreign`` = {cert_pem, key_pem} goes with
        ``ClientCertificate.FOREIGN``."""
        shown: Any = {
            ClientCertificate.MESH: "mesh",
            ClientCertificate.FOREIGN: foreign,
            ClientCertificate.NONE: None,
        }[certificate]
        operation = {
            "op": "tls",
            "address": address,
            "port": port,
            "sni": sni,
            "alpn": list(alpn),
            "certificate": shown,
        }
        operation |= {"ca_pem": "mesh", "request": {"host": host} if host else None}
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
        data = f"GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"
        result = self.ask(source, {"op": "plain", "address": address, "port": port, "data": data})
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
        operation = {
            "op": "connect",
            "address": address,
            "port": port,
            "timeout": timeout_seconds or self.timeouts.request,
        }
        result = self.ask(source, operation)
        return Connection(
            source, address, port, Ending(result["ending"]), result["error"], result["seconds"]
        )

    def from_each(self, items: Sequence[S], send: Callable[[S], T]) -> list[T]:
        """``send`` for every item at the same time; results in order."""
        with ThreadPoolExecutor(
            max_workers=max(1, min(16, len(items))), thread_name_prefix="traffic"
        ) as pool:
            return list(pool.map(send, items))


def open_traffic(mesh: Mesh, kubes: Mapping[str, Kube], timeouts: Timeouts) -> Traffic:
    """Traffic from the client pods of a mesh; a session is opened into each when it is first needed."""
    if mesh.probes is None:
        raise ObservationError("traffic", "needs probe workloads", "the mesh has none")
    namespace = mesh.probes.namespace
    sessions = {}
    for pod in mesh.probes.pods:
        if pod.role == "client":
            sessions[pod.cluster] = _session(kubes[pod.cluster], pod.cluster, namespace, pod.name)
    return Traffic(mesh, Sessions(sessions), timeouts)


def peer_certificate(chain: Sequence[str]) -> PeerCertificate | None:
    """The public facts of a PEM chain, leaf first; None for an empty one."""
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
    return Session(
        f'cluster "{cluster}": pod {namespace}/{pod}',
        lambda: kube.open_exec(namespace, pod, manifests.CONTAINER, command),
    )


def _answer(record: Mapping[str, Any]) -> Answer | None:
    return Answer.from_probe(record["answer"]) if record.get("answer") else None
