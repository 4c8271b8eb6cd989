"""A mesh of fake clusters, small enough to break one by one.

- They answer with the documents of real API servers, istiods and Envoys. The shapes are those of
  Kubernetes 1.36 and Istio 1.31; the recorded snapshots in ``tests/recorded`` keep them honest.
- They stand in for our own ``Kube`` and ``Ask`` protocols only.
"""

from __future__ import annotations

import base64
import copy
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pytest_istio_mc import certificates
from pytest_istio_mc.collect import collect
from pytest_istio_mc.errors import KubeError
from pytest_istio_mc.mesh import Mesh, ProbePod, Probes
from pytest_istio_mc.progress import Progress
from pytest_istio_mc.snapshot import Snapshot
from pytest_istio_mc.spec import ClusterSpec, Locality, MeshSpec

Json = dict[str, Any]

SERVED: dict[str, list[str]] = {
    "networking.istio.io/v1": [
        "destinationrules", "gateways", "serviceentries", "sidecars", "virtualservices",
        "workloadentries", "workloadgroups",
    ],
    "networking.istio.io/v1alpha3": ["envoyfilters", "gateways"],
    "networking.istio.io/v1beta1": ["proxyconfigs", "gateways"],
    "security.istio.io/v1": [
        "authorizationpolicies", "peerauthentications", "requestauthentications",
    ],
    "telemetry.istio.io/v1": ["telemetries"],
    "extensions.istio.io/v1alpha1": ["trafficextensions", "wasmplugins", "wasmplugins/status"],
}  # fmt: skip
"""What an API server serves with the CRDs of Istio 1.31."""

PROBES = "istio-mc-test"
HOST = f"echo.{PROBES}.svc.cluster.local"
SYSTEM = "istio-system"
GATEWAY_ACCOUNT = "istio-eastwestgateway-service-account"
INJECTED = {"security.istio.io/tlsMode": "istio"}
PORTS = (("http", 8080), ("tcp", 9090))
TOKEN = "eyJhbGciOiJSUzI1NiJ9.{claims}.c2lnbmF0dXJl"


def jwt(**claims: Any) -> str:
    """A token with these claims, signed by nobody."""
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return TOKEN.format(claims=body)


def encoded(text: str | bytes) -> str:
    """Base64, as in the data of a Secret."""
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def meta(name: str, namespace: str = "") -> Json:
    """Object metadata."""
    found: Json = {"name": name, "uid": f"uid-{name}", "managedFields": [{"manager": "kubectl"}]}
    if namespace:
        found["namespace"] = namespace
    return found


