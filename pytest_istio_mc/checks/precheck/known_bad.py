"""Known-bad releases: defects of some releases that an upgrade, or a rotation after it, meets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from ... import shell
from ...istio_names import MULTI_CLUSTER_LABEL, REMOTE_GATEWAY_CLASS
from ...snapshot import ClusterSnapshot
from ...verdicts import Finding
from ..judging import Found, Gap, each
from .rules import Rule, Situation, Weight
from .skew import proxies_before

ISSUE = "https://github.com/istio/istio/issues/"
PULL = "https://github.com/istio/istio/pull/"
NEWS = "https://istio.io/latest/news/releases/"

Concerned = Callable[[ClusterSnapshot], bool]
GATEWAY_API = "Gateway.gateway.networking.k8s.io"
SERVICE_ENTRY = "ServiceEntry.networking.istio.io"


def has_remote_secrets(cluster: ClusterSnapshot) -> bool:
    """Whether an istiod there reads other clusters; ``ObservationError`` if unknown."""
    secrets = cluster.all_secrets()
    return any(one.labels.get(MULTI_CLUSTER_LABEL) == "true" for one in secrets)


def has_gateways(cluster: ClusterSnapshot) -> bool:
    """Whether istiod deploys gateways there by the Gateway API."""
    return any(
        one["spec"].get("gatewayClassName") not in ("", None, REMOTE_GATEWAY_CLASS)
        for one in cluster.listed(GATEWAY_API)
    )


def selects_pods(cluster: ClusterSnapshot) -> bool:
    """Whether ServiceEntries there select pods."""
    entries = cluster.listed(SERVICE_ENTRY)
    return any((one["spec"].get("workloadSelector") or {}).get("labels") for one in entries)


def has_istiod(cluster: ClusterSnapshot) -> bool:
    """Any cluster with an istiod."""
    return True


@dataclass(frozen=True)
class Bad:
    """A defect of some releases; ``advice`` is what helps, ``concerned`` which clusters it hits.

    ``of_running``: the defect is in the release that runs, not in the one upgraded to.
    """

    id: str
    title: str
    weight: Weight
    versions: tuple[str, ...]
    effect: str
    advice: str
    sources: tuple[str, ...]
    looks_at: str = "versions, and the remote secrets of each control plane"
    concerned: Concerned = has_remote_secrets
    of_running: bool = False

    def rule(self) -> Rule:
        """The rule that says it."""
        return Rule(
            self.id,
            self.title,
            self.weight,
            self.effect,
            self.looks_at,
            self.sources,
            self._judge,
            to=() if self.of_running else self.versions,
            running=self.versions if self.of_running else (),
        )

    def _judge(self, situation: Situation) -> Iterator[Found]:
        def look(cluster: ClusterSnapshot) -> Iterator[Found]:
            if self.concerned(cluster):
                yield Finding(
                    f"{self.effect} ({cluster.name})",
                    (cluster.name,),
                    expected=self.advice,
                    seen="the release that runs" if self.of_running else str(situation.target),
                    remedy=shell.note(self.advice),
                    fault=self.id,
                )

        by_secrets = self.concerned in (has_remote_secrets, has_istiod)
        yield from each(situation.planes if by_secrets else situation.configured, look)


def _old_sidecars(situation: Situation) -> Iterable[Found]:
    for found in proxies_before(situation, "1.29.2"):
        if isinstance(found, Gap | Finding):
            yield found
            continue
        cluster, proxies = found
        yield Finding(
            f"{len(proxies)} proxies in {cluster} are older than 1.29.2, and Istio "
            f"{situation.target} breaks them",
            (cluster,),
            expected="proxies of 1.29.2 or newer, or a target that is mended",
            seen=", ".join(sorted(proxies)[:5]),
            remedy=shell.note("upgrade to 1.29.5, 1.30.2 or newer instead"),
            fault="breaks-old-sidecars",
        )


_BAD = (
    Bad(
        "gateways-restart-with-istiod",
        "Every gateway of the Gateway API restarts whenever istiod does.",
        Weight.RISK,
        (">=1.29.0,<1.29.2",),
        "all gateways that istiod deploys are restarted at once with each restart of istiod",
        "upgrade to 1.29.2 or newer",
        (ISSUE + "59709",),
        "versions, and Gateways of the Gateway API",
        has_gateways,
    ),
    Bad(
        "gateway-revision-outage",
        "A gateway of the Gateway API is without configuration while its revision changes.",
        Weight.RISK,
        ("<1.29.5", ">=1.30.0,<1.30.2"),
        "when istio.io/rev of a Gateway is changed, the old control plane empties its running "
        "pods: up to 30 s without traffic",
        "upgrade the running release to a mended patch first: 1.29.5, 1.30.2 or newer; "
        "or move traffic to a second Gateway",
        (ISSUE + "59959",),
        "versions, and Gateways of the Gateway API",
        has_gateways,
        of_running=True,
    ),
    Bad(
        "secret-controller-deadlock",
        "istiod stops reading remote secrets once one is updated.",
        Weight.BLOCKS,
        (">=1.29.0,<1.29.3",),
        "updating a remote secret deadlocks istiod: no cluster joins, leaves or rotates after it",
        "upgrade to 1.29.5 or newer",
        (ISSUE + "59876",),
    ),
    Bad(
        "panic-on-second-update",
        "istiod panics when a remote secret is updated twice quickly.",
        Weight.RISK,
        (">=1.29.0,<1.29.5",),
        "two updates of a remote secret within a moment end istiod (close of closed channel)",
        "upgrade to 1.29.5 or newer",
        (ISSUE + "60520",),
    ),
    Bad(
        "cluster-store-deadlock",
        "istiod may deadlock when clusters come and go.",
        Weight.RISK,
        (">=1.30.0,<1.30.1",),
        "a nested lock on the list of clusters may stop istiod when a remote secret changes",
        "upgrade to 1.30.4 or newer",
        (NEWS + "1.30.x/announcing-1.30.1/",),
    ),
    Bad(
        "rotated-credential-ignored",
        "A rotated remote secret is not used until istiod restarts.",
        Weight.RISK,
        (">=1.30.0,<1.30.3",),
        "istiod goes on with the old credential of a rotated remote secret until it restarts",
        "upgrade to 1.30.4 or newer; else restart istiod after each rotation",
        (ISSUE + "60612",),
    ),
    Bad(
        "rotation-loses-endpoints",
        "Rotating a remote secret, or removing a cluster, loses endpoints and gateways.",
        Weight.RISK,
        (">=1.30.0,<1.30.4",),
        "rotating a remote secret wipes the endpoints of its cluster, and the gateway of its "
        "network may be lost until istiod restarts",
        "upgrade to 1.30.4 or newer; else rotate nothing and restart istiod when you must",
        (ISSUE + "61043", ISSUE + "60920"),
    ),
    Bad(
        "ready-before-injection",
        "istiod says that it is ready before it takes injections.",
        Weight.RISK,
        (">=1.30.0,<1.30.4",),
        "pods that are made just after istiod became ready fail to be injected",
        "upgrade to 1.30.4 or newer; else wait for an accepted injection before workloads restart",
        (ISSUE + "61049",),
        "versions",
        has_istiod,
    ),
    Bad(
        "selected-pods-miss-their-service",
        "Pods that a ServiceEntry selects may miss it in their inbound configuration.",
        Weight.RISK,
        (">=1.30.0,<1.30.4",),
        "a selected pod that starts may take the port for another protocol and skip its "
        "PeerAuthentication, until istiod restarts",
        "upgrade to 1.30.4 or newer",
        (ISSUE + "61157",),
        "versions, and workload selectors of ServiceEntries",
        selects_pods,
    ),
    Bad(
        "push-storms",
        "Edits of a VirtualService's metadata are pushed to every proxy.",
        Weight.NOTE,
        (">=1.30.0,<1.30.3",),
        "tools that write labels or annotations of VirtualServices (Helm, Argo CD) cause full "
        "pushes",
        "upgrade to 1.30.3 or newer",
        (ISSUE + "60629",),
        "versions",
        has_istiod,
    ),
    Bad(
        "inbound-missing-after-reconnect",
        "A proxy that reconnects to another istiod may lose its inbound configuration.",
        Weight.RISK,
        ("<1.31.0",),
        "while istiod is rolled out, a proxy that connects to a replica that does not know its pod "
        "yet gets no inbound clusters: requests to it fail",
        "upgrade to 1.31.0 or newer; else compare inbound clusters after the rollout, and restart "
        "the pods that lack some",
        (ISSUE + "58125",),
        "versions",
        has_istiod,
    ),
)

RULES = (
    Rule(
        "breaks-old-sidecars",
        "Sidecars older than 1.29.2 are broken by this control plane.",
        Weight.BLOCKS,
        "such sidecars refuse the configuration (filter state istio.hashable_string)",
        "the versions of connected proxies (/debug/syncz)",
        (PULL + "60486",),
        _old_sidecars,
        to=(">=1.29.2,<1.29.5", ">=1.30.0,<1.30.2"),
    ),
    *(bad.rule() for bad in _BAD),
)
