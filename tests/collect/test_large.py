"""A large cluster: ten thousand pods and a thousand Services cost little here, and little there."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.fake_clusters import Json

MOST_MEGABYTES = 200
PADDING = "x" * 6000
"""What real objects have besides: managed fields, annotations, containers with their variables."""

COLLECT = """
import json, sys
from pathlib import Path
from pytest_istio_mc.collect import collect
from pytest_istio_mc.kube import Kube
from pytest_istio_mc.mesh import Mesh
from pytest_istio_mc.progress import Progress
from pytest_istio_mc.spec import ClusterSpec, MeshSpec

specs = tuple(ClusterSpec(f"cluster{n}", f"network{n}") for n in (1, 2))
spec = MeshSpec("multi-network-multi-primary", specs)
kubes = {one.name: Kube(one.name, sys.argv[1], "large") for one in specs}
snapshot = collect(Mesh(spec, "run", "attach", "image"), Progress(), kubes=kubes)
cluster = snapshot.clusters["cluster1"]
print(json.dumps({
    # VmHWM begins with the program; ru_maxrss would have begun with what the test process had
    "megabytes": next(
        int(line.split()[1])
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmHWM")
    ) / 1024,
    "listed": {kind: len(items) for kind, items in cluster.objects.items()},
    "failures": [one.error for one in cluster.failures],
}))
"""


@dataclass
class LargeApi:
    """An API server with objects by path; it filters and pages as the real one does.

    ``sent``: how many whole objects of each collection it had to send.
    """

    objects: dict[str, list[Json]]
    sent: dict[str, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, path: str, query: dict[str, list[str]], accept: str) -> Any:
        if path == "/version":
            return {"gitVersion": "v1.36.1"}
        if path == "/apis":
            return {"groups": []}
        parts = path.strip("/").split("/")
        place = parts.index("namespaces") if "namespaces" in parts else -1
        namespace = parts[place + 1] if 0 < place < len(parts) - 2 else ""
        kind = parts[place + 2] if namespace else parts[-1]
        found = self.objects.get(kind)
        if found is None or (namespace and len(parts) > place + 3):
            return None
        found = [one for one in found if namespace in ("", one["metadata"].get("namespace"))]
        for selector in query.get("labelSelector", []):
            wanted = dict(one.split("=", 1) for one in selector.split(","))
            found = [one for one in found if wanted.items() <= one["metadata"]["labels"].items()]
        begin = int(query.get("continue", ["0"])[0])
        end = begin + int(query.get("limit", [len(found)])[0])
        page, rest = found[begin:end], {"continue": str(end)} if end < len(found) else {}
        if "PartialObjectMetadata" in accept:
            page = [{"metadata": {**one["metadata"], "managedFields": []}} for one in page]
        else:
            with self.lock:
                self.sent[kind] = self.sent.get(kind, 0) + len(page)
        return {"metadata": rest, "items": page}


def _object(name: str, namespace: str = "", **more: Any) -> Json:
    labels = {"app": name, "pod-template-hash": "abc"}
    metadata = {"name": name, "uid": name, "labels": labels, "managedFields": [{"x": PADDING}]}
    return {"metadata": metadata | ({"namespace": namespace} if namespace else {}), **more}


def _pod(number: int) -> Json:
    containers = [{"name": "app", "env": [{"name": "PASSWORD", "value": PADDING[:1000]}]}]
    spec = {"containers": containers}
    return _object(f"pod-{number}", f"tenant-{number % 50}", spec=spec, status={"phase": "Running"})


def _service(number: int) -> Json:
    ports = [{"name": "tls" if number == 7 else "http", "port": 15443 if number == 7 else 80}]
    spec = {"ports": ports, "selector": {"app": f"pod-{number}"}, "type": "ClusterIP"}
    return _object(f"service-{number}", f"tenant-{number % 50}", spec=spec, status={})


@pytest.fixture(scope="module")
def large() -> Iterator[tuple[LargeApi, int]]:
    """The server, and its port on loopback."""
    api = LargeApi(
        {
            "pods": [_pod(number) for number in range(10_000)],
            "services": [_service(number) for number in range(1_000)],
            "secrets": [
                _object(f"helm-{n}", "istio-system", data={"x": PADDING}) for n in range(500)
            ],
            "configmaps": [
                _object(f"c-{n}", f"tenant-{n % 50}", data={"x": PADDING}) for n in range(3000)
            ],
            "nodes": [_object(f"node-{n}", status={"images": PADDING}) for n in range(500)],
            "namespaces": [_object(f"tenant-{n}") for n in range(50)],
            "endpointslices": [_object(f"e-{n}", f"tenant-{n % 50}") for n in range(1_000)],
            "clusterroles": [_object(f"role-{n}", rules=[PADDING]) for n in range(500)],
        }
    )

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            accept = self.headers.get("Accept", "")
            document = api.answer(parts.path, parse_qs(parts.query), accept)
            body = json.dumps(document).encode()
            self.send_response(404 if document is None else 200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield api, server.server_port
        server.shutdown()


def test_a_large_cluster_costs_little(large: tuple[LargeApi, int], tmp_path: Path) -> None:
    api, port = large
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "large",
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "u", "user": {"token": "token-of-the-test"}}],
        "contexts": [{"name": "large", "context": {"cluster": "c", "user": "u"}}],
    }
    (tmp_path / "kubeconfig").write_text(json.dumps(kubeconfig))

    command = [sys.executable, "-c", COLLECT, str(tmp_path / "kubeconfig")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)

    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["megabytes"] < MOST_MEGABYTES
    assert result["failures"] == []
    listed = result["listed"]
    assert (listed["Service"], listed["Node"], listed["Namespace"]) == (1000, 500, 50)
    # the pod behind the Service with the port of gateways is looked at, and no other
    assert listed["Pod"] == 1
    assert api.sent["pods"] == 2, "once for each of the two clusters"
    for kind in ("configmaps", "endpointslices", "secrets", "nodes", "namespaces", "clusterroles"):
        assert api.sent.get(kind, 0) == 0, "of these metadata is enough, or a name is known"
