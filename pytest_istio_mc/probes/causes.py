"""Causes: why a cluster takes no probes, and which option helps."""

from __future__ import annotations

import re

from ..errors import MeshError
from ..istio_names import ROOT_CONFIG_MAP

_PATCH = "--mesh-probe-patch=FILE"
_PAGE = "docs/probe-pods.md"

_PULL = re.compile(r"ErrImagePull|ImagePullBackOff|ErrImageNeverPull|InvalidImageName")
_RIGHTS = re.compile(r'cannot (create|patch) resource "([a-z]+)"')
_ADMISSION = re.compile(
    r"denied the request|violates PodSecurity|exceeded quota|failed quota|must specify (limits|req)"
    r"|unable to validate against any security context constraint"
    r"|ValidatingAdmissionPolicy|maximum (cpu|memory)|minimum (cpu|memory)|LimitRange"
    r"|blocked due to|policy .* (failed|fail):"
)


def refused_by_admission(text: str) -> bool:
    """Whether it is the cluster's admission that says so, not its rights or its injection.

    Kyverno, Gatekeeper and other webhooks, admission policies, PodSecurity, quotas, limit ranges
    and OpenShift's security context constraints.
    """
    return bool(_ADMISSION.search(text))


def explained(error: MeshError) -> MeshError:
    """The error, with its cause and the option that helps where these are known."""
    text = f"{error.step} {error.detail}"
    cause = advice = ""
    if refused_by_admission(text):
        cause = "it could not be created because the cluster's admission refuses it"
        advice = f"give namespaces and pods what it demands with {_PATCH} ({_PAGE})"
    elif _PULL.search(text):
        cause = "its image cannot be pulled"
        advice = (
            "name one that the cluster has with --mesh-probe-image, or add imagePullSecrets with "
            f"{_PATCH} ({_PAGE})"
        )
    elif f'configmap "{ROOT_CONFIG_MAP}" not found' in text:
        cause = f"istiod put no ConfigMap {ROOT_CONFIG_MAP} into its namespace"
        advice = (
            "where mesh configuration has discoverySelectors, give the namespace the labels that "
            f"they select with {_PATCH} ({_PAGE}); else look at istiod's log"
        )
    elif (found := _RIGHTS.search(text)) and found[2] == "namespaces":
        cause = "this account may not make namespaces"
        advice = "name prepared ones with --mesh-namespace"
    if cause:
        error.detail = f"{cause}: {error.detail}" if error.detail else cause
        error.advice = f"{advice}; {error.advice}" if error.advice else advice
    return error
