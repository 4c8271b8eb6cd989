"""Mistakes of users in the shop, each with its twin: the same kind of object, rightly used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pytest_istio_mc.verdicts import Weight
from tests.checks.services.shop import DOMAIN, Shop
from tests.fake_clusters import SYSTEM

Seed = Callable[[Shop], object]

CART = f"cart.shop.{DOMAIN}"
ORDERS = f"orders.shop.{DOMAIN}"
MAIL = f"mail.shop.{DOMAIN}"


@dataclass(frozen=True)
class Mistake:
    """A mistake: the check, fault and weight by which it is told.

    - ``names``: texts in what is said of it: the object, its line.
    - ``remedy``: a text in its remedy.
    - ``twin``: the same kind of object, rightly used.
    """

    seed: Seed
    check: str
    fault: str
    names: tuple[str, ...]
    remedy: str
    twin: Seed
    weight: Weight = Weight.BROKEN

    def __str__(self) -> str:
        return self.seed.__name__.replace("_", "-")


MISTAKES: list[Mistake] = []


def mistake(
    check: int,
    fault: str,
    *names: str,
    remedy: str = "",
    twin: Seed,
    weight: Weight = Weight.BROKEN,
) -> Callable[[Seed], Seed]:
    """Register a mistake."""

    def register(seed: Seed) -> Seed:
        id = f"MC-SERVICE-00{check}"
        MISTAKES.append(Mistake(seed, id, fault, names, remedy, twin, weight))
        return seed

    return register


RISK, NOTE = Weight.RISK, Weight.NOTE

# routes


@mistake(
    1,
    "route-host-missing",
    "VirtualService shop/cart",
    "spec.http[0].route[0].destination: host kart",
    remedy='"value":"cart.shop.svc.cluster.local"',
    twin=lambda shop: shop.route("cart", {"host": "cart"}),
)
def route_to_a_host_that_does_not_exist(shop: Shop) -> None:
    shop.route("cart", {"host": "kart"})


@mistake(
    1,
    "route-short-name",
    "host cart.shop",
    remedy='"value":"cart.shop.svc.cluster.local"',
    twin=lambda shop: shop.route("cart", {"host": CART}, namespace="web"),
)
def route_to_a_name_with_a_namespace_only(shop: Shop) -> None:
    shop.route("cart", {"host": "cart.shop"}, namespace="web")


@mistake(
    1,
    "route-host-missing",
    "VirtualService web/cart",
    "perhaps cart.shop.svc.cluster.local",
    remedy='"value":"cart.shop.svc.cluster.local"',
    twin=lambda shop: shop.route("cart", {"host": CART}, namespace="web"),
)
def route_to_a_short_name_from_another_namespace(shop: Shop) -> None:
    shop.route("cart", {"host": "cart"}, namespace="web")


@mistake(
    1,
    "route-port-missing",
    "port 8080",
    remedy='"value":80',
    twin=lambda shop: shop.route("cart", {"host": CART, "port": {"number": 80}}),
)
def route_to_a_port_that_the_service_does_not_have(shop: Shop) -> None:
    shop.route("cart", {"host": CART, "port": {"number": 8080}})


def subsets(shop: Shop, *names: str, clusters: tuple[int, ...] = (), **labels: str) -> None:
    found = [{"name": name, "labels": labels or {"version": name}} for name in names]
    shop.apply("DestinationRule", "cart", {"host": CART, "subsets": found}, *clusters)


def route_to_v1(shop: Shop) -> None:
    subsets(shop, "v1")
    shop.route("cart", {"host": CART, "subset": "v1"})


@mistake(1, "route-subset-missing", "subset v2", "only v1", twin=route_to_v1)
def route_to_a_subset_that_no_rule_defines(shop: Shop) -> None:
    subsets(shop, "v1")
    shop.route("cart", {"host": CART, "subset": "v2"})


def the_subset_defined_in_both(shop: Shop) -> None:
    subsets(shop, "v1")
    shop.route("cart", {"host": CART, "subset": "v1"}, clusters=(1,))
    shop.route("cart", {"host": CART, "subset": "v1"}, clusters=(2,))


@mistake(
    1,
    "route-subset-missing",
    "of cluster2",
    "no DestinationRule in cluster2",
    twin=the_subset_defined_in_both,
)
def subsets_defined_in_one_primary_only(shop: Shop) -> None:
    subsets(shop, "v1", clusters=(1,))
    shop.route("cart", {"host": CART, "subset": "v1"})


def a_version_of_cluster2_only(shop: Shop) -> None:
    shop.pods(2, "shop", "cart-v3", app="cart", version="v3")
    subsets(shop, "v3")
    shop.route("cart", {"host": CART, "subset": "v3"})


@mistake(
    1,
    "route-subset-empty",
    "DestinationRule shop/cart",
    "labels version=v3",
    twin=a_version_of_cluster2_only,
)
def a_subset_whose_labels_no_pod_has(shop: Shop) -> None:
    subsets(shop, "v3")
    shop.route("cart", {"host": CART, "subset": "v3"})


def pinned_to(cluster: str) -> Seed:
    def seed(shop: Shop) -> None:
        labels = {"topology.istio.io/cluster": cluster}
        spec = {"host": CART, "subsets": [{"name": "there", "labels": labels}]}
        shop.apply("DestinationRule", "cart", spec)
        shop.route("cart", {"host": CART, "subset": "there"})

    seed.__name__ = f"a_subset_pinned_to_{cluster}"
    return seed


mistake(
    1,
    "route-subset-empty",
    "topology.istio.io/cluster=cluster9",
    twin=pinned_to("cluster2"),
)(pinned_to("cluster9"))


def nothing_gets_weight_zero(shop: Shop) -> None:
    subsets(shop, "v1")
    shop.route(
        "cart",
        {"destination": {"host": CART, "subset": "v1"}, "weight": 100},
        {"destination": {"host": CART, "subset": "v2"}, "weight": 0},
    )


@mistake(1, "route-subset-missing", "route[1]", "subset v2", twin=nothing_gets_weight_zero)
def a_share_for_a_subset_that_no_rule_defines(shop: Shop) -> None:
    subsets(shop, "v1")
    shop.route(
        "cart",
        {"destination": {"host": CART, "subset": "v1"}, "weight": 90},
        {"destination": {"host": CART, "subset": "v2"}, "weight": 10},
    )


def exported_here(shop: Shop, *targets: str) -> None:
    for number in (1, 2):
        annotations = {"networking.istio.io/exportTo": ",".join(targets)}
        shop.find(number, "Service", "cart")["metadata"]["annotations"] = annotations
    shop.route("cart", {"host": CART}, namespace="web")


@mistake(
    1,
    "route-not-exported",
    "VirtualService web/cart",
    "exportTo",
    twin=lambda shop: exported_here(shop, ".", "web"),
)
def a_route_to_a_service_that_is_exported_to_its_own_namespace(shop: Shop) -> None:
    exported_here(shop, ".")


def discovered(shop: Shop, *namespaces: str) -> None:
    for number in (1, 2):
        for name in namespaces:
            shop[number].find("Namespace", name)["metadata"]["labels"]["mesh"] = "yes"
    shop.mesh_config(discoverySelectors=[{"matchLabels": {"mesh": "yes"}}])
    shop.route("cart", {"host": CART}, namespace="web")


@mistake(
    1,
    "route-not-discovered",
    "discoverySelectors",
    twin=lambda shop: discovered(shop, "web", "shop"),
)
def a_route_to_a_namespace_that_is_not_discovered(shop: Shop) -> None:
    discovered(shop, "web")


def through(shop: Shop, gateway: str) -> None:
    server = {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}
    spec = {"selector": {"istio": "ingressgateway"}, "servers": [server]}
    # in one cluster only, while the routes are everywhere
    shop.apply("Gateway", "public", spec, 1)
    shop.route("cart", {"host": CART}, gateways=[gateway])


@mistake(
    1,
    "route-gateway-missing",
    "Gateway shop/publik",
    twin=lambda shop: through(shop, "shop/public"),
)
def a_route_for_a_gateway_that_no_cluster_has(shop: Shop) -> None:
    through(shop, "publik")


def delegated(shop: Shop, name: str) -> None:
    spec = {"http": [{"route": [{"destination": {"host": CART}}]}]}
    shop.apply("VirtualService", "cart-routes", spec)
    delegate = {"delegate": {"name": name, "namespace": "shop"}}
    shop.apply("VirtualService", "root", {"hosts": [CART], "http": [delegate]})


@mistake(
    1,
    "route-delegate-missing",
    "shop/cart-rules",
    twin=lambda shop: delegated(shop, "cart-routes"),
)
def a_delegate_that_does_not_exist(shop: Shop) -> None:
    delegated(shop, "cart-rules")


def mirrored(shop: Shop, host: str) -> None:
    rule = {"route": [{"destination": {"host": CART}}], "mirror": {"host": host}}
    shop.apply("VirtualService", "cart", {"hosts": [CART], "http": [rule]})


@mistake(
    1,
    "route-host-missing",
    "mirror",
    twin=lambda shop: mirrored(shop, MAIL),
    weight=RISK,
)
def a_mirror_that_does_not_exist(shop: Shop) -> None:
    mirrored(shop, "shadow")


def two_for(shop: Shop, *hosts: str) -> None:
    for number, host in enumerate(hosts):
        spec = {"hosts": [host], "http": [{"route": [{"destination": {"host": host}}]}]}
        shop.apply("VirtualService", f"route-{number}", spec)


@mistake(
    1,
    "route-conflict",
    "shop/route-1",
    "shop/route-0",
    twin=lambda shop: two_for(shop, CART, ORDERS),
    weight=RISK,
)
def two_virtual_services_for_one_host(shop: Shop) -> None:
    two_for(shop, CART, CART)


def rule_for(shop: Shop, host: str) -> None:
    policy = {"outlierDetection": {"consecutive5xxErrors": 3}}
    shop.apply("DestinationRule", "cart", {"host": host, "trafficPolicy": policy})


@mistake(
    1,
    "rule-host-missing",
    "DestinationRule shop/cart",
    "spec.host: kart",
    twin=lambda shop: rule_for(shop, "cart"),
    weight=RISK,
)
def a_destination_rule_for_a_host_that_does_not_exist(shop: Shop) -> None:
    rule_for(shop, "kart")


def two_entries(shop: Shop, host: str) -> None:
    spec = {"hosts": ["api.example.com"], "resolution": "DNS", "location": "MESH_EXTERNAL"}
    shop.apply("ServiceEntry", "outside", spec)
    shop.route("cart", {"host": host})


@mistake(
    1,
    "route-host-missing",
    "api.example.org",
    twin=lambda shop: two_entries(shop, "api.example.com"),
)
def a_route_outside_without_service_entry(shop: Shop) -> None:
    two_entries(shop, "api.example.org")


# instances


def other_selectors(shop: Shop) -> None:
    # the same pods, said in another way
    shop.find(1, "Service", "cart")["spec"]["selector"] = {"version": "v1", "app": "cart"}


@mistake(
    2,
    "svc-selector",
    "Service shop/cart of cluster1",
    "app=kart",
    remedy='"value":{"app":"cart"}',
    twin=other_selectors,
)
def a_selector_that_is_wrong_in_one_cluster(shop: Shop) -> None:
    shop.find(1, "Service", "cart")["spec"]["selector"] = {"app": "kart"}


def scaled_to_none(shop: Shop) -> None:
    for number in (1, 2):
        shop.stop(number, "cart")


@mistake(
    2,
    "svc-no-pods",
    "spec.selector: app=carts",
    "pods there have app=cart",
    twin=scaled_to_none,
    weight=RISK,
)
def a_selector_that_is_wrong_in_all_clusters(shop: Shop) -> None:
    for number in (1, 2):
        shop.find(number, "Service", "cart")["spec"]["selector"] = {"app": "carts"}


def named_ports(shop: Shop, name: str) -> None:
    second = {"name": "http-admin", "port": 81, "targetPort": name, "protocol": "TCP"}
    for number in (1, 2):
        shop.find(number, "Service", "cart")["spec"]["ports"].append(second)


@mistake(
    2,
    "svc-target-port",
    "spec.ports[1].targetPort: admin",
    twin=lambda shop: named_ports(shop, "web"),
)
def a_target_port_that_no_container_has(shop: Shop) -> None:
    named_ports(shop, "admin")


def only_named(shop: Shop, name: str) -> None:
    for number in (1, 2):
        shop.find(number, "Service", "cart")["spec"]["ports"][0]["targetPort"] = name


@mistake(
    2,
    "svc-target-port",
    "spec.ports[0].targetPort: https",
    twin=lambda shop: only_named(shop, "web"),
    weight=RISK,
)
def the_only_target_port_that_no_container_has(shop: Shop) -> None:
    only_named(shop, "https")


def without_sidecar(shop: Shop, number: int, app: str, **labels: str) -> None:
    for pod in shop.pods_of(number, app):
        pod["metadata"]["labels"].pop("security.istio.io/tlsMode")
        pod["metadata"]["labels"].update(labels)
        pod["metadata"]["annotations"] = {}


@mistake(
    2,
    "pod-no-sidecar",
    "2 pods of Service shop/cart in cluster2",
    remedy="restart their workload",
    twin=lambda shop: without_sidecar(shop, 2, "cart", **{"sidecar.istio.io/inject": "false"}),
    weight=RISK,
)
def pods_from_before_the_namespace_was_injected(shop: Shop) -> None:
    without_sidecar(shop, 2, "cart")


def labelled_network(shop: Shop, network: str) -> None:
    for pod in shop.pods_of(2, "cart"):
        pod["metadata"]["labels"]["topology.istio.io/network"] = network


@mistake(
    2,
    "pod-network",
    "topology.istio.io/network: network1",
    twin=lambda shop: labelled_network(shop, "network2"),
)
def pods_labelled_with_the_network_of_another_cluster(shop: Shop) -> None:
    labelled_network(shop, "network1")


@mistake(
    2,
    "pod-network",
    "topology.istio.io/network: network7",
    twin=lambda shop: labelled_network(shop, "network2"),
)
def pods_labelled_with_a_network_that_there_is_not(shop: Shop) -> None:
    labelled_network(shop, "network7")


# mutual TLS


def tls(shop: Shop, mode: str, *clusters: int, host: str = CART, **more: object) -> None:
    policy = {"tls": {"mode": mode}, **more}
    spec = {"host": host, "trafficPolicy": policy}
    shop.apply("DestinationRule", "cart-tls", spec, *clusters)


def demand(shop: Shop, mode: str, *clusters: int, namespace: str = "shop", **spec: object) -> None:
    whole = {"mtls": {"mode": mode}, **spec}
    shop.apply("PeerAuthentication", "default", whole, *clusters, namespace=namespace)


def strict_with(mode: str, *, namespace: str = "shop") -> Seed:
    def seed(shop: Shop) -> None:
        demand(shop, "STRICT", namespace=namespace)
        tls(shop, mode)

    seed.__name__ = f"clients_with_{mode.lower()}_under_strict_in_{namespace}".replace("-", "_")
    return seed


for _mode, _namespace in (("DISABLE", "shop"), ("SIMPLE", "shop"), ("DISABLE", SYSTEM)):
    mistake(
        3,
        "tls-strict",
        f"{_mode}",
        "mtls.mode STRICT",
        remedy='"op":"remove","path":"/spec/trafficPolicy/tls"',
        twin=strict_with("ISTIO_MUTUAL", namespace=_namespace),
    )(strict_with(_mode, namespace=_namespace))


def wide_rule(shop: Shop, mode: str) -> None:
    demand(shop, "STRICT")
    tls(shop, mode, host="*.shop.svc.cluster.local")


@mistake(
    3,
    "tls-strict",
    "DestinationRule shop/cart-tls",
    twin=lambda shop: wide_rule(shop, "ISTIO_MUTUAL"),
)
def a_wide_rule_without_mutual_tls_under_strict(shop: Shop) -> None:
    wide_rule(shop, "DISABLE")


def an_exact_rule_beside_the_wide_one(shop: Shop) -> None:
    demand(shop, "STRICT", selector={"matchLabels": {"app": "cart"}})
    tls(shop, "DISABLE", host="*.shop.svc.cluster.local", outlierDetection={})
    for name, host in (("cart", CART), ("orders", ORDERS)):
        spec = {"host": host, "trafficPolicy": {"tls": {"mode": "ISTIO_MUTUAL"}}}
        shop.apply("DestinationRule", name, spec)


@mistake(3, "tls-strict", "STRICT", twin=an_exact_rule_beside_the_wide_one)
def a_workload_that_is_strict_and_a_wide_rule(shop: Shop) -> None:
    demand(shop, "STRICT", selector={"matchLabels": {"app": "cart"}})
    tls(shop, "DISABLE", host="*.shop.svc.cluster.local")


def port_level(shop: Shop, mode: str) -> None:
    demand(shop, "STRICT")
    ports = [{"port": {"number": 80}, "tls": {"mode": mode}}]
    spec = {"host": CART, "trafficPolicy": {"portLevelSettings": ports}}
    shop.apply("DestinationRule", "cart", spec)


@mistake(
    3,
    "tls-strict",
    "spec.trafficPolicy.portLevelSettings[0].tls.mode: DISABLE",
    twin=lambda shop: port_level(shop, "ISTIO_MUTUAL"),
)
def a_port_without_mutual_tls_under_strict(shop: Shop) -> None:
    port_level(shop, "DISABLE")


def legacy(shop: Shop, *, sidecar: bool) -> None:
    for number in (1, 2):
        shop.pods(number, "shop", "cart-old", sidecar=sidecar, app="cart", version="old")
        for pod in shop.pods_of(number, "cart"):
            if not sidecar and pod["metadata"]["labels"]["version"] == "old":
                pod["metadata"]["labels"]["sidecar.istio.io/inject"] = "false"
    demand(shop, "STRICT")
    old = {"name": "old", "labels": {"version": "old"}}
    spec = {
        "host": CART,
        "trafficPolicy": {"tls": {"mode": "ISTIO_MUTUAL"}},
        "subsets": [{**old, "trafficPolicy": {"tls": {"mode": "DISABLE"}}}],
    }
    shop.apply("DestinationRule", "cart", spec)


@mistake(
    3,
    "tls-strict",
    "spec.subsets[0].trafficPolicy.tls.mode: DISABLE",
    twin=lambda shop: legacy(shop, sidecar=False),
)
def a_subset_without_mutual_tls_under_strict(shop: Shop) -> None:
    legacy(shop, sidecar=True)


def outside_the_mesh(shop: Shop, mode: str) -> None:
    for number in (1, 2):
        labels = {"sidecar.istio.io/inject": "false"}
        without_sidecar(shop, number, "cart", **labels)
    tls(shop, mode)


@mistake(
    3,
    "tls-no-sidecar",
    "ISTIO_MUTUAL",
    "all of its pods",
    remedy='"op":"remove","path":"/spec/trafficPolicy/tls"',
    twin=lambda shop: outside_the_mesh(shop, "DISABLE"),
)
def mutual_tls_to_pods_without_sidecar(shop: Shop) -> None:
    outside_the_mesh(shop, "ISTIO_MUTUAL")


def mutual_tls_to_pods_that_take_it(shop: Shop) -> None:
    demand(shop, "PERMISSIVE")
    tls(shop, "ISTIO_MUTUAL")


@mistake(
    3,
    "tls-peer-disabled",
    "PeerAuthentication shop/default",
    remedy='"value":"PERMISSIVE"',
    twin=mutual_tls_to_pods_that_take_it,
)
def mutual_tls_to_pods_that_take_plaintext_only(shop: Shop) -> None:
    demand(shop, "DISABLE")
    tls(shop, "ISTIO_MUTUAL")


@mistake(
    3,
    "tls-one-primary",
    "PeerAuthentication shop/default of cluster2",
    remedy='"value":"PERMISSIVE"',
    twin=lambda shop: demand(shop, "STRICT"),
)
def plaintext_only_in_one_primary(shop: Shop) -> None:
    demand(shop, "DISABLE", 2)


def no_automatic_tls(shop: Shop) -> None:
    shop.mesh_config(enableAutoMtls=False)
    demand(shop, "STRICT")
    tls(shop, "ISTIO_MUTUAL", host="*.local")


@mistake(3, "tls-strict", "enableAutoMtls", twin=no_automatic_tls)
def no_automatic_mutual_tls_under_strict(shop: Shop) -> None:
    shop.mesh_config(enableAutoMtls=False)
    demand(shop, "STRICT")


# authorisation


def allow(shop: Shop, *rules: object, **spec: object) -> None:
    shop.apply("AuthorizationPolicy", "allow", {"action": "ALLOW", "rules": [*rules], **spec})


def sources(**source: list[str]) -> dict[str, object]:
    return {"from": [{"source": source}]}


def operations(**operation: list[str]) -> dict[str, object]:
    return {"to": [{"operation": operation}]}


FRONT = "cluster.local/ns/web/sa/front"


def principal(name: str) -> Seed:
    return lambda shop: allow(shop, sources(principals=[name]))


@mistake(
    4,
    "policy-trust-domain",
    "AuthorizationPolicy shop/allow",
    "old.example/ns/web/sa/front",
    twin=principal(FRONT),
)
def principals_of_another_trust_domain(shop: Shop) -> None:
    allow(shop, sources(principals=["old.example/ns/web/sa/front"]))


def of_an_alias(shop: Shop) -> None:
    shop.mesh_config(trustDomainAliases=["old.example"])
    allow(shop, sources(principals=["old.example/ns/web/sa/front"]))


@mistake(4, "policy-trust-domain", "new.example", twin=of_an_alias)
def principals_of_a_trust_domain_that_is_no_alias(shop: Shop) -> None:
    shop.mesh_config(trustDomainAliases=["old.example"])
    allow(shop, sources(principals=["new.example/ns/web/sa/front"]))


@mistake(4, "policy-principal", "spiffe://", twin=principal("*/ns/web/sa/front"))
def principals_written_as_uris(shop: Shop) -> None:
    allow(shop, sources(principals=[f"spiffe://{FRONT}"]))


@mistake(
    4,
    "policy-namespace",
    "no cluster has a namespace webb",
    twin=lambda shop: allow(shop, sources(namespaces=["web"])),
)
def callers_of_a_namespace_that_there_is_not(shop: Shop) -> None:
    allow(shop, sources(namespaces=["webb"]))


@mistake(
    4,
    "policy-namespace",
    "no pod of the namespace kube-system",
    twin=lambda shop: allow(shop, sources(namespaces=["web", "kube-system"])),
    weight=RISK,
)
def callers_of_a_namespace_outside_the_mesh(shop: Shop) -> None:
    allow(shop, sources(namespaces=["kube-system"]))


@mistake(
    4,
    "policy-port",
    "ports: 80",
    "8080",
    twin=lambda shop: allow(shop, operations(ports=["8080"])),
)
def the_port_of_the_service_instead_of_the_pod(shop: Shop) -> None:
    allow(shop, operations(ports=["80"]))


def over_tcp(shop: Shop, **operation: list[str]) -> None:
    for number in (1, 2):
        shop.find(number, "Service", "cart")["spec"]["ports"][0]["name"] = "tcp-redis"
    selector = {"matchLabels": {"app": "cart"}}
    allow(shop, operations(**operation), selector=selector)


@mistake(
    4,
    "policy-http",
    "methods are of HTTP",
    twin=lambda shop: over_tcp(shop, ports=["8080"]),
)
def methods_for_a_service_of_tcp(shop: Shop) -> None:
    over_tcp(shop, methods=["GET"])


def principals_over_mutual_tls(shop: Shop) -> None:
    demand(shop, "PERMISSIVE")
    principal(FRONT)(shop)


@mistake(
    4,
    "policy-no-identity",
    "without identity",
    twin=principals_over_mutual_tls,
)
def principals_without_mutual_tls(shop: Shop) -> None:
    demand(shop, "DISABLE")
    allow(shop, sources(principals=[FRONT]))


def deny(name: str) -> Seed:
    spec = {"action": "DENY", "rules": [sources(principals=[name])]}
    return lambda shop: shop.apply("AuthorizationPolicy", "deny", spec)


@mistake(
    4,
    "policy-denies-nobody",
    "AuthorizationPolicy shop/deny",
    twin=deny(FRONT),
    weight=RISK,
)
def a_denial_of_a_trust_domain_that_there_is_not(shop: Shop) -> None:
    deny("old.example/ns/web/sa/front")(shop)


# the same in every primary


@mistake(
    5,
    "rule-one-primary",
    "VirtualService shop/cart of cluster1",
    "callers in cluster2 are not routed by it",
    remedy="apply it to cluster2",
    twin=lambda shop: shop.route("cart", {"host": CART}),
    weight=RISK,
)
def a_route_in_one_primary_only(shop: Shop) -> None:
    shop.route("cart", {"host": CART}, clusters=(1,))


def outlier_detection(shop: Shop, *limits: int) -> None:
    for number, limit in enumerate(limits, 1):
        policy = {"outlierDetection": {"consecutive5xxErrors": limit}}
        shop.apply("DestinationRule", "cart", {"host": CART, "trafficPolicy": policy}, number)


@mistake(
    5,
    "rule-one-primary",
    "says something else there",
    twin=lambda shop: outlier_detection(shop, 3, 3),
    weight=RISK,
)
def a_rule_that_differs_between_primaries(shop: Shop) -> None:
    outlier_detection(shop, 3, 5)


def refuse(shop: Shop, *clusters: int) -> None:
    spec = {"action": "DENY", "rules": [sources(principals=[FRONT])]}
    shop.apply("AuthorizationPolicy", "deny", spec, *clusters)


@mistake(
    5,
    "rule-one-primary",
    "pods in cluster1 are not protected",
    twin=refuse,
    weight=RISK,
)
def a_denial_in_one_primary_only(shop: Shop) -> None:
    refuse(shop, 2)


# reach: cluster1 has the Service orders, and its instances are in cluster2


@mistake(
    6,
    "reach-plaintext",
    "DestinationRule shop/cart-tls",
    "Service shop/orders of cluster1",
    twin=lambda shop: tls(shop, "ISTIO_MUTUAL", host=ORDERS),
)
def plaintext_to_another_network(shop: Shop) -> None:
    tls(shop, "DISABLE", host=ORDERS)


@mistake(
    6,
    "reach-plaintext",
    "PeerAuthentication shop/default",
    twin=lambda shop: demand(shop, "PERMISSIVE"),
)
def pods_that_take_plaintext_only_behind_a_gateway(shop: Shop) -> None:
    demand(shop, "DISABLE")


@mistake(
    6,
    "reach-no-sidecar",
    "have no sidecar",
    # where every cluster has its own, it need not be reached elsewhere
    twin=lambda shop: without_sidecar(shop, 2, "mail", **{"sidecar.istio.io/inject": "false"}),
)
def pods_without_sidecar_behind_a_gateway(shop: Shop) -> None:
    without_sidecar(shop, 2, "orders", **{"sidecar.istio.io/inject": "false"})


def local(shop: Shop, host: str) -> None:
    settings = [{"hosts": [host], "settings": {"clusterLocal": True}}]
    shop.mesh_config(serviceSettings=settings)


@mistake(
    6,
    "reach-cluster-local",
    f"clusterLocal for {ORDERS}",
    remedy=f"--not-cluster-local={ORDERS}",
    twin=lambda shop: local(shop, CART),
    weight=RISK,
)
def a_service_kept_within_the_cluster_that_has_none(shop: Shop) -> None:
    local(shop, ORDERS)
