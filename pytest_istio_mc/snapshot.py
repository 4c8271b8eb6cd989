"""Snapshot: all that static checks read of a mesh, in a folder.

It holds public facts only, see ``recorded``.
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
from .istio_names import EAST_WEST_PORT, KUBE_SYSTEM, LOCALITY_LABELS, NETWORK_LABEL
from .mesh import Probes
from .plain import from_plain, to_plain
from .recorded import (
    AccessFacts,
    EndpointFacts,
    Failure,
    IstiodFacts,
    ProxyFacts,
    SecretFacts,
)
from .redact import scrub
from .spec import API_VERSION, Locality, MeshSpec
from .spec_file import document_of, spec_of

Object = Mapping[str, Any]
"""A Kubernetes object as plain JSON, trimmed to the fields that checks read."""

REACH = "reach the API server"
"""The failure of a cluster of which nothing could be read."""


@dataclass(frozen=True)
class ClusterSnapshot:
    """One cluster: its Kubernetes objects by kind, its istiods, proxies and remote credentials.

    - ``control_plane``: how its pods see an istiod that runs elsewhere; empty where its own serves
      it.
    - ``resolved``: what its pods were told of the gateways' host names; without those that nobody
      knew or that could not be asked for.
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
    resolved: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()

    def listed(self, kind: str, namespace: str | None = None) -> tuple[Object, ...]:
        """The objects of a kind, in a namespace or all; :class:`ObservationError` if unknown."""
        self._require(f"list {kind}")
        found = self.objects.get(kind, ())
        if namespace is None:
            return found
        return tuple(item for item in found if namespace_of(item) == namespace)

    def found(self, kind: str, name: str, namespace: str = "") -> Object | None:
        """The object of that kind and name, or None; :class:`ObservationError` if unknown."""
        for item in self.listed(kind):
            if (namespace_of(item), name_of(item)) == (namespace, name):
                return item
        return None

    def all_secrets(self) -> tuple[SecretFacts, ...]:
        """The secrets of the istio namespace, and all remote secrets.

        :class:`ObservationError` if unknown.
        """
        self._require("list Secret")
        return self.secrets

    def secret(self, namespace: str, name: str) -> SecretFacts | None:
        """The facts of one secret, or None where there is none."""
        for item in self.all_secrets():
            if (item.namespace, item.name) == (namespace, name):
                return item
        return None

    @property
    def uid(self) -> str:
        """The uid of its ``kube-system`` namespace, which identifies it; empty if unknown."""
        for item in self.objects.get("Namespace", ()):
            if name_of(item) == KUBE_SYSTEM:
                return str(item["metadata"].get("uid", ""))
        return ""

    @property
    def unreachable(self) -> str:
        """Why nothing could be read from its API server; empty where something could."""
        whys = (failure.error for failure in self.failures if failure.what == REACH)
        return next(whys, "")

    def east_west_services(self) -> tuple[Object, ...]:
        """The Services that may be east-west gateways."""
        return tuple(item for item in self.listed("Service") if is_east_west_service(item))

    def _require(self, what: str) -> None:
        for failure in self.failures:
            if failure.what in (what, REACH):
                status = f"HTTP {failure.status}: " if failure.status else ""
                step = f"could not {failure.what}"
                raise ObservationError(f'cluster "{self.name}"', step, status + failure.error)


@dataclass(frozen=True)
class Snapshot:
    """A mesh at one moment, which is "now" for its checks."""

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
        found = (self.clusters.get(cluster.name) for cluster in self.spec)
        return (cluster for cluster in found if cluster is not None)

    def require_probes(self) -> Probes:
        """The probe workloads; :class:`ObservationError` where it was recorded without any."""
        if self.probes is None:
            step, advice = "recorded without probe workloads", "record it with probes"
            raise ObservationError("snapshot", step, "", advice=advice)
        return self.probes

    def save(self, folder: Path, *, compress: bool = False) -> None:
        """Write the snapshot as JSON files (``compress``: gzip), without anything secret."""
        head = {
            "apiVersion": API_VERSION,
            "kind": "Snapshot",
            "runId": self.run_id,
            "recordedAt": self.recorded_at,
            "spec": document_of(self.spec),
            "probes": to_plain(self.probes),
        }
        _write(folder / "snapshot.json", head, compress)
        for cluster in self.clusters.values():
            home = folder / "clusters" / cluster.name
            rest = replace(cluster, objects={}, istiods=(), proxies=())
            _write(home / "cluster.json", to_plain(rest), compress)
            _write(home / "objects.json", to_plain(cluster.objects), compress)
            _write(home / "istiods.json", to_plain(cluster.istiods), compress)
            _write(home / "proxies.json", to_plain(cluster.proxies), compress)

    @classmethod
    def load(cls, folder: Path) -> Snapshot:
        """Read a folder of :meth:`save`.

        :class:`UsageProblem` where it is no snapshot of a known version.
        """
        head = _read(folder / "snapshot.json")
        named = isinstance(head, dict) and (head.get("apiVersion"), head.get("kind"))
        if named != (API_VERSION, "Snapshot"):
            expected = f"expected kind Snapshot, apiVersion {API_VERSION}"
            raise UsageProblem(f"snapshot {folder}", "is not a snapshot", expected)
        spec = spec_of(head["spec"], str(folder / "snapshot.json"))
        homes = [folder / "clusters" / cluster.name for cluster in spec]
        clusters = {home.name: _read_cluster(home) for home in homes}
        probes = head.get("probes") and from_plain(Probes, head["probes"])
        return cls(spec, head["runId"], head["recordedAt"], clusters, probes)


def name_of(item: Object) -> str:
    """The name of a Kubernetes object."""
    return str(item["metadata"]["name"])


def namespace_of(item: Object) -> str:
    """The namespace of a Kubernetes object, empty for cluster-scoped ones."""
    return str(item["metadata"].get("namespace", ""))


def labels_of(item: Object) -> Mapping[str, str]:
    """The labels of a Kubernetes object."""
    return item["metadata"].get("labels") or {}


def locality_of(node: Object) -> Locality:
    """Region, zone and subzone in the labels of a Kubernetes Node."""
    return Locality(*(labels_of(node).get(label, "") for label in LOCALITY_LABELS))


def is_east_west_service(service: Object) -> bool:
    """Whether a Service may be an east-west gateway, by label, selector or port.

    Istio's profile ``demo`` gives the port to ingress gateways, too.
    """
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
        thing, advice = f"snapshot file {file}", "name a folder that --mesh-snapshot wrote"
        raise UsageProblem(thing, "cannot be read", str(error), advice=advice) from error
