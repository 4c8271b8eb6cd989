"""Snapshot: everything that the static checks read of a mesh, as frozen values that are saved to and loaded from a folder.

It holds public facts only: of private keys and tokens it has fingerprints, dates and claims.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from .errors import ObservationError, UsageProblem
from .istio_names import EAST_WEST_PORT, NETWORK_LABEL
from .mesh import ProbePod, Probes
from .plain import from_plain, to_plain
from .redact import scrub
from .spec import API_VERSION, Locality, MeshSpec

Object = Mapping[str, Any]
"""A Kubernetes object as plain JSON, trimmed to the fields that checks read."""


@dataclass(frozen=True)
class Failure:
    """Something that could not be had: what, why, and the HTTP status where there was one."""

    what: str
    error: str
    status: int = 0


@dataclass(frozen=True)
class TokenFacts:
    """What may be known of a bearer token: its fingerprint and, for a JWT, its claims. Times are Unix seconds."""

    sha256: str
    issuer: str = ""
    subject: str = ""
    issued_at: float | None = None
    expires_at: float | None = None


@dataclass(frozen=True)
class KubeconfigFacts:
    """A kubeconfig in a remote secret. ``auth`` is how it authenticates (``token``, ``certificate``, ``exec``, …, ``none``);
    ``problem`` says why it does not parse."""

    server: str = ""
    ca_pem: str = ""
    tls_server_name: str = ""
    insecure: bool = False
    auth: str = ""
    token: TokenFacts | None = None
    problem: str = ""


@dataclass(frozen=True)
class SecretFacts:
    """The public facts of a Secret: PEM certificates by key, fingerprints of the public halves of private keys, kubeconfigs."""

    namespace: str
    name: str
    type: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    keys: tuple[str, ...] = ()
    certificates: Mapping[str, str] = field(default_factory=dict)
    public_keys: Mapping[str, str] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)
    kubeconfigs: Mapping[str, KubeconfigFacts] = field(default_factory=dict)


@dataclass(frozen=True)
class Review:
    """Whether a credential may do something in all namespaces. ``need`` says who needs it, see ``collect.access``."""

    verb: str
    resource: str
    group: str = ""
    allowed: bool = False
    need: str = "always"

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}" + (f".{self.group}" if self.group else "")


@dataclass(frozen=True)
class AccessFacts:
    """What came of using one kubeconfig of a remote secret from a pod in the cluster that holds it.

    ``key`` is the data key, so the cluster id. The first of ``unprobed``, ``connect_error`` and ``tls_error`` that is set says how
    far it went; otherwise ``status`` is the HTTP status of the first request and ``cluster_uid`` the uid of ``kube-system`` there.
    """

    namespace: str
    secret: str
    key: str
    server: str = ""
    unprobed: str = ""
    connect_error: str = ""
    tls_error: str = ""
    status: int = 0
    message: str = ""
    seconds: float = 0.0
    cluster_uid: str = ""
    reviews: tuple[Review, ...] = ()


@dataclass(frozen=True)
class EndpointFacts:
    """What came of a TLS handshake with an address at which a remote cluster looks for its istiod, from a pod of that cluster.

    ``unprobed`` says why none was tried; ``verified`` whether the certificate leads to the root that the cluster trusts.
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
    """One istiod replica. ``debug`` holds its debug endpoints by name, reduced; ``metrics`` the few samples that matter."""

    pod: str
    ready: bool = True
    version: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    debug: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()

    def debugged(self, endpoint: str) -> Any:
        """What ``/debug/<endpoint>`` said; :class:`ObservationError` where it could not be read."""
        if endpoint in self.debug:
            return self.debug[endpoint]
        reason = next(
            (failure.error for failure in self.failures if failure.what == endpoint),
            "was not recorded",
        )
        raise ObservationError(f"istiod {self.pod}", f"/debug/{endpoint} could not be read", reason)

    @property
    def clusters(self) -> Mapping[str, str]:
        """The sync status of every *remote* cluster that this replica manages, by cluster id."""
        return {
            entry["id"]: entry.get("syncStatus", "")
            for entry in self.debugged("clusterz") or ()
            if entry.get("secretName")
        }

    @property
    def own_cluster(self) -> str:
        """The cluster id that this istiod gives to its own (configuration) cluster."""
        return self.environment.get("CLUSTER_ID", "") or next(
            (
                entry["id"]
                for entry in self.debug.get("clusterz") or ()
                if not entry.get("secretName")
            ),
            "",
        )


@dataclass(frozen=True)
class ProxyEndpoint:
    """One endpoint in a proxy's EDS. ``cluster`` is the cluster id in its metadata; gateways of other networks have none."""

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
    """One filter chain of a listener: the SNI names that it matches and the upstream cluster that it leads to."""

    server_names: tuple[str, ...] = ()
    cluster: str = ""
    terminates_tls: bool = False


