"""A mesh of fake clusters: the documents that real API servers, istiods and Envoys answer with, small enough to break one by one.

It stands in for our own ``Kube`` and ``Ask`` protocols only. The shapes are those of Kubernetes 1.36 and Istio 1.31; the recorded
snapshots in ``tests/recorded`` are what keeps them honest.
"""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_istio_mc import certificates
from pytest_istio_mc.collect import collect
from pytest_istio_mc.errors import KubeError
from pytest_istio_mc.mesh import Mesh, ProbePod, Probes
from pytest_istio_mc.progress import Progress
from pytest_istio_mc.snapshot import Snapshot
from pytest_istio_mc.spec import ClusterSpec, Locality, MeshSpec

Json = dict[str, Any]

PROBES = "istio-mc-test"
HOST = f"echo.{PROBES}.svc.cluster.local"
SYSTEM = "istio-system"
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
    """One cluster: objects by kind, what each pod answers by port and path, and the credentials that its API server takes."""

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

    @property
    def server(self) -> str:
        """What our own kubeconfig says."""
        return f"https://127.0.0.1:{16000 + self.number}"

    @property
    def peer_server(self) -> str:
        """The address for other clusters' pods."""
        return f"https://198.18.{self.number}.1:6443"

    @property
    def gateway(self) -> str:
        """The load balancer address of the east-west gateway."""
        return f"198.19.{self.number}.1"

    # the Kube protocol, as far as collect uses it

    def version(self) -> str:
        self._alive()
        return "v1.36.1"

    def get_path(self, path: str, **query: str) -> Any:
        self._alive()
        assert path == "/apis"
        return {"groups": [{"name": "networking.istio.io"}, {"name": "apps"}]}

    def list(
        self, kind: str, namespace: str | None = None, *, labels: str = "", fields: str = ""
    ) -> list[Json]:
        self._alive()
        if kind in self.refused:
            raise KubeError(f'cluster "{self.name}"', f"list {kind}", "forbidden", status=403)
        found = self.objects.get(kind, [])
        if namespace is not None:
            found = [item for item in found if item["metadata"].get("namespace") == namespace]
        if labels:
            key, _, value = labels.partition("=")
            found = [item for item in found if item["metadata"].get("labels", {}).get(key) == value]
        if fields:
            found = [
                item
                for item in found
                if item["metadata"]["name"] == fields.removeprefix("metadata.name=")
            ]
        return copy.deepcopy(found)

    def http_get(
        self, namespace: str, pod: str, port: int, path: str, *, timeout_seconds: float = 10
    ) -> bytes:
        self._alive()
        answer = self.answers.get((pod, port, path))
        if answer is None:
            raise KubeError(f"pod {pod}", f"GET :{port}{path}", "404 page not found", status=404)
        if isinstance(answer, KubeError):
            raise answer
        return answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()

    def close(self) -> None:
        raise AssertionError("connections that were handed in are not closed by collect")

    def find(self, kind: str, name: str, namespace: str = "") -> Json:
        """One object, to break it."""
        return next(
            item
            for item in self.objects[kind]
            if item["metadata"]["name"] == name
            and item["metadata"].get("namespace", "") == namespace
        )

    def remove(self, kind: str, name: str, namespace: str = "") -> Json:
        """Take an object away and return it."""
        item = self.find(kind, name, namespace)
        self.objects[kind].remove(item)
        return item

    def istiod(self, endpoint: str) -> Any:
        """The document behind a debug endpoint of the first istiod, to break it."""
        return self.answers[(f"istiod-{self.number}", 8080, f"/debug/{endpoint}")]

    def dump(self, pod: str) -> Json:
        """The configuration dump of a proxy, to break it."""
        found: Json = self.answers[(pod, 15000, "/config_dump?include_eds")]
        return found

    def _alive(self) -> None:
        if self.unreachable:
            raise KubeError(f'cluster "{self.name}"', "GET /version", self.unreachable)


