"""A large mesh: thousands of services in two clusters, judged from a snapshot on disk.

Run as a program with a folder: it prints seconds of processor time, megabytes and outcomes as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from pytest_istio_mc.checks.catalogue import Kind, known_checks
from pytest_istio_mc.plain import from_json
from pytest_istio_mc.recorded import IstiodFacts
from pytest_istio_mc.snapshot import ClusterSnapshot, Snapshot
from pytest_istio_mc.spec import ClusterSpec, MeshSpec

SERVICES, NAMESPACES = 3000, 100
EMPTY = (
    "ServiceEntry.networking.istio.io",
    "Sidecar.networking.istio.io",
    "WorkloadEntry.networking.istio.io",
    "Gateway.networking.istio.io",
    "Gateway.gateway.networking.k8s.io",
    "ConfigMap",
    "Pod",
    "EndpointSlice",
)
DOMAIN = "svc.cluster.local"


def _meta(name: str, number: int, **labels: str) -> dict[str, Any]:
    return {"name": name, "namespace": f"team-{number % NAMESPACES}", "labels": labels}


def _objects(network: str) -> dict[str, Any]:
    every = range(SERVICES)
    ports = [{"name": "http", "port": 80, "targetPort": 8080}]
    ports += [{"name": "tcp", "port": 90, "targetPort": 9090}]
    injected = {"istio-injection": "enabled"}
    sidecar = {"security.istio.io/tlsMode": "istio", "topology.istio.io/network": network}
    return {
        "Namespace": [
            {"metadata": {"name": f"team-{n}", "labels": injected}} for n in range(NAMESPACES)
        ],
        "Node": [],
        "Service": [
            {
                "metadata": _meta(f"app-{n}", n),
                "spec": {"ports": ports, "selector": {"app": f"app-{n}"}, "clusterIP": "10.0.0.1"},
            }
            for n in every
        ],
        "PodMetadata": [
            {"metadata": _meta(f"app-{n}-{k}", n, app=f"app-{n}", version=f"v{k}", **sidecar)}
            for n in every
            for k in (1, 2)
        ],
        "VirtualService.networking.istio.io": [
            {
                "metadata": _meta(f"app-{n}", n),
                "spec": {
                    "hosts": [f"app-{n}"],
                    "http": [
                        {"route": [{"destination": {"host": f"app-{n}", "subset": "v1"}}]},
                    ],
                },
            }
            for n in every
        ],
        "DestinationRule.networking.istio.io": [
            {
                "metadata": _meta(f"app-{n}", n),
                "spec": {
                    "host": f"app-{n}",
                    "trafficPolicy": {"tls": {"mode": "ISTIO_MUTUAL"}},
                    "subsets": [{"name": "v1", "labels": {"version": "v1"}}],
                },
            }
            for n in every
        ],
        "AuthorizationPolicy.security.istio.io": [
            {
                "metadata": _meta(f"app-{n}", n),
                "spec": {
                    "selector": {"matchLabels": {"app": f"app-{n}"}},
                    "action": "ALLOW",
                    "rules": [
                        {
                            "from": [{"source": {"namespaces": [f"team-{n % NAMESPACES}"]}}],
                            "to": [{"operation": {"ports": ["8080", "9090"]}}],
                        }
                    ],
                },
            }
            for n in every
        ],
        "PeerAuthentication.security.istio.io": [
            {"metadata": _meta("default", n), "spec": {"mtls": {"mode": "STRICT"}}}
            for n in range(NAMESPACES)
        ],
        **{kind: [] for kind in EMPTY},
    }


def _shards() -> dict[str, Any]:
    groups = {
        f"network{n}": [
            {"count": 2, "name": name, "port": port, "network": f"network{n}", "tls_mode": "istio"}
            for name, port in (("http", 8080), ("tcp", 9090))
        ]
        for n in (1, 2)
    }
    shards = {
        f"Kubernetes/cluster{n}": {"count": 4, "digest": "x", "groups": groups[f"network{n}"]}
        for n in (1, 2)
    }
    return {
        f"app-{n}.team-{n % NAMESPACES}.{DOMAIN}": {f"team-{n % NAMESPACES}": shards}
        for n in range(SERVICES)
    }


def large() -> Snapshot:
    """The mesh."""
    specs = tuple(ClusterSpec(f"cluster{n}", f"network{n}") for n in (1, 2))
    mesh = {"trustDomain": "cluster.local", "rootNamespace": "istio-system", "enableAutoMtls": True}
    clusters = {}
    for spec in specs:
        debug = {"mesh": mesh, "endpointShardz": _shards()}
        istiod = IstiodFacts(f"istiod-{spec.name}", ready=True, debug=debug)
        document = json.dumps({"name": spec.name, "objects": _objects(spec.network)})
        found = from_json(ClusterSnapshot, document.encode())
        clusters[spec.name] = ClusterSnapshot(spec.name, objects=found.objects, istiods=(istiod,))
    mesh_spec = MeshSpec("multi-network-multi-primary", specs)
    return Snapshot(mesh_spec, "run", "2026-11-29T00:00:00+00:00", clusters)


def main(folder: Path) -> None:
    """Judge the snapshot in a folder."""
    checks = known_checks().values()
    began = time.process_time()
    snapshot = Snapshot.load(folder)
    loaded = time.process_time()
    verdicts = {
        check.id: check.judge(snapshot)
        for check in checks
        if check.kind is Kind.STATIC and check.area == "SERVICE"
    }
    done = time.process_time()
    status = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    result = {
        "load": loaded - began,
        "judge": done - loaded,
        "megabytes": peak / 1024,
        "outcomes": {id: f"{one.outcome.value}: {one.reason}" for id, one in verdicts.items()},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
