"""What clusters and meshes demand of namespaces and pods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from pytest_istio_mc.errors import KubeError
from pytest_istio_mc.kube import Kube
from pytest_istio_mc.mesh import Mesh, Wishes
from pytest_istio_mc.probes.surroundings import (
    assigns_users,
    default_sidecar,
    discovery_labels,
    injection,
    mesh_config,
    opened,
)
from pytest_istio_mc.probes.workloads import run_namespace
from pytest_istio_mc.spec import ClusterSpec, MeshSpec, Role

RUN = "0123abcd"


@dataclass
class Surrounding:
    """A cluster as far as it is asked about its surroundings; ``refused`` kinds may not be read."""

    name: str = "east"
    groups: Sequence[str] = ("apps",)
    objects: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)
    refused: Sequence[str] = ()

    def get_path(self, path: str) -> Any:
        assert path == "/apis"
        self._may("apis")
        return {"groups": [{"name": name} for name in self.groups]}

    def list(self, kind: str, namespace: str = "", *, labels: str = "") -> Any:
        self._may(kind)
        return self.objects.get(kind, [])

    def read(self, kind: str, name: str, namespace: str = "") -> Any:
        self._may(kind)
        found = self.objects.get(kind, [])
        return next((item for item in found if item["metadata"]["name"] == name), None)

    def _may(self, kind: str) -> None:
        if kind in self.refused:
            raise KubeError(self.name, f"read {kind}", "forbidden", status=403)


def kube(**given: Any) -> Kube:
    return cast("Kube", Surrounding(**given))


def config_map(text: str, name: str = "istio") -> dict[str, list[dict[str, Any]]]:
    return {"ConfigMap": [{"metadata": {"name": name}, "data": {"mesh": text}}]}


def webhooks(*selected: tuple[dict[str, str], str]) -> dict[str, list[dict[str, Any]]]:
    found = []
    for labels, heeded in selected:
        rule = {"key": "istio-injection", "operator": "In", "values": [heeded]}
        hook = {"namespaceSelector": {"matchExpressions": [rule]}}
        found.append({"metadata": {"labels": labels}, "webhooks": [hook]})
    return {"MutatingWebhookConfiguration": found}


MESH = Mesh(MeshSpec("test", (ClusterSpec("east", "network1"),)), RUN, "attach", "python")


@pytest.mark.parametrize(
    ("selectors", "labels"),
    [
        ([], {}),
        ([{"matchLabels": {"mesh": "on"}}], {"mesh": "on"}),
        ([{"matchLabels": {"istio-injection": "enabled"}}], {}),
        ([{"matchLabels": {"mesh": "on"}}, {"matchLabels": {"istio-injection": "enabled"}}], {}),
        (
            [{"matchLabels": {"istio-injection": "disabled"}}, {"matchLabels": {"a": "b"}}],
            {"a": "b"},
        ),
        ([{"matchLabels": {"istio-injection": "disabled"}}], {}),
        (
            [{"matchExpressions": [{"key": "env", "operator": "In", "values": ["a", "b"]}]}],
            {"env": "a"},
        ),
        ([{"matchExpressions": [{"key": "env", "operator": "Exists"}]}], {"env": "enabled"}),
        ([{"matchExpressions": [{"key": "env", "operator": "DoesNotExist"}]}], {}),
        (
            [{"matchExpressions": [{"key": "istio-injection", "operator": "DoesNotExist"}]}],
            {},
        ),
        (
            [
                {
                    "matchLabels": {"mesh": "on"},
                    "matchExpressions": [{"key": "env", "operator": "NotIn", "values": ["prod"]}],
                }
            ],
            {"mesh": "on"},
        ),
        (
            [
                {
                    "matchExpressions": [
                        {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["prod"]}
                    ]
                },
                {"matchLabels": {"mesh": "on", "team": "a"}},
                {"matchLabels": {"mesh": "on"}},
            ],
            {"mesh": "on"},
        ),
        (["nonsense", {"matchLabels": {"mesh": "on"}}], {"mesh": "on"}),
    ],
)
def test_a_namespace_gets_the_labels_that_discovery_selectors_match(
    selectors: list[Any], labels: dict[str, str]
) -> None:
    own = {"istio-injection": "enabled"}

    assert discovery_labels({"discoverySelectors": selectors}, "istio-mc-1", own) == labels


def test_the_namespace_of_a_run_is_seen_by_istiod_and_has_what_the_user_adds() -> None:
    config = config_map("discoverySelectors: [{matchLabels: {mesh: 'on'}}]", "istio-1-31")
    objects = config | webhooks(({"istio.io/tag": "prod", "istio.io/rev": "1-31"}, "x"))
    kubes = {"east": kube(objects=objects)}

    made = run_namespace(MESH, kubes, "east", f"istio-mc-{RUN}")
    patched = replace(MESH, wishes=Wishes(patch={"namespace": {"labels": {"istio.io/rev": "new"}}}))
    other = run_namespace(patched, kubes, "east", f"istio-mc-{RUN}")

    assert made["metadata"]["labels"] == {
        "istio.io/rev": "prod",
        "mesh": "on",
        "istio-mc.dev/run": RUN,
    }
    assert other["metadata"]["labels"]["istio.io/rev"] == "new"


def test_a_revision_of_the_user_is_not_hidden_by_our_label() -> None:
    patch = {"namespace": {"labels": {"istio.io/rev": "canary"}}}
    patched = replace(MESH, wishes=Wishes(patch=patch))

    made = run_namespace(patched, {"east": kube()}, "east", "x")

    assert made["metadata"]["labels"] == {"istio.io/rev": "canary", "istio-mc.dev/run": RUN}


def test_the_selectors_of_a_remote_cluster_are_those_of_its_control_plane() -> None:
    clusters = (
        ClusterSpec("east", "n1"),
        ClusterSpec("west", "n1", role=Role.REMOTE, control_plane="east"),
    )
    mesh = replace(MESH, spec=MeshSpec("test", clusters))
    kubes = {"east": kube(objects=config_map("rootNamespace: r")), "west": kube()}

    assert mesh_config(mesh, kubes, "west", "default") == {"rootNamespace": "r"}


@pytest.mark.parametrize("text", ["", "a: [", "[]", "text"])
def test_mesh_configuration_that_cannot_be_read_demands_nothing(text: str) -> None:
    for one in (kube(objects=config_map(text)), kube(refused=["ConfigMap"])):
        assert mesh_config(MESH, {"east": one}, "east", "canary") == {}


def test_what_may_not_be_read_is_as_most_clusters_have_it() -> None:
    refused = kube(refused=["MutatingWebhookConfiguration", "apis", "Sidecar.networking.istio.io"])

    assert injection(refused).labels == {"istio-injection": "enabled"}
    assert not assigns_users(refused)
    assert default_sidecar(refused, "istio-system") is None


def test_a_platform_that_assigns_user_ids_is_known_by_its_api() -> None:
    assert assigns_users(kube(groups=("apps", "security.openshift.io")))
    assert not assigns_users(kube())


def test_only_a_sidecar_without_selector_limits_everybody() -> None:
    chosen = {"workloadSelector": {"labels": {"a": "b"}}}
    everybody = {"egress": [{"hosts": ["./*"]}]}
    found = {"Sidecar.networking.istio.io": [{"spec": chosen}, {"spec": everybody}]}

    assert default_sidecar(kube(objects=found), "istio-system") == everybody
    found["Sidecar.networking.istio.io"].pop()
    assert default_sidecar(kube(objects=found), "istio-system") is None


def test_our_sidecar_is_the_meshs_own_with_our_namespaces_besides() -> None:
    theirs: dict[str, Any] = {
        "egress": [
            {"port": {"number": 9090}, "hosts": ["db/*"]},
            {"hosts": ["./*", "istio-system/*"]},
        ],
        "outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"},
    }

    ours = opened(theirs, ["a", "istio-system"])

    assert ours["outboundTrafficPolicy"] == {"mode": "REGISTRY_ONLY"}
    assert ours["egress"][0] == theirs["egress"][0]
    assert ours["egress"][1]["hosts"] == ["./*", "istio-system/*", "a/*"]
    assert theirs["egress"][1]["hosts"] == ["./*", "istio-system/*"]
    assert opened({"egress": [{"hosts": ["*/*"]}]}, ["a"])["egress"] == [{"hosts": ["*/*"]}]
    by_port: dict[str, Any] = {"port": {"number": 1}, "hosts": ["db/*"]}
    assert opened({"egress": [by_port]}, ["a"])["egress"] == [by_port, {"hosts": ["a/*"]}]
