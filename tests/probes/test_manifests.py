"""Namespaces and pods that strict clusters take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from pytest_istio_mc.probes import manifests, policies
from pytest_istio_mc.probes.manifests import Form, dry_run_pod, labelled, namespace, workloads

RUN = "0123abcd"
FORM = Form(RUN, "registry.example/python@sha256:" + "0" * 64, "key")
PATCH: Mapping[str, Any] = {
    "namespace": {"labels": {"team": "mesh"}, "annotations": {"cost": "7"}},
    "pod": {
        "metadata": {"labels": {"owner": "me"}, "annotations": {"scan": "no"}},
        "spec": {
            "imagePullSecrets": [{"name": "registry"}],
            "tolerations": [{"operator": "Exists"}],
            "nodeSelector": {"pool": "tests"},
        },
    },
    "container": {
        "resources": {"limits": {"cpu": None, "memory": "512Mi"}},
        "env": [{"name": "HTTP_PROXY", "value": "http://proxy"}],
    },
}


def deployments(form: Form = FORM) -> list[dict[str, Any]]:
    made = workloads("east", "v1", form, [15443])
    return [one for one in made if one["kind"] == "Deployment"]


def pods(form: Form = FORM) -> list[dict[str, Any]]:
    """The pods of the probes, and those that are admitted in a dry run."""
    made = deployments(form)
    running = [one["spec"]["template"] for one in made]
    return running + [dry_run_pod("admitted", one) for one in made]


@pytest.mark.parametrize("form", [FORM, replace(FORM, patch=PATCH)], ids=["plain", "patched"])
def test_pods_are_within_the_restricted_standard(form: Form) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted"""
    for pod in pods(form):
        spec, (container,) = pod["spec"], pod["spec"]["containers"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert {key for volume in spec["volumes"] for key in volume} <= {
            "name",
            "configMap",
            "emptyDir",
        }
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        confined = container["securityContext"]
        assert confined["capabilities"] == {"drop": ["ALL"]}
        assert confined["allowPrivilegeEscalation"] is False
        assert confined["privileged"] is False
        assert not any("hostPort" in port for port in container["ports"])


def test_pods_write_to_their_scratch_only_and_take_a_bounded_share() -> None:
    for pod in pods():
        spec, (container,) = pod["spec"], pod["spec"]["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        writable = [one for one in container["volumeMounts"] if not one.get("readOnly")]
        assert [one["name"] for one in writable] == ["scratch"]
        home = {one["name"]: one.get("value") for one in container["env"]}["TMPDIR"]
        assert writable[0]["mountPath"] == home
        for limits in container["resources"].values():
            assert set(limits) == {"cpu", "memory"}
        sizes = [one["emptyDir"]["sizeLimit"] for one in spec["volumes"] if "emptyDir" in one]
        assert sizes
        assert spec["nodeSelector"] == {"kubernetes.io/os": "linux"}


def test_no_token_is_mounted() -> None:
    made = workloads("east", "v1", FORM, [])
    accounts = [one for one in made if one["kind"] == "ServiceAccount"]

    assert {one["metadata"]["name"] for one in accounts} == {
        pod["spec"]["serviceAccountName"] for pod in pods()
    }
    assert {one["automountServiceAccountToken"] for one in accounts} == {False}
    assert {pod["spec"]["automountServiceAccountToken"] for pod in pods()} == {False}


def test_where_the_platform_assigns_users_none_is_named() -> None:
    for pod in pods(replace(FORM, assigned_users=True)):
        contexts = (pod["spec"]["securityContext"], pod["spec"]["containers"][0]["securityContext"])
        for context in contexts:
            assert not {"runAsUser", "runAsGroup", "fsGroup"} & context.keys()
            assert context["runAsNonRoot"] is True


def test_the_mesh_decides_on_the_resources_of_sidecars() -> None:
    # one of these annotations makes injection forget the limits of the mesh
    for pod in pods():
        notes = pod["metadata"].get("annotations") or {}
        assert not any(key.startswith("sidecar.istio.io/proxy") for key in notes)


def test_a_patch_reaches_namespaces_probes_and_the_dry_run() -> None:
    patched = replace(FORM, patch=PATCH)
    made = namespace("istio-mc-1", RUN, {"istio-injection": "enabled"}, {}, PATCH["namespace"])

    assert made["metadata"]["labels"] == {
        "istio-injection": "enabled",
        "team": "mesh",
        manifests.RUN_LABEL: RUN,
    }
    assert made["metadata"]["annotations"] == {"cost": "7"}
    assert {one["metadata"]["labels"]["owner"] for one in deployments(patched)} == {"me"}
    for pod in pods(patched):
        spec, (container,) = pod["spec"], pod["spec"]["containers"]
        assert pod["metadata"]["labels"]["owner"] == "me"
        assert pod["metadata"]["annotations"]["scan"] == "no"
        assert spec["imagePullSecrets"] == [{"name": "registry"}]
        assert spec["tolerations"] == [{"operator": "Exists"}]
        assert spec["nodeSelector"] == {"kubernetes.io/os": "linux", "pool": "tests"}
        assert container["resources"]["limits"] == {"memory": "512Mi"}
        names = [one["name"] for one in container["env"]]
        assert "HTTP_PROXY" in names
        assert "ISTIO_MC_KEY" in names
    assert deployments()[0]["spec"]["template"]["spec"]["nodeSelector"] == {
        "kubernetes.io/os": "linux"
    }


def test_no_service_selects_the_pod_of_a_dry_run() -> None:
    made = workloads("east", "v1", FORM, [])
    selectors = [one["spec"]["selector"] for one in made if one["kind"] == "Service"]
    selectors += [one["spec"]["selector"]["matchLabels"] for one in deployments()]

    for one in deployments():
        labels = dry_run_pod("x", one, {"sidecar.istio.io/inject": "false"})["metadata"]["labels"]
        assert labels["sidecar.istio.io/inject"] == "false"
        assert manifests.ROLE_LABEL not in labels
        assert not any(selector.items() <= labels.items() for selector in selectors)


def test_every_object_of_a_run_can_be_found_by_it() -> None:
    made = [*workloads("east", "v1", FORM, []), *policies.policies(RUN, "probes", ["v1"])]

    assert {one["metadata"]["labels"][manifests.RUN_LABEL] for one in labelled(made, RUN)} == {RUN}
    for one in deployments():
        assert one["spec"]["template"]["metadata"]["labels"][manifests.RUN_LABEL] == RUN
        assert manifests.RUN_LABEL not in one["spec"]["selector"]["matchLabels"]


def test_policies_are_for_pods_of_the_run_only() -> None:
    made = policies.policies(RUN, "probes", ["v1"])
    made += [policies.sidecar(RUN, {"egress": []}), policies.network_policy(RUN)]
    chosen = {
        "PeerAuthentication": ("selector", "matchLabels"),
        "AuthorizationPolicy": ("selector", "matchLabels"),
        "NetworkPolicy": ("podSelector", "matchLabels"),
        "Sidecar": ("workloadSelector", "labels"),
    }

    for one in made:
        if one["kind"] != "DestinationRule":
            key, inner = chosen[one["kind"]]
            assert one["spec"][key][inner][manifests.RUN_LABEL] == RUN


def test_own_clients_are_let_in_from_every_trust_domain_and_no_other_identity() -> None:
    made = policies.policies(RUN, "probes", ["v1"])
    policy = next(one for one in made if one["kind"] == "AuthorizationPolicy")
    rules = [rule["from"] for rule in policy["spec"]["rules"]]

    assert policy["spec"]["action"] == "ALLOW"
    assert rules == [
        [{"source": {"principals": ["*/ns/probes/sa/client"]}}],
        [{"source": {"notPrincipals": ["*"]}}],
    ]
