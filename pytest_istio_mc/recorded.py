"""What a snapshot records of secrets, credentials, istiods and proxies, as frozen values.

Public facts only: of private keys and tokens there are fingerprints, dates and claims.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from .dates import Seconds
from .errors import ObservationError
from .names import DataKey, Key, Label, Subdomain, Value
from .shapes import DEBUG, Shaped


@dataclass(frozen=True)
class Failure:
    """Something that could not be had: what, why, the HTTP status if any."""

    what: str
    error: str
    status: int = 0


@dataclass(frozen=True)
class TokenFacts:
    """The fingerprint and the claims of a JWT; times are Unix seconds.

    Empty for any other bearer token.
    """

    sha256: str
    issuer: str = ""
    subject: str = ""
    issued_at: Seconds | None = None
    expires_at: Seconds | None = None


@dataclass(frozen=True)
class KubeconfigFacts:
    """A kubeconfig in a remote secret.

    - ``server``: scheme, host and port.
    - ``proxied``: whether it names a proxy (``proxy-url``).
    - ``auth``: how it authenticates (``token``, ``certificate``, ``exec``, ``oidc``, …, ``none``).
    - ``options``: what istiod takes only where it is told to (``exec``, ``tokenFile``, …), in the
      words of its ``PILOT_INSECURE_MULTICLUSTER_KUBECONFIG_OPTIONS``.
    - ``problem``: why it does not parse.
    """

    server: str = ""
    ca_pem: str = ""
    tls_server_name: str = ""
    insecure: bool = False
    proxied: bool = False
    auth: str = ""
    options: tuple[str, ...] = ()
    token: TokenFacts | None = None
    problem: str = ""


@dataclass(frozen=True)
class SecretFacts:
    """The public facts of a Secret, by data key.

    - ``certificates``: PEM text.
    - ``public_keys``: fingerprints of the public halves of private keys.
    """

    namespace: Label
    name: Subdomain
    type: str = ""
    labels: Mapping[Key, Value] = field(default_factory=dict)
    annotations: Mapping[Key, str] = field(default_factory=dict)
    keys: tuple[DataKey, ...] = ()
    certificates: Mapping[DataKey, str] = field(default_factory=dict)
    public_keys: Mapping[DataKey, str] = field(default_factory=dict)
    problems: Mapping[DataKey, str] = field(default_factory=dict)
    kubeconfigs: Mapping[DataKey, KubeconfigFacts] = field(default_factory=dict)


@dataclass(frozen=True)
class Review:
    """Whether a credential may do something in all namespaces.

    ``need`` says who needs it, see ``collect.access``.
    """

    verb: str
    resource: str
    group: str = ""
    allowed: bool = False
    need: str = "always"

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}" + (f".{self.group}" if self.group else "")


OPEN = "open"
"""The way out of a pod that reaches its own cluster's API server."""


@dataclass(frozen=True)
class AccessFacts:
    """One kubeconfig of a remote secret, used from its holder's cluster.

    - ``key``: the data key, which is the cluster id.
    - The first of ``unprobed``, ``connect_error`` and ``tls_error`` that is set says how far it
      went.
    - Otherwise ``status`` is the HTTP status of the first request, and ``cluster_uid`` the uid of
      ``kube-system`` there.
    - ``way_out``: where no connection came about, what became of one from the same pod to its own
      cluster's API server: ``open``, or the error; empty where none was tried. A pod that reaches
      neither may be held by a policy which istiod is not under.
    - ``service_uid``: the uid of the Service ``default/kubernetes``, asked for where the credential
      may not read namespaces.
    """

    namespace: Label
    secret: Subdomain
    key: DataKey
    server: str = ""
    unprobed: str = ""
    connect_error: str = ""
    way_out: str = ""
    tls_error: str = ""
    status: int = 0
    message: str = ""
    seconds: Seconds = 0.0
    cluster_uid: str = ""
    service_uid: str = ""
    reviews: tuple[Review, ...] = ()


@dataclass(frozen=True)
class EndpointFacts:
    """A TLS handshake of a remote cluster's pod with its istiod.

    - ``unprobed``: why none was tried.
    - ``verified``: whether the certificate leads to the root that the cluster trusts.
    """

    address: str
    port: int
    unprobed: str = ""
    connected: bool = False
    completed: bool = False
    verified: bool = False
    error: str = ""


