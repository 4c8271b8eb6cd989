"""What the admission of a real API server says to the pods of probes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from pytest_istio_mc.checks.control_plane.facts import Injection
from pytest_istio_mc.checks.control_plane.live import injection
from pytest_istio_mc.checks.control_plane.observe import injections
from pytest_istio_mc.errors import KubeError
from pytest_istio_mc.eventually import eventually
from pytest_istio_mc.kube import Kube
from pytest_istio_mc.mesh import Mesh, Probes
from pytest_istio_mc.probes.causes import refused_by_admission
from pytest_istio_mc.probes.manifests import Form, dry_run_pod, labelled, workloads
from pytest_istio_mc.spec import ClusterSpec, MeshSpec
from pytest_istio_mc.verdicts import Outcome
from tests.checks.live_mesh import here
from tests.checks.open_site import OpenSite
from tests.kubernetes_api import kubernetes_api, programs

RUN = "0123abcd"
TEAM = {"pod": {"metadata": {"labels": {"team": "mesh"}}}}


@pytest.fixture(scope="module")
def kube(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kube]:
    """An API server that demands a team of pods in ``strict``, and has ``restricted``."""
    with kubernetes_api(programs(), tmp_path_factory.mktemp("api"), "east") as api:
        kube = api.kube()
        for name, level in (("restricted", "restricted"), ("strict", "privileged")):
            labels = {"pod-security.kubernetes.io/enforce": level}
            metadata = {"name": name, "labels": labels}
            kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        kube.apply(*demanding("strict"))
        eventually(
            lambda: refusal(kube, "strict", Form(RUN, "python")),
            bool,
            within_seconds=30,
            what="the policy to be in force",
        )
        yield kube
        kube.close()


def demanding(namespace: str) -> list[dict[str, Any]]:
    """A policy as strict clusters have them, without any webhook."""
    api = "admissionregistration.k8s.io/v1"
    group = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"]}
    rules = [
        "has(object.metadata.labels) && 'team' in object.metadata.labels",
        "object.spec.containers.all(one, has(one.resources.limits))",
        "object.spec.containers.all(one, one.securityContext.readOnlyRootFilesystem)",
    ]
    policy = {
        "matchConstraints": {"resourceRules": [{**group, "resources": ["pods"]}]},
        "validations": [{"expression": rule} for rule in rules],
    }
    selected = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    binding = {
        "policyName": "strict",
        "validationActions": ["Deny"],
        "matchResources": {"namespaceSelector": selected},
    }
    metadata = {"name": "strict"}
    kind = "ValidatingAdmissionPolicy"
    return [
        {"apiVersion": api, "kind": kind, "metadata": metadata, "spec": policy},
        {"apiVersion": api, "kind": f"{kind}Binding", "metadata": metadata, "spec": binding},
    ]


def refusal(kube: Kube, namespace: str, form: Form) -> str:
    """What is said to the pods of probes; empty where all are taken."""
    for one in workloads("east", "v1", form, []):
        if one["kind"] == "Deployment":
            pod = dry_run_pod("probe", one)
            pod["metadata"]["namespace"] = namespace
            try:
                kube.create(pod, dry_run=True)
            except KubeError as error:
                return error.detail
    return ""


@pytest.mark.parametrize("assigned", [False, True])
def test_pods_meet_the_restricted_standard(kube: Kube, assigned: bool) -> None:
    form = Form(RUN, "python", assigned_users=assigned)
    container = {"name": "x", "image": "x"}
    metadata = {"name": "plain", "namespace": "restricted"}
    plain = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata}

    with pytest.raises(KubeError, match="violates PodSecurity") as refused:
        kube.create({**plain, "spec": {"containers": [container]}}, dry_run=True)

    assert refused_by_admission(refused.value.detail)
    assert refusal(kube, "restricted", form) == ""


def test_what_a_cluster_demands_is_given_by_a_patch(kube: Kube) -> None:
    form = Form(RUN, "python")
    assert refused_by_admission(refusal(kube, "strict", form))

    assert refusal(kube, "strict", replace(form, patch=TEAM)) == ""


@pytest.mark.parametrize("patch", [{}, TEAM], ids=["refused", "patched"])
def test_a_pod_that_admission_refuses_says_nothing_of_injection(
    kube: Kube, patch: Mapping[str, Any]
) -> None:
    made = workloads("east", "v1", Form(RUN, "python", patch=patch), [])
    client = [one for one in made if one["metadata"]["name"] == "client"]
    kube.apply(*labelled(client, RUN), namespace="strict")
    spec = MeshSpec("test", (ClusterSpec("east", "network1", context="east"),))
    mesh = Mesh(spec, RUN, "attach", "python", probes=Probes("strict", "helloworld", "python"))

    seen = injections(OpenSite(mesh, {"east": kube}, None))  # type: ignore[arg-type]

    assert {one.way for one in seen} == {"admitted", "opted-out"}
    assert all(bool(one.error) is not bool(patch) for one in seen)
    running = Injection("east", "running", "client", True, "east", "network1", "mesh1", "default")
    verdict = injection(here(mesh), (*seen, running), {"east": ["default"]})
    if not patch:
        assert verdict.outcome is Outcome.INCONCLUSIVE
        assert "--mesh-probe-patch" in verdict.reason
    else:  # nothing injects here, which is then what is found
        assert {finding.fault for finding in verdict.findings} == {"sidecar-missing"}
