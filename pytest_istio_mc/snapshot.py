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
from typing import Annotated, Any

from . import private
from .dates import Moment, Seconds
from .errors import ObservationError, UsageProblem
from .files import LARGEST, Unreadable, read_file, unpacked
from .istio_names import (
    EAST_WEST_PORT,
    INJECTION_LABEL,
    KUBE_SYSTEM,
    LOCALITY_LABELS,
    NETWORK_LABEL,
    REVISION_LABEL,
)
from .mesh import Probes
from .names import Label, Line, Value
from .plain import Misfit, from_json, from_plain, to_plain
from .recorded import (
    AccessFacts,
    EndpointFacts,
    Failure,
    IstiodFacts,
    ProxyFacts,
    SecretFacts,
)
from .redact import scrub
from .shapes import OBJECTS, Shaped
from .spec import API_VERSION, Locality, MeshSpec
from .spec_file import document_of, spec_of
from .tool import TOOL, newer, tool_version

Object = Mapping[str, Any]
"""A Kubernetes object as plain JSON, trimmed to the fields that checks read."""

Objects = Annotated[Mapping[str, tuple[dict[str, Any], ...]], Shaped(OBJECTS)]

LARGEST_SNAPSHOT = 256 * 1024 * 1024
"""Bytes of all files of a snapshot together, unpacked: some ten thousand Services a cluster."""

REACH = "reach the API server"
"""The failure of a cluster of which nothing could be read."""


@dataclass(frozen=True)
class ClusterSnapshot:
    """One cluster: its Kubernetes objects by kind, its istiods, proxies and remote credentials.

    - ``objects`` has every kind that was read, an empty one too; a kind that lacks is not "none".
    - ``api_resources``: what its API server serves of Istio's and the Gateway API's groups, by
      group and version; None where that was not asked.
    - ``control_plane`` is how its pods see an istiod elsewhere; empty where its own serves it.
    - ``resolved``: what its pods were told of the gateways' host names; without those that nobody
      knew or that could not be asked for.
    - ``clock_ahead``: by how many seconds its API server's clock was ahead of the recorder's.
    """

    name: Label
    server: Line = ""
    version: Line = ""
    api_groups: tuple[Line, ...] = ()
    api_resources: Mapping[Line, tuple[Line, ...]] | None = None
    objects: Objects = field(default_factory=dict)
    secrets: tuple[SecretFacts, ...] = ()
    istiods: tuple[IstiodFacts, ...] = ()
    proxies: tuple[ProxyFacts, ...] = ()
    access: tuple[AccessFacts, ...] = ()
    control_plane: tuple[EndpointFacts, ...] = ()
    resolved: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    clock_ahead: Seconds = 0.0
    failures: tuple[Failure, ...] = ()

    def listed(self, kind: str, namespace: str | None = None) -> tuple[Object, ...]:
        """The objects of a kind, in a namespace or all; :class:`ObservationError` if unknown."""
        self._require(f"list {kind}")
        if kind not in self.objects:
            advice = "record the snapshot with this version"
            thing, step = f'cluster "{self.name}"', f"could not list {kind}"
            raise ObservationError(thing, step, "it was not recorded", advice=advice)
        found = self.objects[kind]
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
    """A mesh at one moment, which is "now" for its checks.

    ``recorded_by`` is the version of this tool that recorded it; empty where nobody knows.
    """

    spec: MeshSpec
    run_id: str
    recorded_at: str
    clusters: Mapping[str, ClusterSnapshot]
    probes: Probes | None = None
    recorded_by: str = ""

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
            "tool": {"name": TOOL, "version": self.recorded_by or tool_version()},
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
    def load(cls, folder: Path, *, ours: bool = False) -> Snapshot:
        """Read a folder of :meth:`save`.

        - ``ours``: this run wrote it, so that it may be of any size.
        - :class:`UsageProblem` names the file and the place of what does not fit, and the version
          that recorded it where that is a newer one.
        """
        reader = _Reader(folder, None if ours else LARGEST)
        head = reader.head()
        spec = spec_of(head.spec, str(folder / "snapshot.json"))
        clusters = {cluster.name: reader.cluster(cluster.name) for cluster in spec}
        by = head.tool.version if head.tool else ""
        return cls(spec, head.runId, head.recordedAt, clusters, head.probes, by)


def name_of(item: Object) -> str:
    """The name of a Kubernetes object."""
    return str(item["metadata"]["name"])


def namespace_of(item: Object) -> str:
    """The namespace of a Kubernetes object, empty for cluster-scoped ones."""
    return str(item["metadata"].get("namespace", ""))


