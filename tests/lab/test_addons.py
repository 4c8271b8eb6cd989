"""What a lab cluster has besides its components."""

from __future__ import annotations

from pytest_istio_mc.lab.addons import coredns
from pytest_istio_mc.lab.plan import plan_nodes
from pytest_istio_mc.topologies import known


def test_the_dns_asks_for_cpu_so_that_it_answers_on_a_busy_machine() -> None:
    node = plan_nodes(known()["flat-multi-primary"].default_spec())[0]
    (deployment,) = [item for _, item in coredns(node) if item["kind"] == "Deployment"]

    (container,) = deployment["spec"]["template"]["spec"]["containers"]

    assert container["resources"]["requests"]["cpu"] == "100m"
