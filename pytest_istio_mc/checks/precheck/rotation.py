"""Rotation: certificates that a restart of istiod would suddenly change, or that end."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator

from ... import shell
from ...errors import ObservationError
from ...snapshot import ClusterSnapshot, name_of
from ...verdicts import Finding, Outcome
from ..judging import Found, Gap, each
from ..trust.authority import authority_of, distributed_roots
from ..trust.cacerts import well_formed_cacerts
from ..trust.chains import Certificate, parse
from .rules import Rule, Situation, Weight

PLUGGED = "https://istio.io/latest/docs/tasks/security/cert-management/plugin-ca-cert/"
CHAIN_METRIC = "citadel_server_cert_chain_expiry_timestamp"
PROVIDER, ISTIOD = "PILOT_CERT_PROVIDER", "istiod"
"""Who certifies istiod itself: else its own CA (``pilot-discovery``, environment variables)."""

TOLERANCE_SECONDS = 60.0
"""By which an end of validity may differ: metrics are printed rounded."""

SOON_SECONDS = 7 * 24 * 3600.0
"""An upgrade of a mesh, with its rollbacks, takes days rather than hours."""


def _pending(situation: Situation) -> Iterable[Found]:
    """What ``cacerts`` holds and istiod does not use: it will, once it restarts."""

    def look(plane: ClusterSnapshot) -> Iterator[Found]:
        authority = authority_of(situation.snapshot, situation.snapshot.spec.cluster(plane.name))
        if not authority.plugged_in:
            return
        given = set(authority.roots)
        handed = _handed(situation, plane)
        if not given:
            yield Gap(f"cacerts of {plane.name} has no root certificate that could be read")
        elif not handed:
            yield Gap(f"which roots istiod in {plane.name} hands out is not known")
        elif given - handed or handed - given - _anchors(situation, plane):
            yield _bomb(
                situation, plane, "root certificates", _short(given), _short(handed), "root"
            )
        elif authority.signing is not None:
            yield from _other_signer(situation, plane, authority.signing, authority.chain)

    return each(situation.planes, look)


def _handed(situation: Situation, plane: ClusterSnapshot) -> set[Certificate]:
    """The roots that an istiod hands out: beside it, or where it reads its configuration."""
    clusters = situation.snapshot.clusters
    for name in (plane.name, situation.config_cluster(plane.name)):
        namespace = situation.snapshot.spec.istio_namespace
        if found := distributed_roots(clusters[name], namespace):
            return set(found)
    return set()


def _anchors(situation: Situation, plane: ClusterSnapshot) -> set[Certificate]:
    """The further roots of ``caCertificates`` in the mesh configuration."""
    config = situation.mesh_config(situation.config_cluster(plane.name))
    return {
        certificate
        for one in config.get("caCertificates") or ()
        for certificate in parse(str(one.get("pem", "")))
    }


def _other_signer(
    situation: Situation,
    plane: ClusterSnapshot,
    signing: Certificate,
    chain: tuple[Certificate, ...],
) -> Iterator[Found]:
    """The signing certificate, by the end of validity that istiod has in its metrics."""
    ends = {one.facts.not_after.timestamp() for one in (signing, *chain)}
    for istiod in plane.istiods:
        said = istiod.metrics.get(CHAIN_METRIC)
        if said and not any(abs(said - end) <= TOLERANCE_SECONDS for end in ends):
            yield _bomb(
                situation,
                plane,
                "signing certificate",
                f"one until {signing.facts.not_after.isoformat()}",
                f"another, in {istiod.pod}",
                "chain",
            )


def _bomb(
    situation: Situation, plane: ClusterSnapshot, what: str, given: str, used: str, which: str
) -> Finding:
    logs = situation.commands.istio(plane.name, "logs -l app=istiod --tail=-1")
    look = shell.matching("ROOT-CA not supported", logs)
    told = "finish or take back the rotation first: old and new root together, in every primary, "
    told += "with ISTIO_MULTIROOT_MESH=true"
    return Finding(
        f"cacerts of {plane.name} holds another {what} than istiod uses: it takes it when it "
        "restarts, which the upgrade does",
        (plane.name,),
        expected=f"what cacerts holds: {given}",
        seen=f"in use: {used}",
        remedy=shell.with_note(look, told),
        fault=f"refused-rotation-{which}",
    )


def _webhooks(situation: Situation) -> Iterable[Found]:
    """The roots by which API servers know the istiods that they ask to inject."""
    spec = situation.snapshot.spec

    def look(cluster: ClusterSnapshot) -> Iterator[Found]:
        plane = situation.snapshot.clusters[spec.control_plane_of(cluster.name).name]
        providers = {one.environment.get(PROVIDER, ISTIOD) for one in plane.istiods}
        handed = _handed(situation, plane)
        if providers != {ISTIOD} or not handed:
            return  # somebody else certifies istiod, or nobody knows who: other checks say so
        roots, namespace = {one.sha256 for one in handed}, spec.istio_namespace
        for item in cluster.listed("MutatingWebhookConfiguration"):
            clients = [one.get("clientConfig") or {} for one in item["webhooks"]]
            bundles = {
                str(one.get("caBundle") or "")
                for one in clients
                # of another control plane in the cluster it is not
                if (one.get("service") or {}).get("namespace", namespace) == namespace
            } - {""}
            for bundle in bundles:
                trusted = _certificates(bundle)
                if trusted and roots.isdisjoint(one.sha256 for one in trusted):
                    yield Finding(
                        f"the webhook {name_of(item)} of {cluster.name} trusts none of the roots "
                        f"of istiod in {plane.name}: no pod that restarts is injected",
                        tuple(dict.fromkeys((cluster.name, plane.name))),
                        expected=_short(handed),
                        seen=_short(trusted),
                        remedy=shell.with_note(
                            situation.commands.restart_istiod(plane.name),
                            "istiod writes the bundle once it starts; first finish a rotation",
                        ),
                        fault="webhook-trusts-another-root",
                    )

    yield from each(situation.data_planes, look)


def _certificates(bundle: str) -> tuple[Certificate, ...]:
    """The certificates of a webhook's bundle; ``ObservationError`` where it is none."""
    try:
        return parse(base64.b64decode(bundle, validate=True).decode())
    except ValueError as error:
        raise ObservationError("webhook", "has a caBundle that is no base64 of PEM") from error


