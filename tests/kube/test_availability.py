"""Waiting for Deployments; the tests play their controllers against a bare apiserver."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from pytest_istio_mc.errors import NotInTime
from pytest_istio_mc.kube import Kube

pytestmark = pytest.mark.lab

_AVAILABLE = {
    "observedGeneration": 1,
    "replicas": 1,
    "updatedReplicas": 1,
    "readyReplicas": 1,
    "availableReplicas": 1,
}


def _deployment(name: str) -> dict[str, Any]:
    template = {
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [{"name": "main", "image": "none"}]},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"app": name}}, "template": template},
    }


def _pod(name: str) -> dict[str, Any]:
    pod = _deployment(name)["spec"]["template"]
    metadata = {"name": f"{name}-1", **pod["metadata"]}
    return {"apiVersion": "v1", "kind": "Pod", **pod, "metadata": metadata}


def test_returns_when_the_last_one_becomes_available(kube: Kube, namespace: str) -> None:
    kube.apply(_deployment("first"), _deployment("second"), namespace=namespace)
    kube.merge("Deployment", "first", namespace, {"status": _AVAILABLE}, subresource="status")
    change = ("Deployment", "second", namespace, {"status": _AVAILABLE})
    controller = threading.Timer(0.3, kube.merge, change, {"subresource": "status"})
    controller.start()

    both = [("Deployment", "first"), ("Deployment", "second")]
    kube.wait_available(both, namespace, within_seconds=10)

    controller.join()
    assert (kube.read("Deployment", "second", namespace) or {})["status"]["availableReplicas"] == 1


def test_an_old_rollout_is_not_taken_for_the_new_one(kube: Kube, namespace: str) -> None:
    kube.apply(_deployment("app"), namespace=namespace)
    kube.merge("Deployment", "app", namespace, {"status": _AVAILABLE}, subresource="status")
    kube.merge("Deployment", "app", namespace, {"spec": {"replicas": 2}})

    with pytest.raises(NotInTime):
        kube.wait_available([("Deployment", "app")], namespace, within_seconds=1)


def test_the_error_says_which_pod_waits_for_what(kube: Kube, namespace: str) -> None:
    kube.apply(_deployment("app"), _pod("app"), namespace=namespace)
    state = {
        "name": "main",
        "ready": False,
        "restartCount": 0,
        "image": "none",
        "imageID": "",
        "state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}},
    }
    status = {"status": {"phase": "Pending", "containerStatuses": [state]}}
    kube.merge("Pod", "app-1", namespace, status, subresource="status")
    kube.create(
        {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": "app-1.1", "namespace": namespace},
            "involvedObject": {"kind": "Pod", "namespace": namespace, "name": "app-1"},
            "reason": "Failed",
            "message": "pulling did not work",
            "lastTimestamp": "2026-01-01T00:00:00Z",
        }
    )

    with pytest.raises(NotInTime) as late:
        kube.wait_available([("Deployment", "app")], namespace, within_seconds=1)

    assert 'cluster "cluster1": app in namespace' in str(late.value)
    waits = "pod app-1 is Pending; container main waiting (ErrImagePull, no such image)"
    assert waits in late.value.detail
    assert "last event: Failed: pulling did not work" in late.value.detail
    assert late.value.advice == f"kubectl --context=cluster1 -n {namespace} describe pods"


def test_a_deployment_that_is_not_there_is_said(kube: Kube, namespace: str) -> None:
    with pytest.raises(NotInTime, match="ghost: there is no such Deployment"):
        kube.wait_available([("Deployment", "ghost")], namespace, within_seconds=1)


def test_other_kinds_cannot_be_waited_for(kube: Kube, namespace: str) -> None:
    with pytest.raises(ValueError, match="not Job"):
        kube.wait_available([("Job", "any")], namespace, within_seconds=1)
