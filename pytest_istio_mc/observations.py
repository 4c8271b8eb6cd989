"""Observations of probes: who asked whom, who answered, what failed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any


class Protocol(Enum):
    """The protocol of a request; the words are the probe's."""

    HTTP = "http"
    HTTP2 = "http2"
    TCP = "tcp"


class Ending(Enum):
    """The end of an attempt for its maker; the words are the probe's."""

    ANSWERED = "answered"
    REFUSED = "refused"  # the connection was refused (RST to the SYN)
    RESET = "reset"  # an established connection was reset
    CLOSED = "closed"  # the peer closed without an answer
    ALERT = "alert"  # the peer sent a TLS alert
    NOT_TLS = "not-tls"  # the peer answered a handshake with something else
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"  # no route to the address
    UNRESOLVED = "unresolved"  # the name has no address
    PROTOCOL = "protocol"  # the answer breaks its protocol
    UNVERIFIED = "unverified"  # the peer's certificate does not lead to the given roots
    SKIPPED = "skipped"  # due, but not sent, because too many before it were unanswered


class ClientCertificate(Enum):
    """The certificate that a raw TLS client shows."""

    MESH = "mesh"  # its own of the mesh
    FOREIGN = "foreign"  # one with the same name from a foreign root
    NONE = "none"


@dataclass(frozen=True)
class Answer:
    """The pod that answered, in its own words.

    - ``caller``: the SPIFFE URI that its sidecar took from the client certificate.
    - ``server``: the SPIFFE URI that its sidecar showed.
    - Both are empty where it saw no mutual TLS, or over TCP.
    """

    cluster: str
    namespace: str
    pod: str
    version: str
    role: str
    port: int
    protocol: str
    caller: str = ""
    server: str = ""

    @classmethod
    def from_probe(cls, document: Mapping[str, Any]) -> Answer:
        """The answer that a probe's server wrote."""
        last = forwarded_certificates(str(document.get("xfcc", "")))[-1:]
        keys = ("cluster", "namespace", "pod", "version", "role", "protocol")
        named = {key: str(document.get(key, "")) for key in keys}
        identities = last[0] if last else {}
        return cls(
            **named,
            port=int(document.get("port", 0)),
            caller=identities.get("URI", ""),
            server=identities.get("By", ""),
        )


@dataclass(frozen=True)
class Request:
    """One request, and its answer or failure.

    - ``when``: seconds since the epoch.
    - ``source``: the cluster whose client sent it.
    - ``status``: 0 for TCP and where no answer came.
    - ``error``: the failure, or the body of an answer that no probe gave (Envoy explains itself
      there).
    - ``flags``: Envoy's response flags where an access log gave them.
    """

    when: float
    source: str
    source_pod: str
    host: str
    port: int
    protocol: Protocol
    ending: Ending
    status: int = 0
    latency_seconds: float = 0.0
    new_connection: bool = True
    answer: Answer | None = None
    error: str = ""
    flags: str = ""

    @property
    def succeeded(self) -> bool:
        """Whether a probe answered, with status 200 where the protocol has one."""
        return self.answer is not None and self.status in (0, 200)

    @property
    def failure(self) -> str:
        """The failure in a few words; empty for a request that succeeded."""
        if self.succeeded:
            return ""
        return failure_text(self.ending, self.status, " ".join(self.error.split())[:240])


@dataclass(frozen=True)
class PeerCertificate:
    """The certificate that the other side of a handshake showed, as public facts.

    ``uris`` are its SPIFFE URIs, ``names`` all its names.
    """

    uris: tuple[str, ...]
    names: tuple[str, ...]
    subject: str
    issuer: str
    sha256: str
    not_after: str
    chain_length: int


@dataclass(frozen=True)
class TlsHandshake:
    """A raw TLS attempt past the sidecar, perhaps with a request inside.

    - ``completed``: the client's view; a TLS 1.3 server refuses a client certificate after it.
    - ``verified``: whether the peer's chain led to the mesh's root; ``verify_error``: why not.
    """

    source: str
    address: str
    port: int
    sni: str
    certificate: ClientCertificate
    ending: Ending
    connected: bool = False
    completed: bool = False
    verified: bool = False
    verify_error: str = ""
    version: str = ""
    alpn: str = ""
    peer: PeerCertificate | None = None
    status: int = 0
    answer: Answer | None = None
    error: str = ""
    seconds: float = 0.0

    def __str__(self) -> str:
        name = f"SNI {self.sni}" if self.sni else "no SNI"
        shown = f"{name} and {_CERTIFICATES[self.certificate]}"
        came = _outcome(self.ending, self.answer, self.status, self.error)
        return f"TLS from {self.source} to {self.address}:{self.port} with {shown}: {came}"


