"""The same mesh by hand, command by command.

- The commands are those of Istio's page "Install Multi-Primary on different networks".
- The last step is that page's verification: requests from each cluster, until both versions answer.
- The clusters are the lab's: only the work above Kubernetes is compared.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.certification import TOPOLOGY
from pytest_istio_mc import certificates, topologies
from pytest_istio_mc.eventually import Timeouts
from pytest_istio_mc.lab import lab
from pytest_istio_mc.lab.binaries import images, toolchain
from pytest_istio_mc.lab.istio_settings import LAB_SETTINGS
from pytest_istio_mc.progress import Progress
from pytest_istio_mc.spec import ClusterSpec, MeshSpec
from pytest_istio_mc.topologies import istio

_ANSWERING = """
import http.server, os
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = os.environ["VERSION"].encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer(("", 5000), Answer).serve_forever()
"""
_ASKING = """
import urllib.request
answer = urllib.request.urlopen("http://helloworld.sample:5000/hello", timeout=5)
print(answer.read().decode())
"""
REQUESTS = 20


def measure() -> Iterator[tuple[str, float]]:
    """Each step by hand with its seconds; ``SystemExit`` where one fails."""
    tools = toolchain.ensure(Progress())
    spec = topologies.known()[TOPOLOGY].default_spec()
    name, within_seconds = f"by-hand-{os.getpid()}", Timeouts().cluster_ready
    began = time.monotonic()
    running = lab.start(spec, name, tools, Progress(), within_seconds=within_seconds)
    try:
        running.wait_ready()
        yield "clusters ready", time.monotonic() - began
        distribution = istio.IstioDistribution(
            tools.bin / "istioctl", images.ISTIO_HUB, images.ISTIO_TAG, tools.home, LAB_SETTINGS
        )
        with tempfile.TemporaryDirectory() as folder:
            hand = _Hand(spec, running, tools, distribution, Path(folder))
            for name, step in (
                ("CA certificates", hand.trust),
                ("istioctl install", hand.install),
                ("east-west gateways", hand.gateways),
                ("remote secrets", hand.remote_secrets),
                ("sample applications", hand.sample),
                ("request loop", hand.verify),
            ):
                step_began = time.monotonic()
                step()
                yield name, time.monotonic() - step_began
        yield "whole", time.monotonic() - began
    finally:
        running.stop()


@dataclass(frozen=True)
class _Hand:
    spec: MeshSpec
    running: lab.Lab
    tools: toolchain.Toolchain
    distribution: istio.IstioDistribution
    folder: Path

    def trust(self) -> None:
        root = certificates.make_root()
        for cluster in self.spec:
            home = self.folder / cluster.name
            home.mkdir()
            authority = certificates.make_intermediate(root, cluster.name)
            files = certificates.cacerts_files(authority, root)
            for name, content in files.items():
                (home / name).write_bytes(content)
            network = f"topology.istio.io/network={cluster.network}"
            sources = [f"--from-file={home / name}" for name in files]
            secret = ["secret", "generic", "cacerts", "-n", "istio-system", *sources]
            self.kubectl(cluster, "create", "namespace", "istio-system")
            self.kubectl(cluster, "label", "namespace", "istio-system", network)
            self.kubectl(cluster, "create", *secret)

    def install(self) -> None:
        for cluster in self.spec:
            operator = istio.control_plane(self.spec, cluster, self.distribution)
            self.istioctl(cluster, "install", "-y", "-f", "-", stdin=operator)

    def gateways(self) -> None:
        for cluster in self.spec:
            operator = istio.east_west_gateway(self.spec, cluster, self.distribution)
            self.istioctl(cluster, "install", "-y", "-f", "-", stdin=operator)
            self.kubectl(cluster, "apply", "-f", "-", stdin=istio.cross_network_gateway(self.spec))

    def remote_secrets(self) -> None:
        for cluster, node in zip(self.spec, self.running.plan.nodes, strict=True):
            options = [f"--name={cluster.name}", f"--server={node.peer_server}"]
            secret = self.istioctl(cluster, "create-remote-secret", *options)
            for other in self.spec:
                if other is not cluster:
                    self.kubectl(other, "apply", "-f", "-", stdin=secret)

    def sample(self) -> None:
        for number, cluster in enumerate(self.spec, 1):
            self.kubectl(cluster, "create", "namespace", "sample")
            self.kubectl(cluster, "label", "namespace", "sample", "istio-injection=enabled")
            self.kubectl(cluster, "apply", "-n", "sample", "-f", "-", stdin=_sample(f"v{number}"))
        available = ["--for=condition=Available", "deploy", "--all", "--timeout=120s"]
        for cluster in self.spec:
            self.kubectl(cluster, "wait", "-n", "sample", *available)

    def verify(self) -> None:
        everybody = {f"v{number}" for number, _ in enumerate(self.spec, 1)}
        curl = ["exec", "-n", "sample", "deploy/curl", "-c", "curl", "--", "python3", "-c", _ASKING]
        for cluster in self.spec:
            answered = {self.kubectl(cluster, *curl).strip() for _ in range(REQUESTS)}
            if answered != everybody:
                seen = f"only {sorted(answered)} answered in {REQUESTS} requests"
                raise SystemExit(f"by hand: from {cluster.name} {seen}")

    def kubectl(self, cluster: ClusterSpec, *arguments: str, stdin: Any = None) -> str:
        return self._run("kubectl", cluster, arguments, stdin)

    def istioctl(self, cluster: ClusterSpec, *arguments: str, stdin: Any = None) -> str:
        return self._run("istioctl", cluster, arguments, stdin)

    def _run(
        self, program: str, cluster: ClusterSpec, arguments: tuple[str, ...], stdin: Any
    ) -> str:
        where = [f"--kubeconfig={self.running.kubeconfig}", f"--context={cluster.name}"]
        done = subprocess.run(
            [str(self.tools.bin / program), *where, *arguments],
            input=stdin if isinstance(stdin, str) else json.dumps(stdin),
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        if done.returncode:
            raise SystemExit(f"by hand: {program} {' '.join(arguments)}: {done.stderr[-2000:]}")
        return done.stdout


def _sample(version: str) -> dict[str, Any]:
    def deployment(name: str, labels: dict[str, str], program: str) -> dict[str, Any]:
        container = {
            "name": name.partition("-")[0],
            "image": images.PYTHON,
            "args": ["-c", program],
            "env": [{"name": "VERSION", "value": version}],
        }
        pod = {
            "metadata": {"labels": labels},
            "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
        }
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name},
            "spec": {"selector": {"matchLabels": labels}, "template": pod},
        }

    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "helloworld"},
        "spec": {"selector": {"app": "helloworld"}, "ports": [{"name": "http", "port": 5000}]},
    }
    labels = {"app": "helloworld", "version": version}
    hello = deployment(f"helloworld-{version}", labels, _ANSWERING)
    curl = deployment("curl", {"app": "curl"}, "import time; time.sleep(1e9)")
    return {"apiVersion": "v1", "kind": "List", "items": [service, hello, curl]}
