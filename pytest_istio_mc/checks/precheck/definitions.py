"""Definitions: custom resources that API servers serve, and the default revision."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ... import shell
from ...errors import ObservationError
from ...istio_names import REVISION_LABEL, is_default
from ...snapshot import ClusterSnapshot, labels_of, name_of
from ...verdicts import Finding
from ..judging import Found, each
from .known_bad import ISSUE, NEWS
from .rules import Rule, Situation, Weight

ISTIO_KINDS = {
    "networking.istio.io/v1": (
        "destinationrules", "gateways", "serviceentries", "sidecars", "virtualservices",
        "workloadentries", "workloadgroups",
    ),
    "networking.istio.io/v1alpha3": ("envoyfilters",),
    "networking.istio.io/v1beta1": ("proxyconfigs",),
    "security.istio.io/v1": (
        "authorizationpolicies", "peerauthentications", "requestauthentications",
    ),
    "telemetry.istio.io/v1": ("telemetries",),
    "extensions.istio.io/v1alpha1": ("wasmplugins", "trafficextensions"),
}  # fmt: skip
"""What istiod 1.30 and 1.31 watch (``pkg/config/schema/collections``), by group and version."""

GATEWAY_GROUP = "gateway.networking.k8s.io"
DEFAULT_TAG = "istio-revision-tag-default"
"""The webhook configuration by which istiod knows the default revision (``pkg/revisions``)."""


def served(cluster: ClusterSnapshot) -> dict[str, frozenset[str]]:
    """The resources that an API server serves, by group and version.

    ``ObservationError`` where they were not recorded.
    """
    cluster.listed("Namespace")  # says so where nothing of the cluster could be read
    if cluster.api_resources is None:
        failures = [one.error for one in cluster.failures if one.what == "discover resources"]
        advice = "record the snapshot with istio-mc precheck --snapshot"
        raise ObservationError(
            f'cluster "{cluster.name}"',
            "could not tell what its API server serves",
            failures[0] if failures else "it was not recorded",
            advice=advice,
        )
    return {group: frozenset(names) for group, names in cluster.api_resources.items()}


def _has_gateway_api(cluster: ClusterSnapshot) -> bool:
    cluster.listed("Namespace")  # says so where nothing of the cluster could be read
    return GATEWAY_GROUP in cluster.api_groups


def _istio_kinds(situation: Situation) -> Iterable[Found]:
    def look(cluster: ClusterSnapshot) -> Iterator[Found]:
        found = served(cluster)
        missing = [
            f"{name}.{group}"
            for group, wanted in ISTIO_KINDS.items()
            for name in wanted
            if name not in found.get(group, frozenset())
        ]
        if missing:
            told = "upgrade the CRDs first (chart base of the target), in every cluster"
            context = situation.commands.kubectl(cluster.name, "get crd -l app=istio-pilot")
            yield Finding(
                f"{cluster.name} does not serve {', '.join(missing)}",
                (cluster.name,),
                expected="every kind that istiod watches",
                seen=f"{len(missing)} missing",
                remedy=shell.with_note(context, told),
                fault="istio-kinds-missing",
            )

    return each(situation.configured, look)


def _tls_routes(situation: Situation) -> Iterable[Found]:
    def look(cluster: ClusterSnapshot) -> Iterator[Found]:
        if not _has_gateway_api(cluster):
            return
        found = served(cluster)
        versions = sorted(
            group.partition("/")[2]
            for group, names in found.items()
            if group.startswith(f"{GATEWAY_GROUP}/") and "tlsroutes" in names
        )
        if versions and "v1" not in versions:
            told = "upgrade the CRDs of the Gateway API to a release that serves TLSRoute as v1"
            crd = situation.commands.kubectl(
                cluster.name, "get", f"crd/tlsroutes.{GATEWAY_GROUP}", "-o", "yaml"
            )
            yield Finding(
                f"{cluster.name} serves TLSRoute as {', '.join(versions)} only: istiod does not "
                "see such routes",
                (cluster.name,),
                expected="v1",
                seen=", ".join(versions),
                remedy=shell.with_note(crd, told),
                fault="tls-routes-too-old",
            )

    return each(situation.configured, look)


def _unlike(situation: Situation) -> Iterable[Found]:
    """The Gateway API's kinds where they differ between clusters with configuration."""
    sets: dict[str, frozenset[str]] = {}

    def look(cluster: ClusterSnapshot) -> Iterator[Found]:
        if not _has_gateway_api(cluster):
            return
        sets[cluster.name] = frozenset(
            f"{name} {group.partition('/')[2]}"
            for group, names in served(cluster).items()
            if group.startswith(f"{GATEWAY_GROUP}/")
            for name in names
        )
        yield from ()

    yield from each(situation.configured, look)
    if len(set(sets.values())) > 1:
        every = frozenset.union(*sets.values())
        for name, kinds in sets.items():
            if lacking := sorted(every - kinds):
                told = "install the same release of the Gateway API everywhere"
                yield Finding(
                    f"{name} serves less of the Gateway API than other clusters: "
                    f"{', '.join(lacking[:5])}",
                    (name,),
                    expected="the same kinds and versions everywhere",
                    seen=f"{len(lacking)} missing",
                    remedy=shell.note(told),
                    fault="gateway-api-differs",
                )