class FakeMesh:
    """A healthy multi-network multi-primary mesh of fake clusters, to be broken and recorded."""

    def __init__(self, clusters: int = 2) -> None:
        self.root = certificates.make_root("Test Root CA")
        numbers = range(1, clusters + 1)
        self.spec = MeshSpec(
            "multi-network-multi-primary",
            tuple(
                ClusterSpec(
                    f"cluster{n}",
                    f"network{n}",
                    locality=Locality(f"region{n}", f"zone{n}"),
                    context=f"ctx-{n}",
                )
                for n in numbers
            ),
            kubeconfig="/nowhere",
        )
        self.clusters = {
            f"cluster{n}": FakeCluster(f"cluster{n}", n, f"network{n}") for n in numbers
        }
        self.intermediates = {
            name: certificates.make_intermediate(self.root, name) for name in self.clusters
        }
        for cluster in self.clusters.values():
            _objects(self, cluster)
        for cluster in self.clusters.values():
            _istiod(self, cluster)
            for pod, account in (
                (f"client-{cluster.number}", "client"),
                (f"server-{cluster.number}", "server"),
            ):
                _proxy(self, cluster, pod, PROBES, account)
            _proxy(
                self,
                cluster,
                f"gateway-{cluster.number}",
                SYSTEM,
                "istio-eastwestgateway-service-account",
            )

    def __getitem__(self, number: int) -> FakeCluster:
        return self.clusters[f"cluster{number}"]

    @property
    def mesh(self) -> Mesh:
        """The mesh as the provider hands it over, with probes."""
        pods = [
            ProbePod(f"cluster{n}", role, f"{role}-{n}", f"10.{n}.0.{last}", service_account=role)
            for n in range(1, len(self.clusters) + 1)
            for role, last in (("client", 7), ("server", 5))
        ]
        return Mesh(
            self.spec,
            "test",
            "fake",
            "python",
            probes=Probes(PROBES, "echo", "python", tuple(pods)),
        )

    def record(self, *, ask: Callable[[str, Json], Mapping[str, Any]] | None = None) -> Snapshot:
        """What ``collect`` makes of it."""
        return collect(self.mesh, Progress(), kubes=self.clusters, ask=ask or self.ask)  # type: ignore[arg-type]

    def ask(self, source: str, operation: Json) -> Mapping[str, Any]:
        """What a probe pod in ``source`` gets from an API server."""
        assert operation["op"] == "https"
        answer: Json = {
            "connect_error": None,
            "tls_error": None,
            "status": None,
            "body": "",
            "seconds": 0.01,
        }
        target = next(
            (
                one
                for one in self.clusters.values()
                if operation["url"].startswith(one.peer_server + "/")
            ),
            None,
        )
        if target is None or source in target.blocked_from or target.unreachable:
            return answer | {"connect_error": "connection refused"}
        if operation["ca_pem"] != f"CA of {target.name}":
            return answer | {
                "tls_error": "certificate verify failed: unable to get local issuer certificate"
            }
        rules = target.tokens.get(
            operation["headers"].get("authorization", "").removeprefix("Bearer ")
        )
        if rules is None:
            return answer | {"status": 401, "body": json.dumps({"message": "Unauthorized"})}
        path = operation["url"].removeprefix(target.peer_server)
        target.requests.append(path)
        if path.endswith("/namespaces/kube-system"):
            if not rules:
                return answer | {
                    "status": 403,
                    "body": json.dumps({"message": "namespaces is forbidden"}),
                }
            return answer | {
                "status": 200,
                "body": json.dumps({"metadata": {"uid": f"kube-system-{target.number}"}}),
            }
        assert path.endswith("/selfsubjectrulesreviews")
        return answer | {
            "status": 201,
            "body": json.dumps({"status": {"resourceRules": rules, "incomplete": False}}),
        }


