"""Real runs under the rights that ``istio-mc rbac`` prints, compared with the audit log.

Each attaches to a lab whose API servers write down every request, as a ServiceAccount that has
these rights and no others.
"""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_istio_mc.checks.catalogue import Profile, known_checks
from pytest_istio_mc.checks.privileges import privileges
from pytest_istio_mc.eventually import Timeouts
from pytest_istio_mc.kube import Kube
from pytest_istio_mc.kube.connecting import connected
from pytest_istio_mc.lab.lab import Lab
from pytest_istio_mc.mesh import Mesh
from pytest_istio_mc.progress import Progress
from pytest_istio_mc.providers.lab import bring_up
from pytest_istio_mc.rights import Right
from pytest_istio_mc.roles import Places
from pytest_istio_mc.topologies import known
from tests.audit import Asked, asked, covering, unused
from tests.conftest import require_toolchain

pytestmark = pytest.mark.lab

TOPOLOGY = "multi-network-multi-primary"
ACCOUNTS = "accounts"
CHECKOUT = Path(__file__).parents[2]

MADE_WHERE_PROBES_DO_NOT_COME_UP = {
    "get deployments.apps",
    "list events",
    "list replicasets.apps",
    "get pods/log",
}
"""Rights that a run uses only to say why its pods are not ready."""


@dataclass(frozen=True)
class AuditedLab:
    """A lab with a mesh, and a folder for the kubeconfigs and certificates of runs on it."""

    lab: Lab
    mesh: Mesh
    kubes: dict[str, Kube]
    folder: Path

    def account(self, name: str, *options: str) -> Path:
        """A kubeconfig of a new account that has in every cluster what ``istio-mc rbac`` prints."""
        text = printed("--service-account", f"{ACCOUNTS}/{name}", "--name", name, *options)
        manifests = list(yaml.safe_load_all(text))
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}
        config = yaml.safe_load(self.lab.kubeconfig.read_text())
        config["users"] = []
        for cluster, kube in self.kubes.items():
            kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": ACCOUNTS}})
            kube.apply(account, *manifests, namespace=ACCOUNTS)
            config["users"].append({"name": cluster, "user": {"token": self._token(kube, name)}})
        for context in config["contexts"]:
            context["context"]["user"] = context["name"]
        path = self.folder / f"{name}.kubeconfig"
        path.write_text(yaml.safe_dump(config))
        return path

    @staticmethod
    def _token(kube: Kube, name: str) -> str:
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/service-account-token",
            "metadata": {
                "name": name,
                "namespace": ACCOUNTS,
                "annotations": {"kubernetes.io/service-account.name": name},
            },
        }
        kube.apply(secret)
        for _ in range(100):
            found = kube.read("Secret", name, ACCOUNTS) or {}
            if token := (found.get("data") or {}).get("token"):
                return base64.b64decode(token).decode()
        raise AssertionError(f"no token for {name}")

    def certify(self, name: str, kubeconfig: Path, *options: str) -> dict[str, Any]:
        """The certificate of a run as that account, which must end with 0."""
        report, log = self.folder / f"{name}.yaml", self.folder / f"{name}.log"
        contexts = ",".join(f"{cluster}={cluster}" for cluster in self.kubes)
        command = [
            *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider"),
            *("--pyargs", "pytest_istio_mc.suites", f"--mesh-topology={TOPOLOGY}"),
            *("--mesh-provider=attach", f"--mesh-contexts={contexts}"),
            *(f"--mesh-kubeconfig={kubeconfig}", f"--mesh-report={report}"),
            *("--mesh-timeout-factor=4", *options),
        ]
        environment = {key: value for key, value in os.environ.items() if "MESH" not in key}
        with log.open("wb") as stream:
            done = subprocess.run(
                command, cwd=CHECKOUT, env=environment, stdout=stream, stderr=stream
            )
        print(log.read_text()[-3000:])
        certificate: dict[str, Any] = yaml.safe_load(report.read_text())
        return certificate

    def requests(self, name: str) -> dict[str, list[Asked]]:
        """All requests of an account, by cluster."""
        user = f"system:serviceaccount:{ACCOUNTS}:{name}"
        plan = self.lab.plan
        return {node.name: asked(plan.audit_log(node), user) for node in plan.nodes}


def printed(*options: str) -> str:
    """What ``istio-mc rbac`` prints."""
    command = [sys.executable, "-m", "pytest_istio_mc.cli", "rbac", "--topology", TOPOLOGY]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AuditedLab]:
    """A lab of two clusters that writes down every request."""
    require_toolchain()
    topology = known()[TOPOLOGY]
    name, waits = f"audited-{os.getpid()}", Timeouts()
    with ExitStack() as stack:
        up = bring_up(topology, topology.default_spec(), name, waits, Progress(), audited=True)
        lab, mesh = stack.enter_context(up)
        kubes = stack.enter_context(connected(mesh.spec, waits))
        yield AuditedLab(lab, mesh, kubes, tmp_path_factory.mktemp("audited"))


def rights(*, static: bool = False, disruptive: bool = False) -> tuple[Right, ...]:
    """The rights of such a run on this topology."""
    features = known()[TOPOLOGY].default_spec().features
    checks = [
        check
        for check in known_checks().values()
        if set(check.requires) <= set(features)
        and not check.needs
        and (disruptive or check.profile is not Profile.DISRUPTIVE)
    ]
    return tuple(privileges(checks, reads_only=static, may_disrupt=disruptive))


def not_granted(
    requests: Iterable[Asked], granted: Sequence[Right], own: Sequence[str]
) -> list[str]:
    """The requests that no right allows, but for those that were refused and cost nothing."""
    return sorted({str(one) for one in requests if not covering(granted, Places(), one, own)})


def own_namespaces(certificate: dict[str, Any], requests: Iterable[Asked]) -> list[str]:
    """The run's own namespaces, by its id."""
    made = f"istio-mc-{certificate['mesh']['runId']}"
    names = {one.namespace or one.name for one in requests}
    return sorted(name for name in names if name == made or name.startswith(f"{made}-"))


REFUSED_AND_HARMLESS = {"list secrets.  : 403"}


def test_a_core_run_succeeds_with_exactly_the_printed_rights(audited: AuditedLab) -> None:
    certificate = audited.certify("core", audited.account("core"))

    assert certificate["claim"]["profile"] == "core"
    by_cluster = audited.requests("core")
    everything = [one for requests in by_cluster.values() for one in requests]
    own, granted = own_namespaces(certificate, everything), rights()
    written = [one for one in everything if one.is_written]
    assert written
    print("OWN", own)
    print("NOT GRANTED", not_granted(everything, granted, own))
    used = {key: one for one in everything for key in covering(granted, Places(), one, own)}
    print("UNUSED", unused(used, granted))
    print(
        "WRITTEN ELSEWHERE", [str(one) for one in written if (one.namespace or one.name) not in own]
    )
    raise AssertionError
