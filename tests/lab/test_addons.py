"""CoreDNS in a lab cluster."""

from __future__ import annotations

from pytest_istio_mc.lab.addons import coredns
from pytest_istio_mc.lab.binaries.images import COREDNS
from pytest_istio_mc.lab.plan import plan_nodes
from pytest_istio_mc.topologies import known

NODE = plan_nodes(known()["flat-multi-primary"].default_spec())[1]
DNS = "/api/v1/namespaces/kube-system/services/kube-dns"
DEPLOYMENT = "/apis/apps/v1/namespaces/kube-system/deployments/coredns"


def test_the_dns_asks_for_cpu_so_that_it_answers_on_a_busy_machine() -> None:
    (container,) = dict(coredns(NODE))[DEPLOYMENT]["spec"]["template"]["spec"]["containers"]

    assert container["resources"]["requests"]["cpu"] == "100m"
    assert container["image"] == COREDNS


def test_the_dns_has_the_address_that_the_kubelet_gives_to_pods() -> None:
    objects = dict(coredns(NODE))

    assert objects[DNS]["spec"]["clusterIP"] == "10.102.0.10"
    assert "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:coredns" in objects
    assert all(path.endswith(f"/{item['metadata']['name']}") for path, item in objects.items())