READER_RULES: list[Json] = [
    {
        "verbs": ["get", "list", "watch"],
        "apiGroups": ["networking.istio.io", "security.istio.io"],
        "resources": ["*"],
    },
    {
        "verbs": ["get", "list", "watch"],
        "apiGroups": [""],
        "resources": [
            "endpoints",
            "pods",
            "services",
            "nodes",
            "namespaces",
            "secrets",
            "configmaps",
        ],
    },
    {
        "verbs": ["get", "watch", "list"],
        "apiGroups": ["gateway.networking.k8s.io"],
        "resources": ["gateways"],
    },
    {
        "verbs": ["get", "list", "watch"],
        "apiGroups": ["apiextensions.k8s.io"],
        "resources": ["customresourcedefinitions"],
    },
    {
        "verbs": ["get", "list", "watch"],
        "apiGroups": ["discovery.k8s.io"],
        "resources": ["endpointslices"],
    },
    {"verbs": ["create"], "apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"]},
    {
        "verbs": ["create"],
        "apiGroups": ["authorization.k8s.io"],
        "resources": ["subjectaccessreviews"],
    },
]


def reader_token(target: FakeCluster, **claims: Any) -> str:
    """A token that the API server of a cluster takes for its reader."""
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
    **user: Any,
) -> Json:
    """A remote secret as istioctl makes it."""
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "c",
                "cluster": {
                    "server": server or target.peer_server,
                    "certificate-authority-data": encoded(ca or f"CA of {target.name}"),
                },
            }
        ],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
        "current-context": "c",
        "users": [{"name": "c", "user": user or {"token": token or reader_token(target)}}],
    }
    key = key or target.name
    metadata = meta(f"istio-remote-secret-{key}", SYSTEM) | {
        "labels": {"istio/multiCluster": "true"}
    }
    metadata["annotations"] = {
        "networking.istio.io/cluster": key,
        "kubectl.kubernetes.io/last-applied-configuration": token,
    }
    return {"metadata": metadata, "type": "Opaque", "data": {key: encoded(json.dumps(kubeconfig))}}


def cacerts(intermediate: certificates.Authority, root: certificates.Authority) -> Json:
    """The secret ``cacerts``."""
    files = certificates.cacerts_files(intermediate, root)
    return {
        "metadata": meta("cacerts", SYSTEM),
        "type": "Opaque",
        "data": {name: encoded(content) for name, content in files.items()},
    }


