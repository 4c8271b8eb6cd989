"""A real lab mesh for seeding faults.

Real pytest runs attach to it and certify it; remedies typed into a shell mend it.
"""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_istio_mc import topologies
from pytest_istio_mc.eventually import Timeouts
from pytest_istio_mc.kube import Kube
from pytest_istio_mc.lab.binaries import toolchain
from pytest_istio_mc.lab.lab import Lab
from pytest_istio_mc.progress import Progress
from pytest_istio_mc.providers.lab import bring_up
from pytest_istio_mc.snapshot import Snapshot
from pytest_istio_mc.spec import MeshSpec
from pytest_istio_mc.spec_file import document_of

CHECKOUT = Path(__file__).parents[2]
Json = dict[str, Any]


@dataclass
class SeededMesh:
    """One lab mesh, which ends with this process.

    ``folder`` gets the files of its runs, and by cluster the CA files that the mesh was built with.
    """

    name: str
    folder: Path
    topology: str
    spec: MeshSpec = field(init=False)
    kubes: Mapping[str, Kube] = field(init=False, default_factory=dict)
    _lab: Lab = field(init=False)
    _built: ExitStack = field(init=False, default_factory=ExitStack)

    def build(self) -> None:
        """Make the mesh, or make it anew where there is one."""
        self.remove()
        topology = topologies.known()[self.topology]
        built = bring_up(topology, topology.default_spec(), self.name, Timeouts(), Progress())
        self._lab, mesh = self._built.enter_context(built)
        self.spec = mesh.spec
        self._spec_file.write_text(yaml.safe_dump(document_of(self.spec)))
        kubes = [Kube(cluster.name, self.spec.kubeconfig, cluster.context) for cluster in self.spec]
        self.kubes = {kube.name: self._built.enter_context(closing(kube)) for kube in kubes}
        for cluster in self.kubes:
            self._keep_certificates(cluster)

    def remove(self) -> None:
        """Remove the mesh, if there is one."""
        self._built.close()

    def certify(self, name: str, *options: str) -> Json:
        """The certificate of a pytest run that attaches; ``name`` names its files."""
        report, environment = self.folder / f"{name}.yaml", self._environment()
        pytest_here = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider")
        mesh = (f"--mesh-topology={self.spec.topology}", f"--mesh-spec={self._spec_file}")
        run = (*pytest_here, *mesh, "--mesh-provider=attach", f"--mesh-report={report}", *options)
        with (self.folder / f"{name}.log").open("wb") as log:
            done = subprocess.run(run, cwd=CHECKOUT, env=environment, stdout=log, stderr=log)
        assert done.returncode in (0, 1), f"pytest ended with {done.returncode}, see {log.name}"
        certificate: Json = yaml.safe_load(report.read_text())
        return certificate

    def type_in(self, remedy: str, cluster: str) -> str:
        """Run a printed remedy in the folder with the CA files of ``cluster``.

        With it, what it leaves to people: in these meshes they decide for it.
        """
        decided = [line.removeprefix("# ") for line in remedy.splitlines() if _is_decision(line)]
        return "".join(self.shell(one, self.folder / cluster) for one in (remedy, *decided))

    def server_of(self, cluster: str) -> str:
        """The API server of a cluster, as the others reach it."""
        return next(node.peer_server for node in self._lab.plan.nodes if node.name == cluster)

    def shell(self, command: str, folder: Path | None = None) -> str:
        """Run a command line, which must end with 0; return its output."""
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=folder or self.folder,
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}"
        return done.stdout

    def pods_of(self, cluster: str) -> str:
        """The range of a cluster's pod addresses."""
        return next(node.pod_range for node in self._lab.plan.nodes if node.name == cluster)

    def on_node(self, cluster: str, *command: str) -> None:
        """Run a command in the network of a cluster's node."""
        kubelet = self._lab.order("status")[cluster]["kubelet"]
        inside = ["nsenter", "-t", str(kubelet), "-n", *command]
        subprocess.run(inside, check=True, capture_output=True, text=True)

    def signal(self, cluster: str, component: str, name: str) -> None:
        """Send a signal to a component of a cluster's node."""
        self._lab.order("signal", cluster=cluster, component=component, signal=name)

    def start(self, cluster: str, component: str) -> None:
        """Start a component that was ended."""
        self._lab.order("start", cluster=cluster, component=component)

    @property
    def _spec_file(self) -> Path:
        return self.folder / "mesh-spec.yaml"

    def _keep_certificates(self, cluster: str) -> None:
        home = self.folder / cluster
        home.mkdir(exist_ok=True)
        secret = self.kubes[cluster].read("Secret", "cacerts", self.spec.istio_namespace)
        # a remote cluster's certificates come from its primary
        for name, content in (secret or {"data": {}})["data"].items():
            (home / name).write_bytes(base64.b64decode(content))

    def _environment(self) -> dict[str, str]:
        """The tools of Istio and Kubernetes on the PATH, the lab's kubeconfig by default."""
        tools = toolchain.cached()
        assert tools is not None
        unwanted = ("MESH_", "PYTEST_", "COV_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
        ours = Path(sys.executable).parent  # istio-mc
        path = f"{tools.bin}:{ours}:{kept['PATH']}"
        return kept | {"PATH": path, "KUBECONFIG": self.spec.kubeconfig}


def _is_decision(line: str) -> bool:
    """Whether a line of a remedy is a command that somebody has to decide about."""
    return line.startswith(("# kubectl ", "# istioctl "))


def record(snapshot: Path, folder: Path) -> None:
    """Keep a snapshot for the tests: compressed, without paths of this machine."""
    found = Snapshot.load(snapshot)
    for file in folder.rglob("*.json*"):
        file.unlink()
    replace(found, spec=replace(found.spec, kubeconfig="")).save(folder, compress=True)


def on(topology: str, *values: object, id: str = "") -> Any:
    """The parameters of a test on a topology; ``-k`` finds it by its id."""
    return pytest.param(topology, *values, id="-".join(filter(None, (topology, id))))
