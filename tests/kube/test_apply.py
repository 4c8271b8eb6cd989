"""Applying many manifests at once, against a real apiserver."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from pytest_istio_mc.errors import KubeError
from pytest_istio_mc.eventually import eventually
from pytest_istio_mc.kube import Kube

pytestmark = pytest.mark.lab


def _definition(plural: str, kind: str, group: str) -> dict[str, Any]:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": plural, "singular": plural[:-1], "kind": kind},
            "versions": [version],
        },
    }


def _webhook(name: str, url: str, namespace: str) -> dict[str, Any]:
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"]}
    webhook = {
        "name": "strict.example.org",
        "clientConfig": {"url": url},
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "timeoutSeconds": 1,
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "rules": [{**rule, "resources": ["configmaps"]}],
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [webhook],
    }


def _config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def test_namespace_definition_and_objects_in_any_order(kube: Kube) -> None:
    group = "order.example.org"
    things = [
        {
            "apiVersion": f"{group}/v1",
            "kind": "Widget",
            "metadata": {"name": f"widget{number}", "namespace": "order"},
            "spec": {"size": number},
        }
        for number in range(5)
    ]

    builder = {"name": "builder", "namespace": "order"}
    kube.apply(
        *things,
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": builder},
        _definition("widgets", "Widget", group),
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "order"}},
    )

    found = kube.list(f"Widget.{group}", "order")
    assert sorted(entry["spec"]["size"] for entry in found) == [0, 1, 2, 3, 4]
    assert kube.read("ServiceAccount", "builder", "order") is not None


def test_a_definition_is_served_when_apply_returns(kube: Kube) -> None:
    kube.apply(_definition("gadgets", "Gadget", "served.example.org"))

    named = {"name": "first", "namespace": "default"}
    kube.create({"apiVersion": "served.example.org/v1", "kind": "Gadget", "metadata": named})


def test_a_second_definition_in_a_known_group_is_found(kube: Kube) -> None:
    group = "grown.example.org"
    kube.apply(_definition("knives", "Knife", group))
    assert kube.list("Knife") == []

    kube.apply(
        _definition("forks", "Fork", group),
        {"apiVersion": f"{group}/v1", "kind": "Fork", "metadata": {"name": "first"}},
    )

    assert len(kube.list(f"Fork.{group}", "default")) == 1


def test_what_is_applied_again_without_a_field_loses_it(kube: Kube, namespace: str) -> None:
    kube.apply(_config_map("settings", one="1", two="2"), namespace=namespace)
    kube.apply(_config_map("settings", two="2"), namespace=namespace)

    assert (kube.read("ConfigMap", "settings", namespace) or {})["data"] == {"two": "2"}


def test_fields_of_other_managers_are_taken_over(kube: Kube, namespace: str) -> None:
    theirs = _config_map("settings", one="theirs")
    kube.apply(theirs, namespace=namespace, field_manager="somebody-else")
    kube.apply(_config_map("settings", one="ours"), namespace=namespace)

    assert (kube.read("ConfigMap", "settings", namespace) or {})["data"] == {"one": "ours"}


def test_a_webhook_that_does_not_answer_yet_is_waited_for(kube: Kube, namespace: str) -> None:
    name = f"strict-{namespace}"
    kube.apply(_webhook(name, "https://127.0.0.1:1/", namespace))
    _until_in_force(kube, namespace)

    healer = threading.Timer(0.5, kube.delete, ("ValidatingWebhookConfiguration", name))
    healer.start()
    kube.apply(_config_map("settings"), namespace=namespace)
    healer.join()

    assert kube.read("ConfigMap", "settings", namespace) is not None


def test_a_webhook_that_never_answers_ends_our_patience(kube: Kube, namespace: str) -> None:
    kube.apply(_webhook(f"strict-{namespace}", "https://127.0.0.1:1/", namespace))
    _until_in_force(kube, namespace)

    told = r"ConfigMap settings is accepted .*not so within 0\.3 s.*strict\.example\.org"
    with pytest.raises(KubeError, match=told):
        kube.apply(_config_map("settings"), namespace=namespace, patience_seconds=0.3)

    kube.delete("ValidatingWebhookConfiguration", f"strict-{namespace}")


def _until_in_force(kube: Kube, namespace: str) -> None:
    """The apiserver's own watch sees a webhook configuration a moment later."""
    trial = {**_config_map("trial"), "metadata": {"name": "trial", "namespace": namespace}}

    def refused() -> bool:
        try:
            kube.create(trial, dry_run=True)
        except KubeError as error:
            return "failed calling webhook" in error.detail
        return False

    eventually(refused, bool, within_seconds=10, what="the webhook is in force")


def test_a_refusal_for_good_is_raised_at_once_and_the_others_are_counted(
    kube: Kube, namespace: str
) -> None:
    wanted = map(_config_map, ("bad_one", "good", "bad_two"))
    with pytest.raises(KubeError, match=r"bad_one.*1 other objects were refused, too") as refused:
        kube.apply(*wanted, namespace=namespace)

    assert refused.value.status == 422
    assert kube.read("ConfigMap", "good", namespace) is not None


def test_a_namespace_that_is_not_there_is_not_waited_for(kube: Kube) -> None:
    with pytest.raises(KubeError, match="not found") as refused:
        kube.apply(_config_map("lost"), namespace="nowhere")

    assert refused.value.status == 404