@dataclass(frozen=True)
class Plaintext:
    """Bytes without TLS, past the client's sidecar, and the bytes that came back.

    ``received`` ends where the other side closed or fell silent.
    """

    source: str
    address: str
    port: int
    ending: Ending
    connected: bool = False
    received: str = ""
    answer: Answer | None = None
    error: str = ""
    seconds: float = 0.0

    def __str__(self) -> str:
        came = _outcome(self.ending, self.answer, 0, self.error or repr(self.received[:80]))
        return f"plaintext from {self.source} to {self.address}:{self.port}: {came}"


@dataclass(frozen=True)
class Connection:
    """A TCP connection past the sidecar; ``ANSWERED`` where it opened."""

    source: str
    address: str
    port: int
    ending: Ending
    error: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class GatewayAddress:
    """An address by which other networks reach a network, perhaps a host name.

    - ``service``: namespace and name of the Service behind it; empty where none is known.
    - ``whole_network``: it leads to all clusters of the network, and ``cluster`` is one of them.
    - ``resolved``: the IP addresses for which a host name stands, as far as they are known.
    """

    cluster: str
    network: str
    service: str
    address: str
    port: int
    whole_network: bool = False
    resolved: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What to call the gateway: its Service, or its address."""
        return self.service or self.address


@dataclass(frozen=True)
class Path:
    """The way of raw connections from a client to a cluster's servers.

    It leads through an east-west ``gateway``, or straight to a pod.
    """

    source: str
    target: str
    address: str
    port: int
    gateway: GatewayAddress | None = None

    def __str__(self) -> str:
        way = f"gateway {self.gateway.name} of {self.gateway.network}" if self.gateway else "pod"
        return f"{self.source} to {self.target} ({way} {self.address}:{self.port})"


@dataclass(frozen=True)
class Trial:
    """Attempts that must not get through, and their twins, which must.

    - A twin goes the same way with the right credentials.
    - Without a twin that got through, attempts that did not prove nothing.
    - ``path`` is None where no way is known.
    """

    source: str
    target: str
    path: Path | None
    forbidden: tuple[TlsHandshake | Plaintext, ...] = ()
    twins: tuple[TlsHandshake | Plaintext, ...] = ()

    @property
    def pair(self) -> str:
        """The name of the pair of clusters in reports."""
        return f"{self.source} to {self.target}"

    @property
    def twin(self) -> TlsHandshake | Plaintext | None:
        """The first twin that the target cluster answered."""
        for twin in self.twins:
            if twin.answer is not None and twin.answer.cluster == self.target:
                return twin
        return None


@dataclass(frozen=True)
class NamedCall:
    """A handshake with a gateway that names a service or subset.

    Sidecars do so, too. A request goes inside it.
    """

    gateway: GatewayAddress
    service: str
    port: int
    subset: str
    handshake: TlsHandshake


_CERTIFICATES = {
    ClientCertificate.MESH: "its mesh certificate",
    ClientCertificate.FOREIGN: "a certificate of the same name from a foreign root",
    ClientCertificate.NONE: "no certificate",
}


def failure_text(ending: Ending, status: int, text: str) -> str:
    return f"{status} {text}".strip() if ending is Ending.ANSWERED else f"{ending.value}: {text}"


def _outcome(ending: Ending, answer: Answer | None, status: int, error: str) -> str:
    if answer is not None:
        return f"answered by {answer.pod} in {answer.cluster}, port {answer.port}"
    if ending is Ending.ANSWERED:
        return f"completed, status {status}" if status else "completed"
    return f"{ending.value} ({' '.join(error.split())[:160]})"


def forwarded_certificates(header: str) -> tuple[dict[str, str], ...]:
    """The elements of an ``x-forwarded-client-cert`` header, oldest first.

    - See Envoy, "HTTP header manipulation".
    - Istio's inbound listener appends: only the last element is the word of the workload's own
      sidecar.
    """
    elements: list[dict[str, str]] = []
    for element in re.findall(r'(?:[^,"]|"(?:\\.|[^"\\])*")+', header):
        pairs = re.findall(r'\s*([A-Za-z]+)=("(?:\\.|[^"\\])*"|[^;]*);?', element)
        elements.append({key: value.strip('"') for key, value in pairs})
    return tuple(elements)