CRASHES = (
    "trust-cacerts-incomplete",
    "trust-cacerts-malformed",
    "trust-key-mismatch",
    "trust-ca-is-leaf",
    "trust-chain-broken",
)
"""The faults of ``cacerts`` with which istiod does not start (``keycertbundle.go``)."""


def _unloadable(situation: Situation) -> Iterable[Found]:
    """What keeps an istiod from starting with the ``cacerts`` that is there now."""
    verdict = well_formed_cacerts(situation.snapshot)
    if verdict.outcome is Outcome.INCONCLUSIVE:
        yield Gap(verdict.reason)
    yield from (one for one in verdict.findings if one.fault in CRASHES)


def _ending(situation: Situation) -> Iterable[Found]:
    """Certificates of the CA that end within days."""

    def look(plane: ClusterSnapshot) -> Iterator[Found]:
        moment = situation.snapshot.moment
        authority = authority_of(situation.snapshot, situation.snapshot.spec.cluster(plane.name))
        held = dict.fromkeys(
            one for one in (authority.signing, *authority.chain, *authority.roots) if one
        )
        for one in held:
            if (one.facts.not_after - moment).total_seconds() < SOON_SECONDS:
                yield Finding(
                    f"{one.subject} of {plane.name} ends {one.facts.not_after.isoformat()}",
                    (plane.name,),
                    expected="valid for another week at least",
                    seen=one.facts.not_after.isoformat(),
                    remedy=shell.note("rotate it, and let that settle, before the upgrade"),
                    fault="authority-ends-soon",
                )

    return each(situation.planes, look)


def _short(certificates: Iterable[Certificate]) -> str:
    return ", ".join(sorted(f"{one.subject} {one.short}" for one in certificates))


RULES = (
    Rule(
        "refused-rotation",
        "A rotation of the CA was refused, or is not finished: istiod uses other certificates.",
        Weight.BLOCKS,
        "the restart of istiod changes what it signs with, at once and in this cluster alone: "
        "traffic to clusters with the other root fails",
        "cacerts, istio-ca-root-cert beside istiod, and istiod's metrics",
        (PLUGGED, "https://github.com/istio/istio/blob/master/security/pkg/pki/ca/ca.go"),
        _pending,
    ),
    Rule(
        "cacerts-not-loadable",
        "The secret cacerts is not what istiod can start with.",
        Weight.BLOCKS,
        "istiod goes on with what it loaded before, and does not come up again once it restarts",
        "cacerts",
        (PLUGGED,),
        _unloadable,
    ),
    Rule(
        "webhook-trusts-another-root",
        "An injection webhook trusts another root than istiod's.",
        Weight.BLOCKS,
        "API servers refuse istiod's certificate on 15017: no pod that restarts is injected",
        "webhooks' CA bundles, and the roots that istiods hand out",
        ("https://github.com/istio/istio/issues/53278",),
        _webhooks,
    ),
    Rule(
        "authority-ends-soon",
        "A certificate of the CA ends within a week.",
        Weight.RISK,
        "it may end amid the upgrade, and a rotation then hides what the upgrade did",
        "cacerts or istio-ca-secret",
        (PLUGGED,),
        _ending,
    ),
)