def _default(situation: Situation) -> Iterable[Found]:
    def look(cluster: ClusterSnapshot) -> Iterator[Found]:
        # an external istiod reads them where it reads its configuration
        home = situation.snapshot.clusters[situation.config_cluster(cluster.name)]
        webhooks = home.listed("MutatingWebhookConfiguration")
        revisions = {one.environment.get("REVISION", "default") for one in cluster.istiods}
        if not revisions or any(map(is_default, revisions)):
            return
        namespace = situation.snapshot.spec.istio_namespace
        named = (DEFAULT_TAG, f"{DEFAULT_TAG}-{namespace}")
        tags = [one for one in webhooks if name_of(one) in named]
        if any(labels_of(one).get(REVISION_LABEL) for one in tags):
            return
        revision = max(revisions)
        tag = situation.commands.istioctl(
            home.name, "tag set default", "--revision", revision, "--istioNamespace", namespace
        )
        yield Finding(
            f"{cluster.name} has revision {', '.join(sorted(revisions))} and no default one: "
            "Gateways without a revision are not programmed, and configuration is not validated",
            (cluster.name,),
            expected="a revision tag default",
            seen="none",
            remedy=shell.with_note(tag, "if that is the revision that is meant"),
            fault="no-default-revision",
        )

    return each(situation.planes, look)


RULES = (
    Rule(
        "istio-kinds-missing",
        "An API server does not serve every kind of Istio's that istiod watches.",
        Weight.RISK,
        "such objects can neither be made nor seen: CRDs are upgraded before istiod",
        "what API servers serve, where istiods read configuration",
        ("https://istio.io/latest/docs/setup/upgrade/helm/",),
        _istio_kinds,
        to=(">=1.30.0",),
    ),
    Rule(
        "tls-routes-too-old",
        "TLSRoute is served in alpha versions only.",
        Weight.RISK,
        "TLSRoutes are ignored without a word in their status (IST0176)",
        "what API servers serve, where istiods read configuration",
        (NEWS + "1.30.x/announcing-1.30/",),
        _tls_routes,
        to=(">=1.30.0",),
    ),
    Rule(
        "gateway-api-differs",
        "Clusters serve different kinds of the Gateway API.",
        Weight.NOTE,
        "the same manifest works in one cluster and is refused or ignored in another",
        "what API servers serve, where istiods read configuration",
        ("https://gateway-api.sigs.k8s.io/guides/#installing-gateway-api",),
        _unlike,
    ),
    Rule(
        "no-default-revision",
        "No revision is the default one.",
        Weight.RISK,
        "Gateways of the Gateway API without a revision are not programmed, configuration is "
        "not validated, and namespaces with istio-injection are not injected",
        "istiods' revisions, and the webhooks of revision tags",
        (ISSUE + "55372", ISSUE + "55897"),
        _default,
    ),
)