def labels_of(item: Object) -> Mapping[str, str]:
    """The labels of a Kubernetes object."""
    return item["metadata"].get("labels") or {}


def is_injected(namespace: Object) -> bool:
    """Whether pods of a namespace get sidecars unless they say otherwise."""
    labels = labels_of(namespace)
    return labels.get(INJECTION_LABEL) == "enabled" or REVISION_LABEL in labels


def annotations_of(item: Object) -> Mapping[str, str]:
    """The annotations of a recorded object."""
    found: Mapping[str, str] = item["metadata"].get("annotations") or {}
    return found


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


def _write(file: Path, document: Any, compress: bool) -> None:
    private.make_folder(file.parent)
    text = json.dumps(scrub(document), indent=1, sort_keys=True) + "\n"
    if compress:
        # no name and no time in the header: the same snapshot is the same bytes
        content = gzip.compress(text.encode(), mtime=0)
        private.write(file.with_name(file.name + ".gz"), content)
    else:
        private.write(file, text)


@dataclass(frozen=True)
class _Tool:
    name: str
    version: Line


@dataclass(frozen=True)
class _Head:
    """The file ``snapshot.json``."""

    apiVersion: str  # noqa: N815 (the format's names)
    kind: str
    runId: Value  # noqa: N815
    recordedAt: Moment  # noqa: N815
    spec: dict[str, Any]
    probes: Probes | None = None
    tool: _Tool | None = None


@dataclass(frozen=True)
class _Named:
    """What every version of ``snapshot.json`` says, whatever else it says."""

    apiVersion: str  # noqa: N815
    kind: str
    tool: _Tool | None = None


class _Reader:
    """Reads the files of one snapshot; refuses what no version wrote."""

    def __init__(self, folder: Path, largest: int | None) -> None:
        self._folder = folder
        self._largest = largest
        self._recorded_by = ""
        self._read_so_far = 0

    def head(self) -> _Head:
        """What the snapshot says of itself."""
        file, content = self._content("snapshot.json")
        try:
            named = from_plain(_Named, json.loads(content))
        except (ValueError, RecursionError, UsageProblem):
            named = None
        if named is None or (named.apiVersion, named.kind) != (API_VERSION, "Snapshot"):
            expected = f"expected kind Snapshot, apiVersion {API_VERSION}"
            raise UsageProblem(f"snapshot file {file}", "is not of a snapshot", expected)
        self._recorded_by = named.tool.version if named.tool else ""
        head: _Head = self._fitting(_Head, file, content)
        return head

    def cluster(self, name: str) -> ClusterSnapshot:
        """One cluster, from its four files."""
        home = f"clusters/{name}"
        cluster: ClusterSnapshot = self._read(ClusterSnapshot, f"{home}/cluster.json")
        return replace(
            cluster,
            objects=self._read(Objects, f"{home}/objects.json"),
            istiods=self._read(tuple[IstiodFacts, ...], f"{home}/istiods.json"),
            proxies=self._read(tuple[ProxyFacts, ...], f"{home}/proxies.json"),
        )

    def _read(self, kind: Any, name: str) -> Any:
        return self._fitting(kind, *self._content(name))

    def _fitting(self, kind: Any, file: Path, content: bytes) -> Any:
        try:
            return from_json(kind, content)
        except Misfit as error:
            thing, advice = f"snapshot file {file}", "name a folder that --mesh-snapshot wrote"
            step, advice = newer(self._recorded_by, "recorded") or ("does not fit", advice)
            raise UsageProblem(thing, step, str(error), advice=advice) from error

    def _content(self, name: str) -> tuple[Path, bytes]:
        plain = self._folder / name
        packed = plain.with_name(plain.name + ".gz")
        file = packed if packed.is_symlink() or packed.exists() else plain
        try:
            for part in (self._folder / "clusters", plain.parent):
                if part.is_symlink() and part != self._folder:
                    raise Unreadable(f"lies behind the symbolic link {part}")
            content = read_file(file, largest=self._largest, links=False)
            if file == packed:
                content = unpacked(content, largest=self._largest)
            self._read_so_far += len(content)
            if self._largest is not None and self._read_so_far > LARGEST_SNAPSHOT:
                raise Unreadable("is one too many: together they hold more than 256 MiB")
            return file, content
        except Unreadable as error:
            thing, advice = f"snapshot file {file}", "name a folder that --mesh-snapshot wrote"
            raise UsageProblem(thing, "cannot be read", str(error), advice=advice) from error
