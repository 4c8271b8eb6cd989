"""What a snapshot asks of one API server: by name or label, wherever that can be."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from ..errors import KubeError
from ..istio_names import (
    CA_SECRETS,
    ISTIOD_PODS,
    NETWORK_LABEL,
    REMOTE_SECRET_PREFIX,
    REMOTE_SECRETS,
    ROOT_CONFIG_MAP,
    SERVICE_LABEL,
)
from ..kube import Kube
from ..mesh import Mesh
from ..network_gateways import has_node_addresses, node_selector
from ..recorded import Failure, SecretFacts
from ..snapshot import is_injected, name_of, namespace_of
from ..spec import ClusterSpec
from .fitting import known, of_known_shape
from .objects import (
    BUDGET,
    CONFIG_MAP,
    GATEWAYS,
    LISTINGS,
    POD,
    PODS,
    READERS,
    SERVED_GROUPS,
    SIDECAR,
    SLICE,
    SLICES,
    WITHOUT_NETWORK,
    Listing,
    is_mesh_config,
    keys_of_selectors,
    kind_of,
    selected_keys,
    trim,
)
from .resolving import gateway_services
from .secrets import Credential, is_remote_secret, name_only, reduce_secret

T = TypeVar("T")
Json = dict[str, Any]
Reading = Future[list[Json] | None]
Secrets = tuple[tuple[SecretFacts, ...], tuple[Credential, ...]]


DISCOVERY = "discover resources"


class ApiServerSweep:
    """Reads the objects of one cluster; its requests run side by side in a pool.

    - ``failures``: what could not be had, by what it is.
    - ``for_upgrade``: what only the precheck of an upgrade reads, is read, too.
    """

    def __init__(
        self,
        mesh: Mesh,
        cluster: ClusterSpec,
        kube: Kube,
        pool: ThreadPoolExecutor,
        *,
        for_upgrade: bool = False,
    ) -> None:
        self.failures: dict[str, Failure] = {}
        self._mesh = mesh
        self._cluster = cluster
        self._kube = kube
        self._pool = pool
        self._for_upgrade = for_upgrade

    def begin_secrets(self) -> Future[Secrets | None]:
        """Read the Secrets that are Istio's own."""
        return self._pool.submit(self._attempt, "list Secret", self._secrets)

    def objects(self) -> dict[str, list[Json]]:
        """All objects by kind, each reduced as soon as it is read."""
        configs = self._pool.submit(self._attempt, "list ConfigMap", self._mesh_configs)
        early = {one: self._pool.submit(self._listed, one) for one in self._listings()}
        found = {kind_of(one.kind): future.result() for one, future in early.items()}
        gateways = gateway_services(found["Service"], configs.result() or ())
        budgets = self._budgets(gateways) if self._for_upgrade else {}
        guarded = [item for one in budgets.get(BUDGET, ()) for item in one.result() or ()]
        named = selected_keys([*gateways, *found[GATEWAYS]]) | keys_of_selectors(guarded)
        late: dict[str, Sequence[Future[list[Json]] | Reading]] = {
            CONFIG_MAP: [*self._roots(found["Namespace"], gateways), configs],
            POD: self._pods(gateways, named),
            SLICE: self._slices(gateways),
            "Node": [self._pool.submit(self._addresses, one) for one in gateways],
            PODS: [self._pool.submit(self._names_of_pods)],
            **budgets,
        }
        if self._for_upgrade and len(self._mesh.spec.networks) > 1:
            late[WITHOUT_NETWORK] = [
                self._pool.submit(self._attempt, f"list {WITHOUT_NETWORK}", self._without_network)
            ]
        for kind, futures in late.items():
            more = [item for future in futures for item in future.result() or ()]
            found[kind] = [*found.get(kind, ()), *more]
        return {
            kind: self._attempt(f"list {kind}", partial(known, kind, unique(items))) or []
            for kind, items in sorted(found.items())
        }

    def served(self, groups: Iterable[Mapping[str, Any]]) -> dict[str, tuple[str, ...]] | None:
        """What the API server serves of Istio's and the Gateway API's groups.

        By group and version. None where it does not say.
        """

        def read() -> dict[str, tuple[str, ...]]:
            wanted = [
                version["groupVersion"]
                for group in groups
                if f".{group['name']}".endswith(SERVED_GROUPS)
                for version in group.get("versions") or ()
            ]
            documents = {one: self._kube.get_path(f"/apis/{one}") for one in wanted}
            return {
                one: tuple(
                    sorted(
                        str(entry["name"])
                        for entry in document.get("resources") or ()
                        if "/" not in str(entry["name"])
                    )
                )
                for one, document in documents.items()
            }

        return self._attempt(DISCOVERY, read)

    def _listings(self) -> Iterable[Listing]:
        if not self._for_upgrade:
            return LISTINGS
        mine = {READERS.kind: READERS}
        return list({**{one.kind: one for one in LISTINGS}, **mine}.values())

    def _budgets(self, gateways: Iterable[Mapping[str, Any]]) -> dict[str, list[Reading]]:
        """The PodDisruptionBudgets beside istiod and the gateways."""
        namespaces = {self._istio_namespace, *map(namespace_of, gateways)}
        return {BUDGET: [self._selected(f"{BUDGET}.policy", one) for one in sorted(namespaces)]}

    def _without_network(self) -> list[Json]:
        """The pods with a sidecar and without the label of a network; mostly there are none."""
        labels = f"{SIDECAR},!{NETWORK_LABEL}"
        found = self._kube.each(POD, None, labels=labels, metadata_only=True)
        return [
            trim(WITHOUT_NETWORK, one)
            for one in found
            if not one["metadata"].get("deletionTimestamp")
        ]

    @property
    def _istio_namespace(self) -> str:
        return self._mesh.spec.istio_namespace

    @property
    def _probe_namespaces(self) -> tuple[str, ...]:
        return (self._mesh.probes.namespace,) if self._mesh.probes else ()

    def _attempt(self, what: str, read: Callable[[], T]) -> T | None:
        try:
            with of_known_shape(what):
                return read()
        except KubeError as error:
            self.failures.setdefault(what, Failure(what, str(error), error.status))
            return None

    def _listed(self, listing: Listing) -> list[Json]:
        """The objects of a listing, each reduced as soon as it is read."""
        kind = kind_of(listing.kind)

        def read() -> list[Json]:
            found = self._kube.each(listing.kind, metadata_only=listing.metadata_only)
            named: Iterable[Json] = (item for item in found if listing.wanted(name_of(item)))
            if listing.whole:
                named = self._read_each(listing.kind, [key_of(item) for item in named])
            # of namespaces it is not known yet which labels the mesh's discovery selectors name
            whole = kind == "Namespace"
            return [trim(kind, one, _label_keys(one) if whole else ()) for one in named]

        return self._attempt(f"list {kind}", read) or []

    def _read_each(self, kind: str, keys: Iterable[tuple[str, str]]) -> Iterator[Json]:
        """Objects by namespace and name, without those that are gone."""
        for namespace, name in keys:
            item = self._kube.read(kind, name, namespace or None)
            if item is not None:
                yield item

    def _selected(
        self, kind: str, namespace: str, labels: str = "", selected_by: Collection[str] = ()
    ) -> Reading:
        """The objects of a namespace that have these labels."""
        short = kind_of(kind)

        def read() -> list[Json]:
            found = self._kube.each(kind, namespace, labels=labels)
            return [trim(short, item, selected_by) for item in found]

        return self._pool.submit(self._attempt, f"list {short}", read)

    def _mesh_configs(self) -> list[Json]:
        """What istiod and its injector are configured by; other ConfigMaps only by their names."""
        found = self._kube.each(CONFIG_MAP, self._istio_namespace, metadata_only=True)
        keys = [key_of(item) for item in found if is_mesh_config(name_of(item))]
        return [trim(CONFIG_MAP, item) for item in self._read_each(CONFIG_MAP, keys)]

    def _roots(
        self, namespaces: Iterable[Mapping[str, Any]], gateways: Iterable[Mapping[str, Any]]
    ) -> list[Reading]:
        """The root certificates where there are proxies: a read by name for each namespace.

        A list would have the API server read every ConfigMap that there is.
        """
        ours = {self._istio_namespace, *self._probe_namespaces, *map(namespace_of, gateways)}
        injected = {name_of(item) for item in namespaces if is_injected(item)}

        def read(namespace: str) -> list[Json]:
            found = self._read_each(CONFIG_MAP, [(namespace, ROOT_CONFIG_MAP)])
            return [trim(CONFIG_MAP, item) for item in found]

        return [
            self._pool.submit(self._attempt, "list ConfigMap", partial(read, namespace))
            for namespace in sorted(ours | injected)
        ]

    def _pods(
        self, gateways: Iterable[Mapping[str, Any]], selected_by: Collection[str]
    ) -> list[Reading]:
        """The pods of istiod, of the probes and of the gateways; nobody else's."""
        wanted = {(self._istio_namespace, ISTIOD_PODS)}
        wanted |= {(namespace, "") for namespace in self._probe_namespaces}
        for service in gateways:
            selector = (service["spec"].get("selector") or {}).items()
            if selector:
                labels = ",".join(f"{key}={value}" for key, value in sorted(selector))
                wanted.add((namespace_of(service), labels))
        return [self._selected(POD, *one, selected_by) for one in sorted(wanted)]

    def _names_of_pods(self) -> list[Json] | None:
        """Names and labels of all pods; which labels something selects is not known yet."""

        def read() -> list[Json]:
            found = self._kube.each(POD, metadata_only=True)
            return [
                trim(PODS, one, _label_keys(one))
                for one in found
                if not one["metadata"].get("deletionTimestamp")
            ]

        return self._attempt(f"list {PODS}", read)

    def _slices(self, gateways: Iterable[Mapping[str, Any]]) -> list[Reading]:
        """The endpoints of istiod, of the probes, of the gateways, and of the API server itself.

        The last is the address that other clusters may reach it by.
        """
        wanted = {(self._istio_namespace, ""), ("default", f"{SERVICE_LABEL}=kubernetes")}
        wanted |= {(namespace, "") for namespace in self._probe_namespaces}
        whole = {namespace for namespace, labels in wanted if not labels}
        wanted |= {
            (namespace_of(service), f"{SERVICE_LABEL}={name_of(service)}")
            for service in gateways
            if namespace_of(service) not in whole
        }
        return [self._selected(SLICES, *one) for one in sorted(wanted)]

    def _addresses(self, service: Mapping[str, Any]) -> list[Json]:
        """The nodes that lead to a NodePort gateway, with their addresses."""
        if not has_node_addresses(service):
            return []
        selected = node_selector(service)
        labels = ",".join(f"{key}={value}" for key, value in selected.items())
        read = partial(self._kube.each, "Node", labels=labels)
        return (
            self._attempt("list Node", lambda: [trim("Node", one, selected) for one in read()])
            or []
        )

    def _secrets(self) -> tuple[tuple[SecretFacts, ...], tuple[Credential, ...]]:
        """The facts of Istio's own Secrets beside istiod: by name, and by label.

        Others there (Helm's releases, certificates) are not read, and none in other namespaces.
        """
        here, spec = self._istio_namespace, self._mesh.spec
        others = [one.name for one in spec if one.name != self._cluster.name]
        names = [*CA_SECRETS, *(f"{REMOTE_SECRET_PREFIX}{name}" for name in others)]
        own = self._read_each("Secret", [(here, name) for name in names])
        labelled = self._kube.list("Secret", here, labels=REMOTE_SECRETS)
        facts: list[SecretFacts] = []
        credentials: list[Credential] = []
        for secret in unique([*own, *labelled]):
            fact, found = reduce_secret(secret)
            facts.append(fact)
            # istiod uses only what is labelled, so only that is tried
            if is_remote_secret(secret):
                credentials.extend(found)
        keys = {one.key for one in credentials}
        reads = self._cluster.name in spec.config_clusters and not spec.federated
        if reads and not keys.issuperset(others):
            facts += self._elsewhere()
        return tuple(facts), tuple(credentials)

    def _elsewhere(self) -> list[SecretFacts]:
        """Remote secrets in other namespaces, where one is missing: their metadata alone.

        It serves one diagnosis (a secret in the wrong namespace), and takes a right that a run need
        not have: without it that diagnosis is not made.
        """
        try:
            found = self._kube.list("Secret", None, labels=REMOTE_SECRETS, metadata_only=True)
        except KubeError:
            return []
        return [name_only(one) for one in found if namespace_of(one) != self._istio_namespace]


def _label_keys(item: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(item["metadata"].get("labels") or ())


def key_of(item: Mapping[str, Any]) -> tuple[str, str]:
    """Namespace and name of an object."""
    return namespace_of(item), name_of(item)


def unique(items: Iterable[Json]) -> list[Json]:
    """The objects, each once: the one that was read last."""
    return list({key_of(item): item for item in items}.values())
