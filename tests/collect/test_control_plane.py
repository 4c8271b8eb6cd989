"""The istiod of another cluster, as a remote cluster's pods see it."""

from __future__ import annotations

from typing import Any

from pytest_istio_mc.collect.control_plane import istiod_endpoints, probe_endpoint
from pytest_istio_mc.errors import ObservationError
from pytest_istio_mc.recorded import EndpointFacts


def _slice(service: str, namespace: str = "istio-system") -> dict[str, Any]:
    labels = {"kubernetes.io/service-name": service}
    return {
        "metadata": {"name": "any", "namespace": namespace, "labels": labels},
        "endpoints": [{"addresses": ["203.0.113.1"]}],
        "ports": [{"port": 15012}, {"port": 15017}],
    }


def test_the_endpoints_are_those_of_istiod_of_any_revision() -> None:
    slices = [*map(_slice, ("istiod", "istiod-canary", "istio-eastwestgateway"))]
    slices.append(_slice("istiod", "elsewhere"))

    found = istiod_endpoints(slices, "istio-system")

    assert found == (("203.0.113.1", 15012), ("203.0.113.1", 15017))


def test_without_a_probe_nothing_is_tried() -> None:
    facts = probe_endpoint("west", "203.0.113.1", 15012, "istio-system", None, 1.0)

    assert facts.unprobed == "there is no probe workload in this cluster to try it from"


def test_a_handshake_names_istiod_and_is_verified_against_the_pods_own_root() -> None:
    asked = []

    def ask(cluster: str, operation: dict[str, Any]) -> dict[str, Any]:
        asked.append((cluster, operation))
        return dict.fromkeys(("connected", "completed", "verified"), True) | {"error": ""}

    facts = probe_endpoint("west", "203.0.113.1", 15012, "istio-system", ask, 1.0)

    assert facts == EndpointFacts("203.0.113.1", 15012, "", True, True, True)
    ((cluster, operation),) = asked
    assert cluster == "west"
    assert (operation["sni"], operation["ca_pem"]) == ("istiod.istio-system.svc", "mesh")


def test_a_probe_that_cannot_be_asked_is_not_a_refusal() -> None:
    def ask(cluster: str, operation: dict[str, Any]) -> dict[str, Any]:
        raise ObservationError("probe", "gone", "no session")

    facts = probe_endpoint("west", "203.0.113.1", 15012, "istio-system", ask, 1.0)

    assert "gone" in facts.unprobed
    assert not facts.error