@dataclass(frozen=True)
class Outbound:
    """What a proxy does with its workload's requests to one port of the probe service.

    ``listener`` takes them (none if empty) and leads them to ``targets``: Envoy clusters, or in words what happens instead. ``tls``
    says whether it can use mutual TLS then, with the server name ``sni``, taking the SPIFFE ids ``names`` (any, if there are none).
    """

    listener: str = ""
    targets: tuple[str, ...] = ()
    tls: bool = False
    sni: str = ""
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Inbound:
    """What a proxy does with requests that come in for one port of its workload.

    ``known`` says whether it has anything for that port, ``tls`` and ``plaintext`` what it takes, ``policies`` which authorisation
    policies decide (``DENY istio-system/name``), and ``nobody`` which of these allow no one.
    """

    known: bool = False
    tls: bool = False
    plaintext: bool = False
    policies: tuple[str, ...] = ()
    nobody: tuple[str, ...] = ()


@dataclass(frozen=True)
class ProxyFacts:
    """What one Envoy holds. ``kind`` is ``client``, ``server`` or ``east-west``; ``metadata`` is a part of its node metadata.

    ``endpoints`` are those of the probe service, by Envoy cluster; ``chains`` the filter chains of an east-west gateway, by port.
    ``outbound`` and ``inbound`` are by port of the probe service, and empty where they were not recorded.
    """

    namespace: str
    pod: str
    kind: str
    service_account: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
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
            raise ObservationError(
                f"proxy {self.pod}.{self.namespace}",
                f"{failure.what} could not be read",
                failure.error,
            )


@dataclass(frozen=True)
class ClusterSnapshot:
    """One cluster: its Kubernetes objects by kind, and what its istiods, proxies and remote credentials say.

    ``control_plane`` is what its pods see of an istiod that runs elsewhere; empty where its own istiod serves it.
    """

    name: str
    server: str = ""
    version: str = ""
    api_groups: tuple[str, ...] = ()
    objects: Mapping[str, tuple[dict[str, Any], ...]] = field(default_factory=dict)
    secrets: tuple[SecretFacts, ...] = ()
    istiods: tuple[IstiodFacts, ...] = ()
    proxies: tuple[ProxyFacts, ...] = ()
    access: tuple[AccessFacts, ...] = ()
    control_plane: tuple[EndpointFacts, ...] = ()
    failures: tuple[Failure, ...] = ()

    def listed(self, kind: str, namespace: str | None = None) -> tuple[Object, ...]:
        """The objects of a kind, in a namespace or all; :class:`ObservationError` where they could not be listed."""
        self._require(f"list {kind}")
        found = self.objects.get(kind, ())
        return (
            found
            if namespace is None
            else tuple(item for item in found if namespace_of(item) == namespace)
        )

    def found(self, kind: str, name: str, namespace: str = "") -> Object | None:
        """The object of that kind and name, or None where there is none; :class:`ObservationError` where that is not known."""
        return next(
            (
                item
                for item in self.listed(kind)
                if name_of(item) == name and namespace_of(item) == namespace
            ),
            None,
        )

    def all_secrets(self) -> tuple[SecretFacts, ...]:
        """The facts of the secrets of the istio namespace and of all remote secrets; :class:`ObservationError` if unknown."""
        self._require("list Secret")
        return self.secrets

    def secret(self, namespace: str, name: str) -> SecretFacts | None:
        """The facts of one secret, or None where there is none."""
        return next(
            (
                item
                for item in self.all_secrets()
                if (item.namespace, item.name) == (namespace, name)
            ),
            None,
        )

    @property
    def uid(self) -> str:
        """What identifies this cluster: the uid of its ``kube-system`` namespace; empty where it could not be had."""
        return next(
            (
                item["metadata"].get("uid", "")
                for item in self.objects.get("Namespace", ())
                if name_of(item) == "kube-system"
            ),
            "",
        )

    @property
    def unreachable(self) -> str:
        """Why nothing at all could be read from this cluster's API server; empty where something could."""
        return next(
            (failure.error for failure in self.failures if failure.what == "reach the API server"),
            "",
        )

    def east_west_services(self) -> tuple[Object, ...]:
        """The Services that are, or are meant to be, east-west gateways."""
        return tuple(item for item in self.listed("Service") if is_east_west_service(item))

    def _require(self, what: str) -> None:
        for failure in self.failures:
            if failure.what in (what, "reach the API server"):
                status = f"HTTP {failure.status}: " if failure.status else ""
                raise ObservationError(
                    f'cluster "{self.name}"', f"could not {failure.what}", status + failure.error
                )