@dataclass(frozen=True)
class IstiodFacts:
    """One istiod replica.

    - ``debug``: its debug endpoints by name, reduced.
    - ``metrics``: the few samples that matter.
    """

    pod: Subdomain
    ready: bool = True
    version: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    debug: Annotated[Mapping[str, Any], Shaped(DEBUG)] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()

    def debugged(self, endpoint: str) -> Any:
        """The answer of ``/debug/<endpoint>``; :class:`ObservationError` where there was none."""
        if endpoint in self.debug:
            return self.debug[endpoint]
        reasons = (failure.error for failure in self.failures if failure.what == endpoint)
        step = f"/debug/{endpoint} could not be read"
        raise ObservationError(f"istiod {self.pod}", step, next(reasons, "was not recorded"))

    @property
    def clusters(self) -> Mapping[str, str]:
        """The sync status of every *remote* cluster, by cluster id."""
        return {
            entry["id"]: entry.get("syncStatus", "")
            for entry in self.debugged("clusterz") or ()
            if entry.get("secretName")
        }

    @property
    def own_cluster(self) -> str:
        """The cluster id that this istiod gives to its own (configuration) cluster."""
        listed = self.debug.get("clusterz") or ()
        own = (entry["id"] for entry in listed if not entry.get("secretName"))
        return self.environment.get("CLUSTER_ID", "") or next(own, "")


@dataclass(frozen=True)
class ProxyEndpoint:
    """One endpoint in a proxy's EDS.

    ``cluster`` is the cluster id in its metadata; gateways of other networks have none.
    """

    address: str
    port: int
    health: str = "HEALTHY"
    region: str = ""
    zone: str = ""
    subzone: str = ""
    priority: int = 0
    weight: int = 0
    tls_mode: str = ""
    cluster: str = ""

    @property
    def locality(self) -> str:
        """Region, zone and subzone, as far as they are set, joined by slashes."""
        return "/".join(part for part in (self.region, self.zone, self.subzone) if part)


@dataclass(frozen=True)
class FilterChain:
    """One filter chain of a listener: the SNI names, the upstream cluster."""

    server_names: tuple[str, ...] = ()
    cluster: str = ""
    terminates_tls: bool = False


@dataclass(frozen=True)
class Outbound:
    """A proxy's handling of requests to one port of the probe service.

    - ``listener``: takes them; empty where none does.
    - ``targets``: Envoy clusters to which it leads them, or in words what happens instead.
    - ``tls``: whether it can use mutual TLS then, with the server name ``sni``.
    - ``names``: the SPIFFE ids that it takes; any, where there are none.
    """

    listener: str = ""
    targets: tuple[str, ...] = ()
    tls: bool = False
    sni: str = ""
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Inbound:
    """A proxy's handling of requests for one port of its workload.

    - ``known``: whether it has anything for that port.
    - ``tls`` and ``plaintext``: whether it takes them.
    - ``policies``: the authorisation policies that decide (``DENY istio-system/name``).
    - ``nobody``: those of them that allow no one.
    """

    known: bool = False
    tls: bool = False
    plaintext: bool = False
    policies: tuple[str, ...] = ()
    nobody: tuple[str, ...] = ()


@dataclass(frozen=True)
class ProxyFacts:
    """The configuration of one Envoy.

    - ``kind``: ``client``, ``server`` or ``east-west``.
    - ``metadata``: a part of its node metadata.
    - ``endpoints``: those of the probe service, by Envoy cluster.
    - ``chains``: the filter chains of an east-west gateway, by port.
    - ``outbound``, ``inbound``: by port of the probe service; empty where not recorded.
    """

    namespace: Label
    pod: Subdomain
    kind: str
    service_account: str = ""
    labels: Mapping[Key, Value] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    locality: str = ""
    version: str = ""
    clusters: tuple[str, ...] = ()
    endpoints: Mapping[str, tuple[ProxyEndpoint, ...]] = field(default_factory=dict)
    chains: Mapping[str, tuple[FilterChain, ...]] = field(default_factory=dict)
    listener_errors: Mapping[str, str] = field(default_factory=dict)
    outbound: Mapping[str, Outbound] = field(default_factory=dict)
    inbound: Mapping[str, Inbound] = field(default_factory=dict)
    certificate_chain: str = ""
    roots: str = ""
    failures: tuple[Failure, ...] = ()

    def require_dump(self) -> None:
        """:class:`ObservationError` where this proxy's configuration could not be read."""
        for failure in self.failures:
            step = f"{failure.what} could not be read"
            raise ObservationError(f"proxy {self.pod}.{self.namespace}", step, failure.error)