@dataclass
class FakeCluster:
    """One cluster.

    - ``objects`` by kind; ``answers`` by pod, port and path.
    - ``tokens`` that its API server takes, with their resource rules; kinds that are ``refused``.
    - ``unreachable`` says why nobody gets an answer, ``blocked_from`` which clusters get none.
    - ``served``: the resources of Istio's API groups, by group and version; ``discovery`` among
      the kinds that are ``refused`` refuses to tell them.
    - ``holds_pods``: a policy lets the probes' pods connect to nothing outside.
    - ``requests`` are the paths that probe pods asked for; ``lists``, ``reads`` and ``gets`` what
      was asked of its API server and of its pods.
    """

    name: str
    number: int
    network: str
    objects: dict[str, list[Json]] = field(default_factory=dict)
    answers: dict[tuple[str, int, str], Any] = field(default_factory=dict)
    tokens: dict[str, list[Json]] = field(default_factory=dict)
    refused: tuple[str, ...] = ()
    unreachable: str = ""
    blocked_from: tuple[str, ...] = ()
    requests: list[str] = field(default_factory=list)
    lists: list[tuple[str, str | None, str, bool]] = field(default_factory=list)
    reads: list[tuple[str, str | None, str]] = field(default_factory=list)
    gets: list[tuple[str, int, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    served: dict[str, list[str]] = field(default_factory=lambda: copy.deepcopy(SERVED))

    @cached_property
    def ca(self) -> str:
        """The certificate of its API server's CA."""
        return certificates.make_root(f"CA of {self.name}").certificate

    hides_namespaces: bool = False
    holds_pods: bool = False
    clock_ahead: float = 0.0

    @property
    def server(self) -> str:
        """The address in our own kubeconfig."""
        return f"https://127.0.0.1:{16000 + self.number}"

    @property
    def peer_server(self) -> str:
        """The address for other clusters' pods."""
        return f"https://198.18.{self.number}.1:6443"

    @property
    def gateway(self) -> str:
        """The load balancer address of the east-west gateway."""
        return f"198.19.{self.number}.1"

    @property
    def spec(self) -> ClusterSpec:
        """The cluster as the mesh's spec has it."""
        place = Locality(f"region{self.number}", f"zone{self.number}")
        context = f"ctx-{self.number}"
        return ClusterSpec(self.name, self.network, locality=place, context=context)

    # the Kube protocol, as far as collect uses it

    def version(self) -> str:
        self._alive()
        return "v1.36.1"

    def now(self) -> float:
        self._alive()
        return time.time() + self.clock_ahead

    def get_path(self, path: str, **query: str) -> Any:
        self._alive()
        if path == "/apis":
            groups: dict[str, Json] = {"apps": {"name": "apps"}}
            for served in self.served:
                group = groups.setdefault(
                    served.partition("/")[0], {"name": served.partition("/")[0], "versions": []}
                )
                group["versions"].append({"groupVersion": served})
            return {"groups": [*groups.values()]}
        self.paths.append(path)
        if "discovery" in self.refused:
            raise KubeError(f'cluster "{self.name}"', f"GET {path}", "forbidden", status=403)
        return {"resources": [{"name": name} for name in self.served[path.removeprefix("/apis/")]]}

    def list(
        self,
        kind: str,
        namespace: str | None = None,
        *,
        labels: str = "",
        fields: str = "",
        metadata_only: bool = False,
    ) -> list[Json]:
        self._alive()
        assert not fields, "field selectors have the API server read everything"
        self.lists.append((kind, namespace, labels, metadata_only))
        if kind in self.refused:
            raise KubeError(f'cluster "{self.name}"', f"list {kind}", "forbidden", status=403)
        found = self.objects.get(kind, [])
        if namespace is not None:
            found = [item for item in found if item["metadata"].get("namespace") == namespace]
        if labels:
            parts = labels.split(",")
            wanted = dict(one.split("=", 1) for one in parts if not one.startswith("!"))
            without = {one[1:] for one in parts if one.startswith("!")}
            found = [
                item
                for item in found
                if wanted.items() <= (item["metadata"].get("labels") or {}).items()
                and without.isdisjoint(item["metadata"].get("labels") or {})
            ]
        if metadata_only:
            found = [{"metadata": item["metadata"]} for item in found]
        return copy.deepcopy(found)

    def each(self, kind: str, namespace: str | None = None, **options: Any) -> Iterator[Json]:
        yield from self.list(kind, namespace, **options)

    def read(self, kind: str, name: str, namespace: str | None = None) -> Json | None:
        self._alive()
        self.reads.append((kind, namespace, name))
        if kind in self.refused:
            raise KubeError(f'cluster "{self.name}"', f"get {kind}", "forbidden", status=403)
        for item in self.objects.get(kind, []):
            place = (item["metadata"]["name"], item["metadata"].get("namespace"))
            if place == (name, namespace):
                return copy.deepcopy(item)
        return None

    def http_get(
        self, namespace: str, pod: str, port: int, path: str, *, timeout_seconds: float = 10
    ) -> bytes:
        self._alive()
        self.gets.append((pod, port, path))
        answer = self._answer(pod, port, path)
        if answer is None:
            raise KubeError(f"pod {pod}", f"GET :{port}{path}", "404 page not found", status=404)
        if isinstance(answer, KubeError):
            raise answer
        return answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()

    def _answer(self, pod: str, port: int, path: str) -> Any:
        """What is behind a path; istiod and Envoy filter as they are asked to."""
        bare, _, query = path.partition("?")
        if bare == "/config_dump":
            assert "name_regex=" in query, "the whole configuration of a proxy was asked for"
            return self.answers.get((pod, port, "/config_dump?include_eds"))
        answer = self.answers.get((pod, port, bare))
        if bare != "/debug/adsz" or not isinstance(answer, dict):
            return answer
        # all of it at once can be more than istiod has memory for
        assert query.startswith("proxyID="), "adsz without a proxy"
        proxy = query.removeprefix("proxyID=")
        found = [one for one in answer["clients"] if proxy in one["connectionId"]]
        return {"totalClients": len(found[:1]), "clients": found[:1]} if found else None

    def close(self) -> None:
        raise AssertionError("connections that were handed in are not closed by collect")

    def find(self, kind: str, name: str, namespace: str = "") -> Json:
        """One object, to break it."""
        named = [item for item in self.objects[kind] if item["metadata"]["name"] == name]
        return next(one for one in named if one["metadata"].get("namespace", "") == namespace)

    def remove(self, kind: str, name: str, namespace: str = "") -> Json:
        """Take an object away and return it."""
        item = self.find(kind, name, namespace)
        self.objects[kind].remove(item)
        return item

    def istiod(self, endpoint: str) -> Any:
        """The document of a debug endpoint of the first istiod, to break it."""
        return self.answers[(f"istiod-{self.number}", 8080, f"/debug/{endpoint}")]

    def dump(self, pod: str) -> Json:
        """The configuration dump of a proxy, to break it."""
        found: Json = self.answers[(pod, 15000, "/config_dump?include_eds")]
        return found

    def _alive(self) -> None:
        if self.unreachable:
            raise KubeError(f'cluster "{self.name}"', "GET /version", self.unreachable)


class FakeMesh:
    """A healthy multi-primary mesh on different networks, to be broken and recorded."""

    def __init__(self, clusters: int = 2) -> None:
        self.root = certificates.make_root("Test Root CA")
        made = [FakeCluster(f"cluster{n}", n, f"network{n}") for n in range(1, clusters + 1)]
        self.clusters = {cluster.name: cluster for cluster in made}
        self.beyond: tuple[FakeCluster, ...] = ()
        specs = tuple(cluster.spec for cluster in made)
        self.spec = MeshSpec("multi-network-multi-primary", specs, kubeconfig="/nowhere")
        self.intermediates = {
            name: certificates.make_intermediate(self.root, name) for name in self.clusters
        }
        for cluster in made:
            cluster.objects = _objects(self, cluster)
        for cluster in made:
            n = cluster.number
            cluster.answers |= _istiod(self, cluster)
            for pod, namespace, account in (
                (f"client-{n}", PROBES, "client"),
                (f"server-{n}", PROBES, "server"),
                (f"gateway-{n}", SYSTEM, GATEWAY_ACCOUNT),
            ):
                dump = _proxy(self, cluster, pod, namespace, account)
                cluster.answers[(pod, 15000, "/config_dump?include_eds")] = dump

    def __getitem__(self, number: int) -> FakeCluster:
        return self.clusters[f"cluster{number}"]

    def add_replica(self, number: int) -> str:
        """Give a cluster's istiod a second pod with the answers of the first.

        Returns the name of the pod.
        """
        cluster, first, second = self[number], f"istiod-{number}", f"istiod-{number}-b"
        pod = copy.deepcopy(cluster.find("Pod", first, SYSTEM))
        pod["metadata"] |= {"name": second, "uid": f"uid-{second}"}
        pod["status"]["podIP"] = f"10.{number}.0.12"
        cluster.objects["Pod"].append(pod)
        cluster.answers |= {
            (second, port, path): copy.deepcopy(answer)
            for (name, port, path), answer in cluster.answers.items()
            if name == first
        }
        return second

    @property
    def mesh(self) -> Mesh:
        """The mesh as the provider hands it over, with probes."""
        pods = [
            ProbePod(f"cluster{n}", role, f"{role}-{n}", f"10.{n}.0.{last}", service_account=role)
            for n in range(1, len(self.clusters) + 1)
            for role, last in (("client", 7), ("server", 5))
        ]
        probes = Probes(PROBES, "echo", "python", tuple(pods))
        return Mesh(self.spec, "test", "fake", "python", probes=probes)

    def record(self, *, ask: Callable[[str, Json], Mapping[str, Any]] | None = None) -> Snapshot:
        """The snapshot that ``collect`` makes of the mesh."""
        return collect(self.mesh, Progress(), kubes=self.clusters, ask=ask or self.ask)  # type: ignore[arg-type]

    def record_for_upgrade(self) -> Snapshot:
        """The snapshot of a precheck: without probes, and with what only that reads."""
        mesh = Mesh(self.spec, "test", "fake", "python")
        return collect(mesh, Progress(), kubes=self.clusters, for_upgrade=True)  # type: ignore[arg-type]

    def ask(self, source: str, operation: Json) -> Mapping[str, Any]:
        """What a probe pod in ``source`` gets from an API server."""
        assert operation["op"] == "https"
        errors: Json = {"connect_error": None, "tls_error": None}
        answer: Json = errors | {"status": None, "body": "", "seconds": 0.01}

        def said(status: int, document: Json) -> Json:
            return answer | {"status": status, "body": json.dumps(document)}

        url, token = operation["url"], operation.get("bearer", "")
        reached = (*self.clusters.values(), *self.beyond)
        asked = [one for one in reached if f"{url}/".startswith(f"{one.peer_server}/")]
        target = asked[0] if asked else None
        here = self.clusters[source]
        if target is None or source in target.blocked_from or target.unreachable or here.holds_pods:
            return answer | {"connect_error": "connection refused"}
        if operation.get("handshake_only"):
            return answer
        if operation["ca_pem"] != target.ca:
            problem = "certificate verify failed: unable to get local issuer certificate"
            return answer | {"tls_error": problem}
        rules = target.tokens.get(token)
        if rules is None:
            return said(401, {"message": "Unauthorized"})
        path = url.removeprefix(target.peer_server)
        target.requests.append(path)
        if path.endswith("/namespaces/kube-system"):
            if target.hides_namespaces or not rules:
                return said(403, {"message": "namespaces is forbidden"})
            return said(200, {"metadata": {"uid": f"kube-system-{target.number}"}})
        if path.endswith("/namespaces/default/services/kubernetes"):
            if not any("services" in rule["resources"] for rule in rules):
                return said(403, {"message": "services is forbidden"})
            return said(200, {"metadata": {"uid": f"uid-kubernetes-{target.number}"}})
        assert path.endswith("/selfsubjectrulesreviews")
        return said(201, {"status": {"resourceRules": rules, "incomplete": False}})


def _rule(verbs: str, groups: str, resources: str) -> Json:
    kinds = resources.split()
    return {"verbs": verbs.split(), "apiGroups": groups.split(" "), "resources": kinds}


READER_RULES: list[Json] = [
    _rule("get list watch", "networking.istio.io security.istio.io", "*"),
    _rule("get list watch", "", "endpoints pods services nodes namespaces secrets configmaps"),
    _rule("get watch list", "gateway.networking.k8s.io", "gateways"),
    _rule("get list watch", "apiextensions.k8s.io", "customresourcedefinitions"),
    _rule("get list watch", "discovery.k8s.io", "endpointslices"),
    _rule("create", "authentication.k8s.io", "tokenreviews"),
    _rule("create", "authorization.k8s.io", "subjectaccessreviews"),
]


def reader_token(target: FakeCluster, **claims: Any) -> str:
    """A token that a cluster's API server takes for its reader."""
    subject = f"system:serviceaccount:{SYSTEM}:istio-reader-service-account"
    token = jwt(iss="kubernetes/serviceaccount", sub=subject, cluster=target.name, **claims)
    target.tokens[token] = copy.deepcopy(READER_RULES)
    return token


def remote_secret(
    target: FakeCluster,
    token: str = "",
    *,
    key: str = "",
    server: str = "",
    ca: str = "",
    proxy_url: str = "",
    insecure: bool = False,
    **user: Any,
) -> Json:
    """A remote secret as istioctl makes it."""
    cluster: Json = {"server": server or target.peer_server}
    if insecure:
        cluster["insecure-skip-tls-verify"] = True
    else:
        cluster["certificate-authority-data"] = encoded(ca or target.ca)
    if proxy_url:
        cluster["proxy-url"] = proxy_url
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": cluster}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
        "current-context": "c",
        "users": [{"name": "c", "user": user or {"token": token or reader_token(target)}}],
    }
    key = key or target.name
    metadata = meta(f"istio-remote-secret-{key}", SYSTEM)
    metadata["labels"] = {"istio/multiCluster": "true"}
    metadata["annotations"] = {
        "networking.istio.io/cluster": key,
        "kubectl.kubernetes.io/last-applied-configuration": token,
    }
    return {"metadata": metadata, "type": "Opaque", "data": {key: encoded(json.dumps(kubeconfig))}}


def cacerts(intermediate: certificates.Authority, root: certificates.Authority) -> Json:
    """The secret ``cacerts``."""
    files = certificates.cacerts_files(intermediate, root)
    data = {name: encoded(content) for name, content in files.items()}
    return {"metadata": meta("cacerts", SYSTEM), "type": "Opaque", "data": data}


def _objects(mesh: FakeMesh, cluster: FakeCluster) -> dict[str, list[Json]]:
    n = cluster.number
    place = {
        "topology.kubernetes.io/region": f"region{n}",
        "topology.kubernetes.io/zone": f"zone{n}",
    }
    network = {"topology.istio.io/network": cluster.network}
    roots = {"root-cert.pem": mesh.root.certificate}
    named = {"clusterName": cluster.name}
    settings = {"meshID": "mesh1", "network": cluster.network, "multiCluster": named}
    values = json.dumps({"global": settings})
    reader = f"istio-reader-clusterrole-{SYSTEM}"
    account = {
        "kind": "ServiceAccount",
        "name": "istio-reader-service-account",
        "namespace": SYSTEM,
    }
    discovery = {"name": "discovery", "env": [{"name": "CLUSTER_ID", "value": cluster.name}]}
    proxy, probe = {"name": "istio-proxy"}, {"name": "probe"}
    eastwest, label = "istio-eastwestgateway", {"istio": "eastwestgateway"}
    tls = {"name": "tls", "port": 15443, "targetPort": 15443, "nodePort": 30000 + n}
    gateway_service: Json = {
        "metadata": meta(eastwest, SYSTEM) | {"labels": dict(network)},
        "spec": {"type": "LoadBalancer", "selector": dict(label), "ports": [tls]},
        "status": {"loadBalancer": {"ingress": [{"ip": cluster.gateway}]}},
    }
    server = {
        "port": {"number": 15443, "name": "tls", "protocol": "TLS"},
        "tls": {"mode": "AUTO_PASSTHROUGH"},
        "hosts": ["*.local"],
    }
    echo = {
        "type": "ClusterIP",
        "clusterIP": f"10.9{n}.0.9",
        "ports": [{"name": name, "port": port, "targetPort": port} for name, port in PORTS],
        "selector": {"app": "echo"},
    }
    others = [other for other in mesh.clusters.values() if other is not cluster]
    return {
        "Namespace": [
            {"metadata": meta("kube-system") | {"uid": f"kube-system-{n}"}},
            {"metadata": meta(SYSTEM) | {"labels": network}},
            {"metadata": meta(PROBES) | {"labels": {"istio-injection": "enabled"}}},
        ],
        "Node": [{"metadata": meta(f"node{n}") | {"labels": place}}],
        "Service": [
            {"metadata": meta("echo", PROBES), "spec": echo},
            gateway_service,
            {
                "metadata": meta("kubernetes", "default") | {"uid": f"uid-kubernetes-{n}"},
                "spec": {"type": "ClusterIP", "ports": [{"name": "https", "port": 443}]},
            },
        ],
        "ConfigMap": [
            {"metadata": meta("istio", SYSTEM), "data": {"mesh": "trustDomain: cluster.local\n"}},
            {
                "metadata": meta("istio-sidecar-injector", SYSTEM),
                "data": {"values": values, "config": "long"},
            },
            *(
                {"metadata": meta("istio-ca-root-cert", namespace), "data": roots}
                for namespace in (SYSTEM, PROBES, "kube-system")
            ),
        ],
        "Deployment.apps": [],
        "Pod": [
            _pod(n, f"istiod-{n}", SYSTEM, "istiod", 2, discovery, app="istiod"),
            _pod(n, f"gateway-{n}", SYSTEM, GATEWAY_ACCOUNT, 3, proxy, **label),
            _pod(
                n,
                f"client-{n}",
                PROBES,
                "client",
                7,
                probe,
                proxy,
                app="client",
                **INJECTED,
                **network,
            ),
            _pod(
                n,
                f"server-{n}",
                PROBES,
                "server",
                5,
                probe,
                proxy,
                app="echo",
                **INJECTED,
                **network,
            ),
        ],
        "EndpointSlice.discovery.k8s.io": [
            _slice("echo", PROBES, f"server-{n}", f"10.{n}.0.5", f"node{n}", *PORTS),
            _slice(eastwest, SYSTEM, f"gateway-{n}", f"10.{n}.0.3", f"node{n}", ("tls", 15443)),
            _slice("kubernetes", "default", "", f"198.18.{n}.1", "", ("https", 6443)),
        ],
        "ClusterRole.rbac.authorization.k8s.io": [
            {"metadata": meta(reader), "rules": READER_RULES}
        ],
        "ClusterRoleBinding.rbac.authorization.k8s.io": [
            {"metadata": meta(reader), "roleRef": {"name": reader}, "subjects": [account]}
        ],
        "Gateway.networking.istio.io": [
            {
                "metadata": meta("cross-network-gateway", SYSTEM),
                "spec": {"selector": label, "servers": [server]},
            }
        ],
        "Secret": [
            cacerts(mesh.intermediates[cluster.name], mesh.root),
            *(remote_secret(other) for other in others),
        ],
    }


def _pod(
    n: int, name: str, namespace: str, account: str, last: int, *containers: Json, **labels: str
) -> Json:
    return {
        "metadata": meta(name, namespace) | {"labels": labels},
        "spec": {
            "serviceAccountName": account,
            "nodeName": f"node{n}",
            "containers": copy.deepcopy([*containers]),
        },
        "status": {
            "phase": "Running",
            "podIP": f"10.{n}.0.{last}",
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def _slice(
    service: str, namespace: str, pod: str, address: str, node: str, *ports: tuple[str, int]
) -> Json:
    labels = {"kubernetes.io/service-name": service}
    endpoint = {
        "addresses": [address],
        "conditions": {"ready": True},
        "nodeName": node,
        "targetRef": {"kind": "Pod", "name": pod},
    }
    return {
        "metadata": meta(f"{service}-abc", namespace) | {"labels": labels},
        "addressType": "IPv4",
        "ports": [{"name": name, "port": port, "protocol": "TCP"} for name, port in ports],
        "endpoints": [endpoint],
    }


def _shard(cluster: FakeCluster, name: str, port: int) -> Json:
    """One endpoint of the echo service in ``endpointShardz``."""
    n = cluster.number
    return {
        "Addresses": [f"10.{n}.0.5"],
        "EndpointPort": port,
        "ServicePortName": name,
        "Network": cluster.network,
        "Locality": {"Label": f"region{n}/zone{n}", "ClusterID": cluster.name},
        "TLSMode": "istio",
        "HealthStatus": 1,
    }


def _istiod(mesh: FakeMesh, cluster: FakeCluster) -> dict[tuple[str, int, str], Any]:
    """The answers of the cluster's istiod."""
    n, clusters = cluster.number, mesh.clusters.values()
    others = [other for other in clusters if other is not cluster]
    shards = {
        f"Kubernetes/{one.name}": [_shard(one, name, port) for name, port in PORTS]
        for one in clusters
    }
    acked = {"sent": "a", "acked": "a", "sentTime": "2026-01-01T00:00:00.123456789Z"}
    types = ("cluster.v3.Cluster", "listener.v3.Listener", "endpoint.v3.ClusterLoadAssignment")
    resources = {f"type.googleapis.com/envoy.config.{name}": acked for name in types}
    rows = (
        (f"client-{n}", PROBES, "sidecar"),
        (f"server-{n}", PROBES, "sidecar"),
        (f"gateway-{n}", SYSTEM, "router"),
    )
    documents: dict[str, Any] = {
        "clusterz": [
            {"id": cluster.name, "syncStatus": "synced"},
            *(
                {
                    "id": other.name,
                    "secretName": f"{SYSTEM}/istio-remote-secret-{other.name}",
                    "syncStatus": "synced",
                }
                for other in others
            ),
        ],
        "networkz": [
            {"Network": one.network, "Cluster": one.name, "Addr": one.gateway, "Port": 15443}
            for one in clusters
        ],
        "syncz": [
            {
                "cluster_id": cluster.name,
                "proxy": f"{pod}.{namespace}",
                "proxy_type": kind,
                "istio_version": "1.31.0",
                "resources": {name: dict(resource) for name, resource in resources.items()},
            }
            for pod, namespace, kind in rows
        ],
        "adsz": {
            "clients": [
                {"connectionId": f"{pod}.{namespace}-{place}", "locality": _locality(n)}
                for place, (pod, namespace, _) in enumerate(rows, 1)
            ]
        },
        "mesh": {
            "trustDomain": "cluster.local",
            "rootNamespace": SYSTEM,
            "defaultConfig": {"meshId": "mesh1"},
            "ingressClass": "istio",
        },
        "endpointShardz": {
            HOST: {PROBES: {"Shards": shards, "ServiceAccounts": {}}},
            "kubernetes.default.svc.cluster.local": {
                "default": {"Shards": {f"Kubernetes/{cluster.name}": []}}
            },
        },
    }
    pod = f"istiod-{n}"
    metrics = (
        "# HELP istiod_managed_clusters x",
        'istiod_managed_clusters{cluster_type="remote"} 1',
        "go_threads 12\n",
    )
    return {(pod, 8080, f"/debug/{name}"): document for name, document in documents.items()} | {
        (pod, 15014, "/version"): "1.31.0-eed52ebb66ad-Clean",
        (pod, 15014, "/metrics"): "\n".join(metrics),
    }


def _locality(n: int) -> Json:
    return {"region": f"region{n}", "zone": f"zone{n}"}


def _address(address: str, port: int) -> Json:
    return {"socket_address": {"address": address, "port_value": port}}


def _endpoints(mesh: FakeMesh, cluster: FakeCluster, port: int, gateway: bool) -> Iterator[Json]:
    """A proxy's endpoint groups of one port, by cluster."""
    match = {"envoy.transport_socket_match": {"tlsMode": "istio"}}
    for one in mesh.clusters.values():
        local = one is cluster
        if gateway and not local:
            continue
        address, number = (f"10.{one.number}.0.5", port) if local else (one.gateway, 15443)
        endpoint = {
            "endpoint": {"address": _address(address, number)},
            "health_status": "HEALTHY",
            "metadata": {"filter_metadata": copy.deepcopy(match)},
            "load_balancing_weight": 1,
        }
        yield {"locality": _locality(one.number), "lb_endpoints": [endpoint]}


def _dump(kind: str, **content: Any) -> Json:
    return {"@type": f"type.googleapis.com/envoy.admin.v3.{kind}ConfigDump", **content}


def _proxy(mesh: FakeMesh, cluster: FakeCluster, pod: str, namespace: str, account: str) -> Json:
    """The configuration dump of a proxy: the east-west gateway's, or a sidecar's."""
    gateway = namespace == SYSTEM
    identity = f"spiffe://cluster.local/ns/{namespace}/sa/{account}"
    authority = mesh.intermediates[cluster.name]
    leaf = certificates.make_leaf(authority, spiffe_id=identity, valid=certificates.DAY)
    names = {
        port: f"outbound_.{port}_._.{HOST}" if gateway else f"outbound|{port}||{HOST}"
        for _, port in PORTS
    }
    endpoints = [
        {"cluster_name": name, "endpoints": [*_endpoints(mesh, cluster, port, gateway)]}
        for port, name in names.items()
    ]
    tls = _mutual_tls(f"spiffe://cluster.local/ns/{PROBES}/sa/server")
    listeners, routes = _gateway_listeners() if gateway else _workload_listeners()
    metadata = {
        "CLUSTER_ID": cluster.name,
        "NETWORK": cluster.network,
        "MESH_ID": "mesh1",
        "ISTIO_VERSION": "1.31.0",
        "LABELS": {"a": "b"},
    }
    node = {"id": pod, "metadata": metadata, "locality": _locality(cluster.number)}
    certificate = {
        "certificate_chain": {"inline_bytes": encoded(leaf.chain)},
        "private_key": {"inline_bytes": encoded("[redacted]")},
    }
    trusted = {"trusted_ca": {"inline_bytes": encoded(mesh.root.certificate)}}
    secrets = [
        {"name": "default", "secret": {"tls_certificate": certificate}},
        {"name": "ROOTCA", "secret": {"validation_context": trusted}},
    ]
    clusters = [{"name": name, **({} if gateway else tls(name))} for name in names.values()]
    configs = [
        _dump("Bootstrap", bootstrap={"node": node}),
        _dump("Clusters", dynamic_active_clusters=[{"cluster": one} for one in clusters]),
        _dump("Endpoints", dynamic_endpoint_configs=[{"endpoint_config": x} for x in endpoints]),
        _dump("Listeners", dynamic_listeners=listeners),
        _dump("Secrets", dynamic_active_secrets=secrets),
        _dump("Routes", dynamic_route_configs=[{"route_config": route} for route in routes]),
    ]
    return {"configs": configs}


def _listener(name: str, port: int, chains: list[Json]) -> Json:
    listener = {"address": _address("0.0.0.0", port), "filter_chains": chains}
    return {"name": name, "active_state": {"listener": listener}}


def _tcp_proxy(cluster: str) -> Json:
    return {"name": "envoy.filters.network.tcp_proxy", "typed_config": {"cluster": cluster}}


def _gateway_listeners() -> tuple[list[Json], list[Json]]:
    """The listeners of a gateway, which passes traffic by SNI without routes."""
    names = [f"outbound_.{port}_._.{HOST}" for _, port in PORTS]
    chains = [
        {"filter_chain_match": {"server_names": [name]}, "filters": [_tcp_proxy(name)]}
        for name in names
    ]
    return [_listener("0.0.0.0_15443", 15443, chains)], []


def _workload_listeners() -> tuple[list[Json], list[Json]]:
    """The listeners of a sidecar, outgoing and incoming, and its routes."""
    http = "envoy.filters.network.http_connection_manager"
    out = {"name": http, "typed_config": {"rds": {"route_config_name": "8080"}}}
    sockets: dict[str, Json] = {
        "tls": {"transport_socket": {"name": "envoy.transport_sockets.tls"}},
        "raw_buffer": {},
    }
    inside = [
        {
            "filter_chain_match": {"destination_port": port, "transport_protocol": protocol},
            "filters": [{"name": http, "typed_config": {"http_filters": []}}],
            **copy.deepcopy(socket),
        }
        for _, port in PORTS
        for protocol, socket in sockets.items()
    ]
    listeners = [
        _listener("0.0.0.0_8080", 8080, [{"filters": [out]}]),
        _listener("10.90.0.9_9090", 9090, [{"filters": [_tcp_proxy(f"outbound|9090||{HOST}")]}]),
        _listener("virtualInbound", 15006, inside),
    ]
    route = {"match": {"prefix": "/"}, "route": {"cluster": f"outbound|8080||{HOST}"}}
    host = {"name": HOST, "domains": [HOST, "echo"], "routes": [route]}
    return listeners, [{"name": "8080", "virtual_hosts": [host]}]


def _mutual_tls(identity: str) -> Callable[[str], Json]:
    def transport(cluster: str) -> Json:
        _, port, subset, host = cluster.split("|")
        validation = {"match_subject_alt_names": [{"exact": identity}]}
        common = {
            "tls_certificate_sds_secret_configs": [{"name": "default"}],
            "combined_validation_context": {"default_validation_context": validation},
        }
        config = {"sni": f"outbound_.{port}_.{subset}_.{host}", "common_tls_context": common}
        match = {"match": {"tlsMode": "istio"}, "transport_socket": {"typed_config": config}}
        return {"transport_socket_matches": [match]}

    return transport