def _objects(mesh: FakeMesh, cluster: FakeCluster) -> None:
    n = cluster.number
    place = {
        "topology.kubernetes.io/region": f"region{n}",
        "topology.kubernetes.io/zone": f"zone{n}",
    }
    system = meta(SYSTEM)
    system["labels"] = {"topology.istio.io/network": cluster.network}
    roots = {"root-cert.pem": mesh.root.certificate}
    values = {
        "global": {
            "meshID": "mesh1",
            "network": cluster.network,
            "multiCluster": {"clusterName": cluster.name},
        }
    }
    network = {"topology.istio.io/network": cluster.network}
    ports = [
        {"name": "http", "port": 8080, "targetPort": 8080},
        {"name": "tcp", "port": 9090, "targetPort": 9090},
    ]
    gateway_service: Json = {
        "metadata": meta("istio-eastwestgateway", SYSTEM) | {"labels": network},
        "spec": {
            "type": "LoadBalancer",
            "selector": {"istio": "eastwestgateway"},
            "ports": [{"name": "tls", "port": 15443, "targetPort": 15443, "nodePort": 30000 + n}],
        },
        "status": {"loadBalancer": {"ingress": [{"ip": cluster.gateway}]}},
    }
    cluster.objects = {
        "Namespace": [
            {"metadata": meta("kube-system") | {"uid": f"kube-system-{n}"}},
            {"metadata": system},
            {"metadata": meta(PROBES) | {"labels": {"istio-injection": "enabled"}}},
        ],
        "Node": [{"metadata": meta(f"node{n}") | {"labels": place}}],
        "Service": [
            {
                "metadata": meta("echo", PROBES),
                "spec": {
                    "type": "ClusterIP",
                    "clusterIP": f"10.9{n}.0.9",
                    "ports": ports,
                    "selector": {"app": "echo"},
                },
            },
            gateway_service,
        ],
        "ConfigMap": [
            {"metadata": meta("istio", SYSTEM), "data": {"mesh": "trustDomain: cluster.local\n"}},
            {
                "metadata": meta("istio-sidecar-injector", SYSTEM),
                "data": {"values": json.dumps(values), "config": "long"},
            },
            *(
                {"metadata": meta("istio-ca-root-cert", namespace), "data": roots}
                for namespace in (SYSTEM, PROBES, "kube-system")
            ),
        ],
        "Deployment.apps": [],
        "Pod": [
            _pod(
                cluster,
                f"istiod-{n}",
                SYSTEM,
                "istiod",
                2,
                [{"name": "discovery", "env": [{"name": "CLUSTER_ID", "value": cluster.name}]}],
                app="istiod",
            ),
            _pod(
                cluster,
                f"gateway-{n}",
                SYSTEM,
                "istio-eastwestgateway-service-account",
                3,
                [{"name": "istio-proxy"}],
                istio="eastwestgateway",
            ),
            _pod(
                cluster,
                f"client-{n}",
                PROBES,
                "client",
                7,
                [{"name": "probe"}, {"name": "istio-proxy"}],
                app="client",
            ),
            _pod(
                cluster,
                f"server-{n}",
                PROBES,
                "server",
                5,
                [{"name": "probe"}, {"name": "istio-proxy"}],
                app="echo",
            ),
        ],
        "EndpointSlice.discovery.k8s.io": [
            _slice(
                "echo",
                PROBES,
                f"server-{n}",
                f"10.{n}.0.5",
                f"node{n}",
                ("http", 8080),
                ("tcp", 9090),
            ),
            _slice(
                "istio-eastwestgateway",
                SYSTEM,
                f"gateway-{n}",
                f"10.{n}.0.3",
                f"node{n}",
                ("tls", 15443),
            ),
            _slice("kubernetes", "default", "", f"198.18.{n}.1", "", ("https", 6443)),
        ],
        "ClusterRole.rbac.authorization.k8s.io": [
            {"metadata": meta(f"istio-reader-clusterrole-{SYSTEM}"), "rules": READER_RULES}
        ],
        "ClusterRoleBinding.rbac.authorization.k8s.io": [
            {
                "metadata": meta(f"istio-reader-clusterrole-{SYSTEM}"),
                "roleRef": {"name": f"istio-reader-clusterrole-{SYSTEM}"},
            }
        ],
        "Gateway.networking.istio.io": [
            {
                "metadata": meta("cross-network-gateway", SYSTEM),
                "spec": {
                    "selector": {"istio": "eastwestgateway"},
                    "servers": [
                        {
                            "port": {"number": 15443, "name": "tls", "protocol": "TLS"},
                            "tls": {"mode": "AUTO_PASSTHROUGH"},
                            "hosts": ["*.local"],
                        }
                    ],
                },
            }
        ],
        "Secret": [cacerts(mesh.intermediates[cluster.name], mesh.root)],
    }
    for other in mesh.clusters.values():
        if other is not cluster:
            cluster.objects["Secret"].append(remote_secret(other))


