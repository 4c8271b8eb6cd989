"""What may be patched, and how it is merged."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from pytest_istio_mc.probes.patch import SCHEMA, SECTIONS, merged, problems


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(dict(SCHEMA))
    assert tuple(SCHEMA["properties"]) == SECTIONS


@pytest.mark.parametrize(
    "patch",
    [
        {},
        {"namespace": {"labels": {"istio-injection": None, "istio.io/rev": "canary"}}},
        {"namespace": {"labels": {"pod-security.kubernetes.io/enforce": "baseline"}}},
        {
            "pod": {
                "spec": {"tolerations": [{"key": "a"}], "affinity": {}, "priorityClassName": "x"}
            }
        },
        {"pod": {"metadata": {"annotations": {"sidecar.istio.io/proxyCPU": "50m"}}}},
        {"container": {"securityContext": {"runAsUser": 1000}, "imagePullPolicy": "Always"}},
        {"container": {"env": [{"name": "TZ", "value": "UTC"}]}},
    ],
)
def test_what_clusters_demand_can_be_given(patch: Any) -> None:
    assert problems(patch) == []


@pytest.mark.parametrize(
    ("patch", "path"),
    [
        (None, "the file"),
        ([], "the file"),
        ("text", "the file"),
        ({"pods": {}}, "pods"),
        ({"pod": None}, "pod"),
        ({"namespace": {"name": "x"}}, "namespace.name"),
        ({"namespace": {"labels": {"istio-mc.dev/run": "x"}}}, "namespace.labels.istio-mc.dev/run"),
        ({"namespace": {"labels": {"x.istio-mc.dev/y": "x"}}}, "namespace.labels.x.istio-mc.dev/y"),
        ({"namespace": {"labels": {"istio-injection": "disabled"}}}, "namespace.labels.istio-inj"),
        ({"namespace": {"labels": {"a": True}}}, "namespace.labels.a"),
        (
            {"namespace": {"annotations": {"istio-mc.dev/owner": "x"}}},
            "namespace.annotations.istio",
        ),
        ({"pod": {"metadata": {"name": "x"}}}, "pod.metadata.name"),
        ({"pod": {"metadata": {"labels": {"app": "x"}}}}, "pod.metadata.labels.app"),
        (
            {"pod": {"metadata": {"labels": {"istio-mc.dev/role": "x"}}}},
            "pod.metadata.labels.istio",
        ),
        (
            {"pod": {"metadata": {"labels": {"sidecar.istio.io/inject": "false"}}}},
            "pod.metadata.labels.sidecar",
        ),
        (
            {"pod": {"metadata": {"annotations": {"traffic.sidecar.istio.io/x": "1"}}}},
            "pod.metadata.annotations.traffic",
        ),
        ({"pod": {"spec": {"containers": []}}}, "pod.spec.containers"),
        ({"pod": {"spec": {"serviceAccountName": "x"}}}, "pod.spec.serviceAccountName"),
        ({"pod": {"spec": {"hostNetwork": True}}}, "pod.spec.hostNetwork"),
        ({"pod": {"spec": {"volumes": []}}}, "pod.spec.volumes"),
        ({"pod": {"spec": {"automountServiceAccountToken": True}}}, "pod.spec.automount"),
        ({"pod": {"spec": {"tolerations": {}}}}, "pod.spec.tolerations"),
        ({"pod": {"spec": {"imagePullSecrets": ["x"]}}}, "pod.spec.imagePullSecrets.0"),
        ({"container": {"command": ["x"]}}, "container.command"),
        ({"container": {"image": "x"}}, "container.image"),
        ({"container": {"ports": []}}, "container.ports"),
        ({"container": {"env": [{"name": "ISTIO_MC_KEY", "value": ""}]}}, "container.env.0.name"),
        ({"container": {"env": [{"name": "TMPDIR", "value": "/"}]}}, "container.env.0.name"),
        ({"container": {"env": [{"value": "x"}]}}, "container.env.0"),
    ],
)
def test_what_makes_probes_what_they_are_cannot(patch: Any, path: str) -> None:
    (problem,) = problems(patch)

    assert problem.startswith(path)
    assert "Schema" not in problem


def test_every_mistake_is_told() -> None:
    found = problems({"pod": {"spec": {"containers": [], "volumes": []}}, "x": 1})

    assert len(found) == 3


def test_mappings_are_merged_null_removes_and_lists_are_joined() -> None:
    base = {
        "kept": 1,
        "gone": 2,
        "deep": {"a": 1, "b": 2},
        "named": [{"name": "a", "v": 1}, {"name": "b"}],
        "words": ["x"],
        "objects": [{"k": 1}],
    }
    patch = {
        "gone": None,
        "deep": {"a": None, "c": 3},
        "named": [{"name": "a", "v": 2}],
        "words": ["y"],
        "objects": [{"k": 2}],
        "new": {"d": {"e": None, "f": 1}},
    }

    assert merged(base, patch) == {
        "kept": 1,
        "deep": {"b": 2, "c": 3},
        "named": [{"name": "b"}, {"name": "a", "v": 2}],
        "words": ["y"],
        "objects": [{"k": 1}, {"k": 2}],
        "new": {"d": {"f": 1}},
    }
    assert base["gone"] == 2
