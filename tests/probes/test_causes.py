"""Why a cluster takes no probes, in the words of those who refuse them."""

from __future__ import annotations

import pytest

from pytest_istio_mc.errors import KubeError, NotInTime
from pytest_istio_mc.probes.causes import explained, refused_by_admission

ADMISSION = (
    'admission webhook "validate.kyverno.svc-fail" denied the request: \n\nwas blocked due to',
    'admission webhook "validation.gatekeeper.sh" denied the request: [limits] no memory limit',
    'pods "x" is forbidden: violates PodSecurity "restricted:latest": unrestricted capabilities',
    'pods "x" is forbidden: exceeded quota: compute, requested: limits.cpu=1',
    'pods "x" is forbidden: failed quota: compute: must specify limits.cpu for: istio-proxy',
    'pods "x" is forbidden: maximum memory usage per Container is 100Mi, but limit is 256Mi',
    "pods \"x\" is forbidden: ValidatingAdmissionPolicy 'limits' with binding 'all' denied request",
    'pods "x" is forbidden: unable to validate against any security context constraint: []',
)


@pytest.mark.parametrize("text", ADMISSION)
def test_a_refusal_by_admission_says_so_and_which_option_helps(text: str) -> None:
    assert refused_by_admission(text)

    for error in (
        KubeError('cluster "east"', "Deployment client is accepted", text, status=403),
        NotInTime('cluster "east"', "not available after 60 s", f"client: last event: {text}"),
    ):
        told = explained(error)
        assert told is error
        assert "could not be created because the cluster's admission refuses it" in str(told)
        assert "--mesh-probe-patch" in told.advice


@pytest.mark.parametrize(
    ("text", "cause", "option"),
    [
        (
            "container probe waiting (ImagePullBackOff, Back-off)",
            "cannot be pulled",
            "-probe-image",
        ),
        ("container probe waiting (ErrImagePull)", "cannot be pulled", "imagePullSecrets"),
        (
            'MountVolume.SetUp failed for volume "x" : configmap "istio-ca-root-cert" not found',
            "istiod put no ConfigMap istio-ca-root-cert",
            "discoverySelectors",
        ),
        (
            'namespaces "x" is forbidden: User "ci" cannot patch resource "namespaces" in',
            "may not make namespaces",
            "--mesh-namespace",
        ),
    ],
)
def test_other_causes_name_the_option_that_helps(text: str, cause: str, option: str) -> None:
    told = explained(NotInTime("deployment", "not available", text, advice="kubectl describe"))

    assert cause in told.detail
    assert text in told.detail
    assert option in told.advice
    assert "kubectl describe" in told.advice


@pytest.mark.parametrize(
    "text",
    [
        "connection refused",
        'pods is forbidden: User "ci" cannot create resource "pods" in API group ""',
        "container probe waiting (CrashLoopBackOff)",
    ],
)
def test_what_has_another_cause_is_left_as_it_is(text: str) -> None:
    told = explained(KubeError("cluster", "step", text))

    assert (told.detail, told.advice) == (text, "")
    assert not refused_by_admission(text)
