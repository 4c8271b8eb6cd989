"""Real runs under the rights that ``istio-mc rbac`` prints, compared with the audit log.

Each attaches to a lab whose API servers write down every request, as a ServiceAccount that has
these rights and no others.
"""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from collections.abc import Iterator
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
from pytest_istio_mc.rights import Permission, Right
from pytest_istio_mc.roles import Places
from pytest_istio_mc.topologies import known
from tests.audit import Asked, asked, covering, unused
from tests.conftest import require_toolchain

pytestmark = pytest.mark.lab

TOPOLOGY = "multi-network-multi-primary"
ACCOUNTS = "accounts"
CHECKOUT = Path(__file__).parents[2]

NOT_READY = "only to say why pods do not come up"
UNUSED_WITH_REASON = {
    "get deployments.apps": NOT_READY,
    "list events": NOT_READY,
    "list replicasets.apps": NOT_READY,
    "get pods/log": NOT_READY,
    "list gateways.gateway.networking.k8s.io": "only where the Gateway API is installed",
    "create networkpolicies.networking.k8s.io": "only where new namespaces get policies",
    "patch networkpolicies.networking.k8s.io": "only where new namespaces get policies",
    "create sidecars.networking.istio.io": "only where a Sidecar limits what all proxies know",
    "patch sidecars.networking.istio.io": "only where a Sidecar limits what all proxies know",
}
"""What is granted for what did not happen here, by what it is for."""

REFUSED_AND_HARMLESS = {"list secrets. : 403", "list configmaps. : 403"}
"""What is looked for in all namespaces where it may be, and else not missed.

Remote secrets in the wrong one, and what killed runs of earlier versions changed.
"""


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

    def attached(self, kubeconfig: Path) -> tuple[str, ...]:
        """The options of a run as the account of that kubeconfig."""
        contexts = ",".join(f"{cluster}={cluster}" for cluster in self.kubes)
        mesh = ("--mesh-provider=attach", f"--mesh-contexts={contexts}")
        return (*mesh, f"--mesh-kubeconfig={kubeconfig}")

    def certify(
        self, name: str, kubeconfig: Path, *options: str, code: int | None = 0
    ) -> dict[str, Any]:
        """The certificate of a run as that account, which must end with ``code``.

        Other tests crowd the machine that the lab shares with them, so that it gets more time.
        """
        report, log = self.folder / f"{name}.yaml", self.folder / f"{name}.log"
        command = [
            *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider"),
            *("--pyargs", "pytest_istio_mc.suites", f"--mesh-topology={TOPOLOGY}"),
            *self.attached(kubeconfig),
            *(f"--mesh-report={report}", "--mesh-timeout-factor=4", *options),
        ]
        environment = {key: value for key, value in os.environ.items() if "MESH" not in key}
        with log.open("wb") as stream:
            done = subprocess.run(
                command, cwd=CHECKOUT, env=environment, stdout=stream, stderr=stream
            )
        assert code in (None, done.returncode), log.read_text()[-6000:]
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


@dataclass(frozen=True)
class Audit:
    """The requests of a run, and what it was granted."""

    requests: list[Asked]
    granted: tuple[Right, ...]
    own: tuple[str, ...]

    @property
    def written(self) -> list[Asked]:
        """The requests that may have changed anything."""
        return [one for one in self.requests if one.is_written]

    @property
    def outside(self) -> set[str]:
        """What was written outside the run's own namespaces."""
        return {str(one) for one in self.written if (one.namespace or one.name) not in self.own}

    @property
    def refused(self) -> set[str]:
        """The requests that no right allows."""
        return {str(one) for one in self.requests if not self._rights_to(one)}

    @property
    def unused(self) -> set[str]:
        """What was granted and not used."""
        return set(
            unused([key for one in self.requests for key in self._rights_to(one)], self.granted)
        )

    def _rights_to(self, one: Asked) -> list[tuple[Right, str]]:
        return covering(self.granted, Places(), one, self.own)


def audit_of(
    audited: AuditedLab, name: str, certificate: dict[str, Any], granted: tuple[Right, ...]
) -> Audit:
    """The requests of an account, whose runs have left that certificate."""
    found = [one for requests in audited.requests(name).values() for one in requests]
    made = f"istio-mc-{certificate['mesh']['runId']}"
    names = {one.namespace or one.name for one in found}
    own = sorted(one for one in names if one == made or one.startswith(f"{made}-"))
    return Audit(found, granted, tuple(own))


def planned(*options: str) -> str:
    """What ``--mesh-plan`` tells of changes, and of what is made."""
    command = [sys.executable, "-m", "pytest", "--mesh-plan", f"--mesh-topology={TOPOLOGY}"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=True)
    return " ".join(done.stdout.partition("changes ")[2].partition("removed ")[0].split())


