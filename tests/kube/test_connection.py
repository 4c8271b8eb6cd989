"""Ways into a cluster by kubeconfig, against a real apiserver."""

from __future__ import annotations

import json
import stat
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pytest_istio_mc.errors import GivenUp, KubeError, ProvisionError
from pytest_istio_mc.eventually import eventually
from pytest_istio_mc.kube import Kube
from pytest_istio_mc.together import for_each
from tests.kubernetes_api import TOKEN, KubernetesApi

pytestmark = pytest.mark.lab


def _kube(
    api: KubernetesApi,
    folder: Path,
    user: Mapping[str, Any],
    cluster: Mapping[str, Any] | None = None,
) -> Kube:
    """A client with the apiserver's kubeconfig, but another user and cluster entry."""
    document = json.loads(api.kubeconfig.read_text())
    document["users"][0]["user"] = user
    document["clusters"][0]["cluster"].update(cluster or {})
    file = folder / "kubeconfig"
    file.write_text(json.dumps(document))
    return Kube("east", str(file), api.name)


def _plugin(folder: Path, expires: str) -> dict[str, Any]:
    """A credential plugin (client.authentication.k8s.io) that counts how often it is asked."""
    version = "client.authentication.k8s.io/v1"
    status = {"token": TOKEN, "expirationTimestamp": expires}
    credential = {"apiVersion": version, "kind": "ExecCredential", "status": status}
    (folder / "credential.json").write_text(json.dumps(credential))
    script = folder / "plugin"
    script.write_text(f"#!/bin/sh\necho asked >> {folder}/asked\ncat {folder}/credential.json\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return {"exec": {"apiVersion": version, "command": str(script), "interactiveMode": "Never"}}


def test_a_credential_plugin_is_asked_once(api: KubernetesApi, tmp_path: Path) -> None:
    kube = _kube(api, tmp_path, _plugin(tmp_path, "2999-01-01T00:00:00Z"))

    assert kube.list("Namespace")
    assert kube.list("Namespace")
    assert (tmp_path / "asked").read_text() == "asked\n"


def test_a_credential_that_has_expired_is_renewed(api: KubernetesApi, tmp_path: Path) -> None:
    kube = _kube(api, tmp_path, _plugin(tmp_path, "2020-01-01T00:00:00Z"))

    assert kube.list("Namespace")
    assert kube.list("Namespace")
    assert (tmp_path / "asked").read_text().count("asked") >= 2


def test_a_wrong_token_is_refused_with_401(api: KubernetesApi, tmp_path: Path) -> None:
    with pytest.raises(KubeError, match=r'cluster "east".*Unauthorized') as refused:
        _kube(api, tmp_path, {"token": "wrong"}).list("Namespace")

    assert refused.value.status == 401


def test_impersonation_is_heeded_for_requests_and_for_streams(
    api: KubernetesApi, tmp_path: Path
) -> None:
    kube = _kube(api, tmp_path, {"token": TOKEN, "as": "jane", "as-groups": ["readers", "writers"]})

    with pytest.raises(KubeError, match='User "jane" cannot list') as refused:
        kube.list("Namespace")
    with pytest.raises(KubeError, match='User "jane" cannot'):
        kube.exec("default", "any", "any", ["true"])
    who = kube.create(
        {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview", "metadata": {}}
    )

    assert refused.value.status == 403
    assert set(who["status"]["userInfo"]["groups"]) >= {"readers", "writers"}


def test_a_certificate_of_another_authority_is_not_trusted(
    api: KubernetesApi, tmp_path: Path
) -> None:
    from pytest_istio_mc.certificates import make_root

    authority = tmp_path / "ca.pem"
    authority.write_text(make_root("Foreign").certificate)
    kube = _kube(api, tmp_path, {"token": TOKEN}, {"certificate-authority": str(authority)})

    with pytest.raises(KubeError, match="certificate verify failed"):
        kube.list("Namespace")
    with pytest.raises(KubeError, match="certificate verify failed"):
        kube.exec("default", "any", "any", ["true"])


def test_an_unknown_context_is_named_with_the_next_move(api: KubernetesApi) -> None:
    kube = Kube("east", str(api.kubeconfig), "prod-a")

    with pytest.raises(KubeError, match='context "prod-a" cannot be used') as refused:
        kube.version()

    assert refused.value.advice == f"kubectl config get-contexts --kubeconfig={api.kubeconfig}"


def test_a_kubeconfig_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(KubeError, match='cluster "east"'):
        Kube("east", str(tmp_path / "missing"), "prod-a").version()


def test_many_threads_share_one_client(kube: Kube) -> None:
    def name(_: int) -> str:
        (found,) = kube.list("Namespace", fields="metadata.name=default")
        return str(found["metadata"]["name"])

    assert for_each(name, range(240), at_once=24) == ["default"] * 240


def test_waiting_for_a_cluster_that_is_given_up_ends_at_once(
    api: KubernetesApi, tmp_path: Path
) -> None:
    kube = _kube(api, tmp_path, {"token": TOKEN})
    failure = ProvisionError('cluster "east"', "kubelet ended with exit code 1")
    threading.Timer(0.3, kube.give_up, [failure]).start()

    with pytest.raises(GivenUp, match="kubelet ended with exit code 1") as ended:
        eventually(
            lambda: kube.read("Secret", "never", "default"),
            bool,
            within_seconds=60,
            what="a Secret is there",
        )
    with pytest.raises(GivenUp):
        kube.exec("default", "any", "any", ["true"])
    assert ended.value.why is failure