@dataclass(frozen=True)
class Snapshot:
    """A mesh at one moment. Checks over it never look at the clock: now is ``moment``."""

    spec: MeshSpec
    run_id: str
    recorded_at: str
    clusters: Mapping[str, ClusterSnapshot]
    probes: Probes | None = None

    @property
    def moment(self) -> datetime:
        """When the snapshot was recorded."""
        return datetime.fromisoformat(self.recorded_at)

    def __iter__(self) -> Iterator[ClusterSnapshot]:
        """The clusters in the order of the spec."""
        return (
            self.clusters[cluster.name] for cluster in self.spec if cluster.name in self.clusters
        )

    def require_probes(self) -> Probes:
        """The probe workloads; :class:`ObservationError` where the snapshot was recorded without any."""
        if self.probes is None:
            raise ObservationError(
                "snapshot", "recorded without probe workloads", "", advice="record it with probes"
            )
        return self.probes

    def save(self, folder: Path, *, compress: bool = False) -> None:
        """Write the snapshot as JSON files (``compress``: gzip) that hold no private key, token or kubeconfig."""
        probes = (
            None
            if self.probes is None
            else {**self.probes.__dict__, "pods": to_plain(self.probes.pods)}
        )
        head = {
            "apiVersion": API_VERSION,
            "kind": "Snapshot",
            "runId": self.run_id,
            "recordedAt": self.recorded_at,
            "spec": self.spec.to_dict(),
            "probes": probes,
        }
        _write(folder / "snapshot.json", head, compress)
        for cluster in self.clusters.values():
            home = folder / "clusters" / cluster.name
            _write(
                home / "cluster.json",
                to_plain(replace(cluster, objects={}, istiods=(), proxies=())),
                compress,
            )
            _write(home / "objects.json", to_plain(cluster.objects), compress)
            _write(home / "istiods.json", to_plain(cluster.istiods), compress)
            _write(home / "proxies.json", to_plain(cluster.proxies), compress)

    @classmethod
    def load(cls, folder: Path) -> Snapshot:
        """Read what :meth:`save` wrote; :class:`UsageProblem` where the folder is no snapshot of a known version."""
        head = _read(folder / "snapshot.json")
        if not isinstance(head, dict) or (head.get("apiVersion"), head.get("kind")) != (
            API_VERSION,
            "Snapshot",
        ):
            raise UsageProblem(
                f"snapshot {folder}",
                "is not a snapshot",
                f"expected kind Snapshot, apiVersion {API_VERSION}",
            )
        spec = MeshSpec.from_dict(head["spec"], str(folder / "snapshot.json"))
        probes = head.get("probes")
        if probes is not None:
            probes = Probes(
                **{**probes, "pods": tuple(from_plain(ProbePod, pod) for pod in probes["pods"])}
            )
        homes = [folder / "clusters" / cluster.name for cluster in spec]
        return cls(
            spec,
            head["runId"],
            head["recordedAt"],
            {home.name: _read_cluster(home) for home in homes},
            probes,
        )


def name_of(item: Object) -> str:
    """The name of a Kubernetes object."""
    return str(item["metadata"]["name"])


def namespace_of(item: Object) -> str:
    """The namespace of a Kubernetes object, empty for cluster-scoped ones."""
    return str(item["metadata"].get("namespace", ""))


def labels_of(item: Object) -> Mapping[str, str]:
    """The labels of a Kubernetes object."""
    return item["metadata"].get("labels") or {}


def is_east_west_service(service: Object) -> bool:
    """Whether a Service is, or by its name, selector or port is meant to be, an east-west gateway."""
    spec = service.get("spec") or {}
    selector = spec.get("selector") or {}
    return (
        NETWORK_LABEL in labels_of(service)
        or selector.get("istio") == "eastwestgateway"
        or any(port.get("port") == EAST_WEST_PORT for port in spec.get("ports") or ())
    )


def _read_cluster(home: Path) -> ClusterSnapshot:
    document = _read(home / "cluster.json")
    document["objects"] = _read(home / "objects.json")
    document["istiods"] = _read(home / "istiods.json")
    document["proxies"] = _read(home / "proxies.json")
    return from_plain(ClusterSnapshot, document)


def _write(file: Path, document: Any, compress: bool) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(scrub(document), indent=1, sort_keys=True) + "\n"
    if compress:
        # no name and no time in the header: the same snapshot is the same bytes
        file.with_name(file.name + ".gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    else:
        file.write_text(text)


def _read(file: Path) -> Any:
    packed = file.with_name(file.name + ".gz")
    try:
        return json.loads(
            gzip.decompress(packed.read_bytes()) if packed.exists() else file.read_bytes()
        )
    except (OSError, ValueError) as error:
        advice = "name a folder that --mesh-snapshot wrote"
        raise UsageProblem(
            f"snapshot file {file}", "cannot be read", str(error), advice=advice
        ) from error


LOCALITY_LABELS = (
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "topology.istio.io/subzone",
)
"""The node labels that Istio takes region, zone and subzone from (Istio, "Locality Load Balancing")."""


def locality_of(node: Mapping[str, Any]) -> Locality:
    """Region, zone and subzone of a Kubernetes Node, as its labels say."""
    return Locality(*(labels_of(node).get(label, "") for label in LOCALITY_LABELS))