def _pod(
    cluster: FakeCluster,
    name: str,
    namespace: str,
    account: str,
    last: int,
    containers: list[Json],
    **labels: str,
) -> Json:
    ip = f"10.{cluster.number}.0.{last}"
    return {
        "metadata": meta(name, namespace) | {"labels": labels},
        "spec": {
            "serviceAccountName": account,
            "nodeName": f"node{cluster.number}",
            "containers": containers,
        },
        "status": {
            "phase": "Running",
            "podIP": ip,
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def _slice(
    service: str, namespace: str, pod: str, address: str, node: str, *ports: tuple[str, int]
) -> Json:
    labels = {"kubernetes.io/service-name": service}
    return {
        "metadata": meta(f"{service}-abc", namespace) | {"labels": labels},
        "addressType": "IPv4",
        "ports": [{"name": name, "port": port, "protocol": "TCP"} for name, port in ports],
        "endpoints": [
            {
                "addresses": [address],
                "conditions": {"ready": True},
                "nodeName": node,
                "targetRef": {"kind": "Pod", "name": pod},
            }
        ],
    }


def _istiod(mesh: FakeMesh, cluster: FakeCluster) -> None:
    others = [other for other in mesh.clusters.values() if other is not cluster]
    shards = {
        f"Kubernetes/{one.name}": [
            {
                "Addresses": [f"10.{one.number}.0.5"],
                "EndpointPort": port,
                "ServicePortName": name,
                "Network": one.network,
                "Locality": {
                    "Label": f"region{one.number}/zone{one.number}",
                    "ClusterID": one.name,
                },
                "TLSMode": "istio",
                "HealthStatus": 1,
            }
            for name, port in (("http", 8080), ("tcp", 9090))
        ]
        for one in mesh.clusters.values()
    }
    types = ("cluster.v3.Cluster", "listener.v3.Listener", "endpoint.v3.ClusterLoadAssignment")
    resources = {
        f"type.googleapis.com/envoy.config.{name}": {
            "sent": "a",
            "acked": "a",
            "sentTime": "2026-01-01T00:00:00.123456789Z",
        }
        for name in types
    }
    n = cluster.number
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
            for one in mesh.clusters.values()
        ],
        "syncz": [
            {
                "cluster_id": cluster.name,
                "proxy": f"{pod}.{namespace}",
                "proxy_type": kind,
                "istio_version": "1.31.0",
                "resources": copy.deepcopy(resources),
            }
            for pod, namespace, kind in rows
        ],
        "adsz": {
            "clients": [
                {
                    "connectionId": f"{pod}.{namespace}-{place}",
                    "locality": {"region": f"region{n}", "zone": f"zone{n}"},
                }
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
    for name, document in documents.items():
        cluster.answers[(pod, 8080, f"/debug/{name}")] = document
    cluster.answers[(pod, 15014, "/version")] = "1.31.0-eed52ebb66ad-Clean"
    cluster.answers[(pod, 15014, "/metrics")] = (
        '# HELP istiod_managed_clusters x\nistiod_managed_clusters{cluster_type="remote"} 1\ngo_threads 12\n'
    )


def _proxy(mesh: FakeMesh, cluster: FakeCluster, pod: str, namespace: str, account: str) -> None:
    gateway = namespace == SYSTEM
    leaf = certificates.make_leaf(
        mesh.intermediates[cluster.name],
        spiffe_id=f"spiffe://cluster.local/ns/{namespace}/sa/{account}",
        valid=certificates.DAY,
    )
    endpoint_configs = []
    for port in (8080, 9090):
        groups = []
        for one in mesh.clusters.values():
            local = one is cluster
            if gateway and not local:
                continue
            address, number = (f"10.{one.number}.0.5", port) if local else (one.gateway, 15443)
            groups.append(
                {
                    "locality": {"region": f"region{one.number}", "zone": f"zone{one.number}"},
                    "lb_endpoints": [
                        {
                            "endpoint": {
                                "address": {
                                    "socket_address": {"address": address, "port_value": number}
                                }
                            },
                            "health_status": "HEALTHY",
                            "metadata": {
                                "filter_metadata": {
                                    "envoy.transport_socket_match": {"tlsMode": "istio"}
                                }
                            },
                            "load_balancing_weight": 1,
                        }
                    ],
                }
            )
        name = f"outbound_.{port}_._.{HOST}" if gateway else f"outbound|{port}||{HOST}"
        endpoint_configs.append({"endpoint_config": {"cluster_name": name, "endpoints": groups}})
    chains = [
        {
            "filter_chain_match": {"server_names": [f"outbound_.{port}_._.{HOST}"]},
            "filters": [
                {
                    "name": "envoy.filters.network.tcp_proxy",
                    "typed_config": {"cluster": f"outbound_.{port}_._.{HOST}"},
                }
            ],
        }
        for port in (8080, 9090)
    ]
    listeners, routes = ([], []) if gateway else _workload_listeners()
    tls = _mutual_tls(f"spiffe://cluster.local/ns/{PROBES}/sa/server")
    metadata = {
        "CLUSTER_ID": cluster.name,
        "NETWORK": cluster.network,
        "MESH_ID": "mesh1",
        "ISTIO_VERSION": "1.31.0",
        "LABELS": {"a": "b"},
    }
    place = {"region": f"region{cluster.number}", "zone": f"zone{cluster.number}"}
    configs: list[Json] = [
        {
            "@type": "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump",
            "bootstrap": {"node": {"id": pod, "metadata": metadata, "locality": place}},
        },
        {
            "@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump",
            "dynamic_active_clusters": [
                {"cluster": {"name": one, **({} if gateway else tls(one))}}
                for one in (
                    f"outbound_.{port}_._.{HOST}" if gateway else f"outbound|{port}||{HOST}"
                    for port in (8080, 9090)
                )
            ],
        },
        {
            "@type": "type.googleapis.com/envoy.admin.v3.EndpointsConfigDump",
            "dynamic_endpoint_configs": endpoint_configs,
        },
        {
            "@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump",
            "dynamic_listeners": [
                {
                    "name": "0.0.0.0_15443",
                    "active_state": {
                        "listener": {
                            "address": {
                                "socket_address": {"address": "0.0.0.0", "port_value": 15443}
                            },
                            "filter_chains": chains,
                        }
                    },
                }
            ]
            if gateway
            else listeners,
        },
        {
            "@type": "type.googleapis.com/envoy.admin.v3.SecretsConfigDump",
            "dynamic_active_secrets": [
                {
                    "name": "default",
                    "secret": {
                        "tls_certificate": {
                            "certificate_chain": {"inline_bytes": encoded(leaf.chain)},
                            "private_key": {"inline_bytes": encoded("[redacted]")},
                        }
                    },
                },
                {
                    "name": "ROOTCA",
                    "secret": {
                        "validation_context": {
                            "trusted_ca": {"inline_bytes": encoded(mesh.root.certificate)}
                        }
                    },
                },
            ],
        },
        {
            "@type": "type.googleapis.com/envoy.admin.v3.RoutesConfigDump",
            "dynamic_route_configs": [{"route_config": route} for route in routes],
        },
    ]
    cluster.answers[(pod, 15000, "/config_dump?include_eds")] = {"configs": configs}


def _workload_listeners() -> tuple[list[Json], list[Json]]:
    """What a sidecar listens on, for requests that go out and that come in, and its routes."""
    http = "envoy.filters.network.http_connection_manager"
    out = {"name": http, "typed_config": {"rds": {"route_config_name": "8080"}}}
    tcp = {
        "name": "envoy.filters.network.tcp_proxy",
        "typed_config": {"cluster": f"outbound|9090||{HOST}"},
    }

    def listener(name: str, port: int, chains: list[Json]) -> Json:
        address = {"socket_address": {"address": "0.0.0.0", "port_value": port}}
        return {
            "name": name,
            "active_state": {"listener": {"address": address, "filter_chains": chains}},
        }

    inside = [
        {
            "filter_chain_match": {"destination_port": port, "transport_protocol": protocol},
            "filters": [{"name": http, "typed_config": {"http_filters": []}}],
            **(
                {"transport_socket": {"name": "envoy.transport_sockets.tls"}}
                if protocol == "tls"
                else {}
            ),
        }
        for port in (8080, 9090)
        for protocol in ("tls", "raw_buffer")
    ]
    listeners = [
        listener("0.0.0.0_8080", 8080, [{"filters": [out]}]),
        listener("10.90.0.9_9090", 9090, [{"filters": [tcp]}]),
        listener("virtualInbound", 15006, inside),
    ]
    route = {"match": {"prefix": "/"}, "route": {"cluster": f"outbound|8080||{HOST}"}}
    return listeners, [
        {
            "name": "8080",
            "virtual_hosts": [{"name": HOST, "domains": [HOST, "echo"], "routes": [route]}],
        }
    ]


def _mutual_tls(identity: str) -> Callable[[str], Json]:
    def transport(cluster: str) -> Json:
        _, port, subset, host = cluster.split("|")
        common = {
            "tls_certificate_sds_secret_configs": [{"name": "default"}],
            "combined_validation_context": {
                "default_validation_context": {"match_subject_alt_names": [{"exact": identity}]}
            },
        }
        config = {"sni": f"outbound_.{port}_.{subset}_.{host}", "common_tls_context": common}
        return {
            "transport_socket_matches": [
                {"match": {"tlsMode": "istio"}, "transport_socket": {"typed_config": config}}
            ]
        }

    return transport