def test_a_core_run_succeeds_with_exactly_the_printed_rights(audited: AuditedLab) -> None:
    kubeconfig = audited.account("core")

    certificate = audited.certify("core", kubeconfig)

    assert certificate["result"] == "success"
    audit = audit_of(audited, "core", certificate, rights())
    assert audit.written
    assert audit.outside == set()
    assert audit.refused <= REFUSED_AND_HARMLESS
    assert audit.unused <= UNUSED_WITH_REASON.keys()
    plan = planned(*audited.attached(kubeconfig))
    assert plan.startswith("nothing outside its own namespaces")
    assert {one.resource for one in audit.written if f" {one.resource}" not in plan} == set()


def test_a_static_run_writes_nothing_and_needs_no_more_than_to_read(audited: AuditedLab) -> None:
    kubeconfig = audited.account("static", "--static")

    certificate = audited.certify("static", kubeconfig, "--mesh-checks=static")

    wanted = {id for id, check in known_checks().items() if check.reads_only}
    ran = {one["id"] for one in certificate["checks"] if one["ran"]}
    assert ran <= wanted
    assert len(ran) > 10
    assert certificate["result"] == "partial"  # the live ones are claimed, too
    audit = audit_of(audited, "static", certificate, rights(static=True))
    assert [str(one) for one in audit.requests if one.is_written or one.is_dry_run] == []
    assert audit.refused <= REFUSED_AND_HARMLESS
    assert audit.unused <= UNUSED_WITH_REASON.keys()


def test_who_may_only_read_is_told_what_a_whole_run_lacks(audited: AuditedLab) -> None:
    kubeconfig = audited.account("reader", "--static")

    certificate = audited.certify("reader", kubeconfig, code=3)

    entries = {one["id"]: one for one in certificate["checks"]}
    assert certificate["result"] == "inconclusive"
    for id, check in known_checks().items():
        if check.reads_only and entries[id]["ran"]:
            verdict = entries[id]["verdict"]
            assert verdict in ("conformant", "not-applicable"), entries[id]["reason"]
    reason = entries["MC-DISCOVERY-003"]["reason"]
    assert 'cannot patch resource "namespaces"' in reason


def test_a_disruptive_run_does_what_its_rights_allow_and_nothing_else(audited: AuditedLab) -> None:
    kubeconfig = audited.account("disruptive", "--disruptive")
    allowed = f"--mesh-allow={','.join(permission.value for permission in Permission)}"
    options = ("--mesh-disruptive", "--mesh-profile=disruptive", allowed)

    certificate = audited.certify("disruptive", kubeconfig, *options, code=None)

    claimed = [one for one in certificate["checks"] if one["claimed"]]
    assert [one["id"] for one in claimed if not one["ran"]] == []
    assert [one["reason"] for one in claimed if "forbidden" in one["reason"]] == []
    audit = audit_of(audited, "disruptive", certificate, rights(disruptive=True))
    assert audit.outside
    assert audit.refused <= REFUSED_AND_HARMLESS
    assert audit.unused <= UNUSED_WITH_REASON.keys()
    plan = planned(*audited.attached(kubeconfig), *options)
    assert {one.resource for one in audit.written if f" {one.resource}" not in plan} == set()


def test_a_run_that_may_not_do_it_to_others_leaves_it_out_and_says_so(audited: AuditedLab) -> None:
    kubeconfig = audited.account("careful", "--disruptive")
    options = ("--mesh-disruptive", "--mesh-profile=disruptive")
    checks = "--mesh-checks=MC-EASTWEST-008,MC-APISERVER-007,MC-CLUSTERLOCAL"

    certificate = audited.certify("careful", kubeconfig, *options, checks)

    entries = {one["id"]: one for one in certificate["checks"]}
    assert certificate["result"] == "partial"
    for number in (1, 2, 4, 5, 6):
        assert entries[f"MC-CLUSTERLOCAL-00{number}"]["verdict"] == "conformant"
    for id, permission in (
        ("MC-EASTWEST-008", Permission.SINGLE_GATEWAYS),
        ("MC-APISERVER-007", Permission.REMOTE_SECRETS),
        ("MC-CLUSTERLOCAL-003", Permission.EVERY_SERVICE),
    ):
        assert (entries[id]["claimed"], entries[id]["ran"]) == (True, False)
        assert permission.effect in entries[id]["reason"]
        assert f"--mesh-allow={permission.value}" in entries[id]["reason"]
    audit = audit_of(audited, "careful", certificate, rights(disruptive=True))
    elsewhere = [one for one in audit.written if (one.namespace or one.name) not in audit.own]
    assert {one.resource for one in elsewhere}.isdisjoint({"pods", "deployments"})
    secrets = {one.name for one in elsewhere if one.resource == "secrets" and one.verb == "delete"}
    assert {name for name in secrets if not name.startswith("istio-mc-")} == set()
