"""What istioctl makes of our documents, and how it fails.

It is the real istioctl, except where a failing one is needed.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest

from pytest_istio_mc.errors import ProvisionError
from pytest_istio_mc.istio_names import NETWORK_LABEL
from pytest_istio_mc.lab.istio_settings import LAB_SETTINGS
from pytest_istio_mc.topologies import istio, known
from pytest_istio_mc.topologies.istio import IstioDistribution
from tests.kubernetes_api import programs

SPEC = known()["multi-network-multi-primary"].default_spec()
EAST = SPEC.clusters[0]


@pytest.fixture
def real(tmp_path: Path) -> IstioDistribution:
    """The lab's Istio, with a cache of its own."""
    return IstioDistribution(
        programs() / "istioctl", "registry.test/istio", "v1", tmp_path / "cache", LAB_SETTINGS
    )


@pytest.fixture
def fake(tmp_path: Path) -> IstioDistribution:
    """A distribution with a script of the test as its istioctl."""
    return IstioDistribution(tmp_path / "istioctl", "hub", "tag", tmp_path / "cache")


def _script(distribution: IstioDistribution, body: str) -> None:
    distribution.istioctl.write_text(f"#!/bin/sh\n{body}\n")
    distribution.istioctl.chmod(0o755)


def _one(manifests: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    of_kind = [manifest for manifest in manifests if manifest["kind"] == kind]
    return next(manifest for manifest in of_kind if manifest["metadata"]["name"] == name)


def _container(deployment: dict[str, Any]) -> dict[str, Any]:
    container: dict[str, Any] = deployment["spec"]["template"]["spec"]["containers"][0]
    return container


def _environment(deployment: dict[str, Any]) -> dict[str, str]:
    return {entry["name"]: entry.get("value", "") for entry in _container(deployment)["env"]}


def test_istiod_is_rendered_with_mesh_cluster_and_network(real: IstioDistribution) -> None:
    spec = dataclasses.replace(SPEC, mesh_id="mesh9", trust_domain="mesh9.test")

    manifests = istio.render(real, istio.control_plane(spec, EAST, real))

    istiod = _one(manifests, "Deployment", "istiod")
    assert _container(istiod)["image"] == "registry.test/istio/pilot:v1"
    assert _environment(istiod)["CLUSTER_ID"] == "cluster1"
    mesh = _one(manifests, "ConfigMap", "istio")["data"]["mesh"]
    assert "meshId: mesh9" in mesh
    assert "trustDomain: mesh9.test" in mesh
    injector = _one(manifests, "ConfigMap", "istio-sidecar-injector")["data"]
    assert '"network": "network1"' in injector["values"]


def test_the_distributions_settings_reach_istiod(real: IstioDistribution) -> None:
    manifests = istio.render(real, istio.control_plane(SPEC, EAST, real))

    istiod = _one(manifests, "Deployment", "istiod")
    assert _environment(istiod)["PILOT_ENABLE_ALPN_FILTER"] == "false"
    assert _container(istiod)["readinessProbe"]["periodSeconds"] == 1
    assert "accessLogFile: /dev/stdout" in _one(manifests, "ConfigMap", "istio")["data"]["mesh"]
    assert not [manifest for manifest in manifests if manifest["kind"] == "HorizontalPodAutoscaler"]


def test_without_settings_istio_is_as_it_comes(real: IstioDistribution) -> None:
    plain = dataclasses.replace(real, settings={})

    manifests = istio.render(plain, istio.control_plane(SPEC, EAST, plain))

    assert "PILOT_ENABLE_ALPN_FILTER" not in _environment(_one(manifests, "Deployment", "istiod"))
    assert [manifest for manifest in manifests if manifest["kind"] == "HorizontalPodAutoscaler"]


def test_the_east_west_gateway_is_as_istios_sample_makes_it(real: IstioDistribution) -> None:
    manifests = istio.render(real, istio.east_west_gateway(SPEC, EAST, real))

    service = _one(manifests, "Service", istio.EAST_WEST_GATEWAY)
    assert service["metadata"]["labels"][NETWORK_LABEL] == "network1"
    assert {port["name"]: port["port"] for port in service["spec"]["ports"]} == {
        "status-port": 15021,
        "tls": 15443,
        "tls-istiod": 15012,
        "tls-webhook": 15017,
    }
    deployment = _one(manifests, "Deployment", istio.EAST_WEST_GATEWAY)
    assert _environment(deployment)["ISTIO_META_REQUESTED_NETWORK_VIEW"] == "network1"
    annotations = deployment["spec"]["template"]["metadata"]["annotations"]
    assert annotations["inject.istio.io/templates"] == "gateway"
    assert not [manifest for manifest in manifests if "istiod" in manifest["metadata"]["name"]]


def test_another_system_namespace_is_used_throughout(real: IstioDistribution) -> None:
    spec = dataclasses.replace(SPEC, istio_namespace="mesh-system")

    for make in (istio.control_plane, istio.east_west_gateway):
        manifests = istio.render(real, make(spec, EAST, real))
        namespaces = {manifest["metadata"].get("namespace") for manifest in manifests}
        assert namespaces <= {None, "mesh-system"}


def test_what_was_rendered_once_is_not_rendered_again(
    fake: IstioDistribution, tmp_path: Path
) -> None:
    two = "echo 'kind: A'\necho ---\necho 'kind: B'"
    _script(fake, f"echo ran >> {tmp_path}/runs\ncat > /dev/null\n{two}")
    document = istio.control_plane(SPEC, EAST, fake)

    first, second = istio.render(fake, document), istio.render(fake, document)

    assert first == second == [{"kind": "A"}, {"kind": "B"}]
    assert (tmp_path / "runs").read_text() == "ran\n"


def test_another_document_or_another_istioctl_is_rendered_anew(
    fake: IstioDistribution, tmp_path: Path
) -> None:
    _script(fake, f"echo ran >> {tmp_path}/runs\ncat > /dev/null\necho 'kind: A'")

    istio.render(fake, istio.control_plane(SPEC, EAST, fake))
    istio.render(fake, istio.control_plane(SPEC, SPEC.clusters[1], fake))
    os.utime(fake.istioctl, ns=(1, 1))
    istio.render(fake, istio.control_plane(SPEC, EAST, fake))

    assert (tmp_path / "runs").read_text() == "ran\n" * 3


def test_a_broken_cache_entry_is_made_anew(fake: IstioDistribution) -> None:
    _script(fake, "cat > /dev/null\necho 'kind: A'")
    document = istio.control_plane(SPEC, EAST, fake)
    istio.render(fake, document)
    (entry,) = fake.cache.iterdir()
    entry.write_text('[{"kind": ')

    assert istio.render(fake, document) == [{"kind": "A"}]


def test_a_failing_istioctl_is_quoted(fake: IstioDistribution) -> None:
    _script(fake, "cat > /dev/null\necho 'Error: unknown profile' >&2\nexit 3")

    with pytest.raises(ProvisionError) as failed:
        istio.render(fake, istio.control_plane(SPEC, EAST, fake))

    assert str(failed.value) == (
        'IstioOperator "istiod": istioctl manifest generate -f - (exit code 3)\n'
        "  last log lines:\n    Error: unknown profile"
    )
    assert not fake.cache.exists()


def test_an_istioctl_that_hangs_is_ended(fake: IstioDistribution) -> None:
    _script(fake, "echo waiting >&2\nexec sleep 60")

    with pytest.raises(ProvisionError, match=r"no end after 0\.3 s") as failed:
        istio.run_istioctl(fake, ["version"], thing='cluster "east"', timeout_seconds=0.3)

    assert failed.value.log_tail == ("waiting",)


def test_an_istioctl_that_renders_nothing_is_refused(fake: IstioDistribution) -> None:
    _script(fake, "cat > /dev/null")

    with pytest.raises(ProvisionError, match="rendered nothing"):
        istio.render(fake, istio.control_plane(SPEC, EAST, fake))
