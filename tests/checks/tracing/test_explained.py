"""Explaining a request of any workload: the first broken hop is that of the object to blame."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_istio_mc.checks.tracing import symptoms
from pytest_istio_mc.checks.tracing.call import Caller
from pytest_istio_mc.checks.tracing.explained import Explanation, explain
from pytest_istio_mc.checks.tracing.trace import State
from pytest_istio_mc.cli import GOOD, USAGE, WORSE, main
from tests.checks.services import mistakes
from tests.checks.services.mistakes import CART, FRONT, MISTAKES, ORDERS, Mistake
from tests.checks.services.shop import DOMAIN, Shop
from tests.static_checks import taken_away

Seed = Callable[[Shop], object]

NOTHING_RUNS = "a_selector_that_is_wrong_in_all_clusters"
"""The mistake whose twin is a service scaled to none."""

FRONT_OF_1 = Caller("cluster1", "web", "front")


def sidecar(shop: Shop, *hosts: str) -> None:
    spec = {"egress": [{"hosts": [*hosts]}]}
    shop.apply("Sidecar", "default", spec, namespace="web")


def exposed(shop: Shop, *hosts: str) -> None:
    for number in (1, 2):
        for item in shop[number].objects["Gateway.networking.istio.io"]:
            item["spec"]["servers"][0]["hosts"] = [*hosts]


def one_policy_for_nobody_and_one_for_callers(shop: Shop) -> None:
    shop.apply("AuthorizationPolicy", "nobody", {})
    mistakes.allow(shop, mistakes.sources(namespaces=["web"]))


def no_name_and_captured_dns(shop: Shop) -> None:
    shop[1].remove("Service", "orders", "shop")
    metadata = {"ISTIO_META_DNS_CAPTURE": "true"}
    shop.mesh_config(defaultConfig={"proxyMetadata": metadata})


CASES: list[tuple[str, Seed, Seed, str, str, str]] = [
    (
        "a Sidecar without the host",
        lambda shop: sidecar(shop, "./*", "istio-system/*"),
        lambda shop: sidecar(shop, "./*", "shop/*"),
        "cart.shop",
        symptoms.LISTENER,
        "Sidecar web/default of cluster1",
    ),
    (
        "a Sidecar with another host of the namespace",
        lambda shop: sidecar(shop, f"shop/{ORDERS}"),
        lambda shop: sidecar(shop, f"*/{CART}"),
        "cart.shop",
        symptoms.LISTENER,
        "spec.egress[].hosts",
    ),
    (
        "a service that is not exported",
        lambda shop: mistakes.exported_here(shop, "."),
        lambda shop: mistakes.exported_here(shop, "web"),
        CART,
        symptoms.LISTENER,
        "exportTo",
    ),
    (
        "a route to nothing",
        lambda shop: shop.route("cart", {"host": "kart"}),
        lambda shop: shop.route("cart", {"host": "cart"}),
        "cart.shop",
        symptoms.ROUTE,
        "VirtualService shop/cart of cluster1",
    ),
    (
        "a subset without pods",
        mistakes.a_subset_whose_labels_no_pod_has,
        mistakes.route_to_v1,
        "cart.shop:80",
        symptoms.CLUSTER,
        "labels version=v3",
    ),
    (
        "a selector without pods",
        mistakes.a_selector_that_is_wrong_in_one_cluster,
        mistakes.other_selectors,
        "cart.shop",
        symptoms.ENDPOINT,
        "app=kart",
    ),
    (
        "no mutual TLS to a service of another network",
        lambda shop: mistakes.tls(shop, "DISABLE", host=ORDERS),
        lambda shop: mistakes.tls(shop, "ISTIO_MUTUAL", host=ORDERS),
        "orders.shop",
        symptoms.CLIENT_TLS,
        "DestinationRule shop/cart-tls of cluster1",
    ),
    (
        "pods that take plaintext only",
        lambda shop: mistakes.demand(shop, "DISABLE", 2),
        lambda shop: mistakes.demand(shop, "STRICT", 2),
        "orders.shop",
        symptoms.CLIENT_TLS,
        "PeerAuthentication shop/default of cluster2",
    ),
    (
        "a gateway that does not pass the host on",
        lambda shop: exposed(shop, f"*.web.{DOMAIN}", "*.istio-mc-test.svc.cluster.local"),
        lambda shop: exposed(shop, "*.local"),
        "orders.shop",
        symptoms.GATEWAY,
        "Gateway istio-system/cross-network-gateway of cluster2",
    ),
    (
        "a denial",
        lambda shop: shop.apply(
            "AuthorizationPolicy",
            "deny",
            {"action": "DENY", "rules": [mistakes.sources(namespaces=["web"])]},
        ),
        lambda shop: shop.apply(
            "AuthorizationPolicy",
            "deny",
            {"action": "DENY", "rules": [mistakes.sources(namespaces=["other"])]},
        ),
        "cart.shop",
        symptoms.AUTHORISATION,
        "AuthorizationPolicy shop/deny of cluster1 denies it",
    ),
    (
        "nobody is let in",
        lambda shop: shop.apply("AuthorizationPolicy", "nobody", {}),
        one_policy_for_nobody_and_one_for_callers,
        "cart.shop",
        symptoms.AUTHORISATION,
        "AuthorizationPolicy shop/nobody of cluster1",
    ),
    (
        "others are let in",
        lambda shop: mistakes.allow(shop, mistakes.sources(namespaces=["other"])),
        lambda shop: mistakes.allow(shop, mistakes.sources(namespaces=["web", "other"])),
        "cart.shop",
        symptoms.AUTHORISATION,
        "lets others in only",
    ),
    (
        "a caller without sidecar",
        lambda shop: mistakes.without_sidecar(shop, 1, "front"),
        lambda shop: None,
        "orders.shop",
        symptoms.CLIENT_PROXY,
        "front-0",
    ),
    (
        "no name",
        lambda shop: shop[1].remove("Service", "orders", "shop"),
        no_name_and_captured_dns,
        "orders.shop",
        symptoms.DNS,
        "no such Service",
    ),
    (
        "namespaces that are not discovered",
        lambda shop: mistakes.discovered(shop, "web"),
        lambda shop: mistakes.discovered(shop, "web", "shop"),
        "cart.shop",
        symptoms.LISTENER,
        "discoverySelectors of cluster1",
    ),
    (
        "a service kept within its cluster",
        lambda shop: mistakes.local(shop, ORDERS),
        lambda shop: mistakes.local(shop, CART),
        "orders.shop",
        symptoms.ENDPOINT,
        f"clusterLocal for {ORDERS}",
    ),
]


def asked(shop: Shop, host: str) -> Explanation:
    name, _, port = host.partition(":")
    return explain(shop.record(), FRONT_OF_1, name, int(port or 0))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0].replace(" ", "-"))
def test_the_first_broken_hop_is_that_of_the_object(
    case: tuple[str, Seed, Seed, str, str, str],
) -> None:
    _, seed, _, host, hop, text = case
    shop = Shop()
    seed(shop)

    found = asked(shop, host)

    assert found.broken, "\n".join(found.lines())
    broken = found.broken[0].broken
    assert broken is not None
    assert (broken.name, text in broken.seen) == (hop, True), "\n".join(found.lines())
    assert broken.remedy
    assert not taken_away(broken.remedy)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0].replace(" ", "-"))
def test_its_twin_has_no_broken_hop(case: tuple[str, Seed, Seed, str, str, str]) -> None:
    _, _, twin, host, _, _ = case
    shop = Shop()
    twin(shop)

    found = asked(shop, host)

    assert found.broken == (), "\n".join(found.lines())


def test_on_a_healthy_mesh_every_hop_is_good() -> None:
    found = asked(Shop(), "cart.shop")

    assert [one.target for one in found.traces] == ["cluster1", "cluster2"]
    states = {hop.state for one in found.traces for hop in one.hops}
    assert states == {State.GOOD}, "\n".join(found.lines())
    (across,) = [one for one in found.traces if one.target == "cluster2"]
    assert symptoms.GATEWAY in [hop.name for hop in across.hops]


def test_what_depends_on_more_than_objects_say_is_unknown() -> None:
    shop = Shop()
    mistakes.allow(shop, mistakes.sources(principals=[FRONT]))

    found = asked(shop, "cart.shop")

    assert found.broken == ()
    assert found.unknown


def test_what_was_not_recorded_is_unknown_and_never_broken() -> None:
    shop = Shop()
    shop[1].refused = ("AuthorizationPolicy.security.istio.io",)

    found = asked(shop, "cart.shop")

    assert found.broken == ()
    assert found.unknown


RUNNING = [case for case in MISTAKES if case.seed.__name__ != NOTHING_RUNS]


@pytest.mark.parametrize("case", RUNNING, ids=str)
def test_the_twins_of_all_mistakes_are_explained_without_a_broken_way(case: Mistake) -> None:
    shop = Shop()
    case.twin(shop)

    found = asked(shop, "cart.shop")

    wrong = [one for one in found.broken if one.target == "cluster1"]
    assert wrong == [], "\n".join(found.lines())


def test_the_command_says_it_and_ends_with_what_it_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shop = Shop()
    shop.route("cart", {"host": "kart"})
    shop.record().save(tmp_path / "broken")
    Shop().record().save(tmp_path / "good")
    words = ["explain", "--from", "cluster1/web/front", "--to", "cart.shop"]

    assert main([*words, "--replay", str(tmp_path / "good")]) == GOOD
    assert "✓ remote gateway" in capsys.readouterr().out
    assert main([*words, "--replay", str(tmp_path / "broken")]) == WORSE
    out = capsys.readouterr().out
    assert "first broken hop: route" in out
    assert "remedy:   kubectl --context=ctx-1 -n shop get virtualservices" in out
    assert main([*words, "--json", "--replay", str(tmp_path / "broken")]) == WORSE
    document = json.loads(capsys.readouterr().out)
    assert {one["firstBroken"] for one in document["ways"]} == {"route"}
    outside = ["explain", "--from", "cluster1/web/front", "--to", "api.example.com"]
    assert main([*outside, "--replay", str(tmp_path / "good")]) == WORSE


@pytest.mark.parametrize(
    ("source", "to", "told"),
    [
        ("cluster1/web", "cart", "CLUSTER/NAMESPACE/WORKLOAD"),
        ("cluster9/web/front", "cart.shop", "known clusters: cluster1, cluster2"),
        ("cluster1/web/nobody", "cart.shop", "front-0"),
        ("cluster1/web/front", "cart.shop:8", "it has 80"),
        ("cluster1/web/front", "cart.shop:x", "HOST[:PORT]"),
        ("cluster1/web/front", ":80", "HOST[:PORT]"),
    ],
)
def test_what_names_nothing_is_one_clear_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str, to: str, told: str
) -> None:
    Shop().record().save(tmp_path / "good")

    code = main(["explain", "--from", source, "--to", to, "--replay", str(tmp_path / "good")])

    assert code == USAGE
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["MC-TRUST-001", "--from", "a/b/c"],
        ["--to", "cart"],
        ["--from", "a/b/c", "--to", "cart"],
    ],
)
def test_explain_is_of_a_check_or_of_a_request(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", *words]) == USAGE
    assert "istio-mc: explain" in capsys.readouterr().err
