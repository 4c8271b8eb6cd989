"""All static judges by check id, and the root causes that they lead to."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pytest_istio_mc.checks.access.remote_secrets import no_stale_secrets, remote_secrets
from pytest_istio_mc.checks.access.static import (
    accepted_tokens,
    reachable_servers,
    sufficient_rights,
    verified_servers,
)
from pytest_istio_mc.checks.access.synced import replicas_agree, synced_now
from pytest_istio_mc.checks.catalogue import known_checks
from pytest_istio_mc.checks.control_plane.external import istiod_is_outside
from pytest_istio_mc.checks.control_plane.proxies import proxies_in_sync
from pytest_istio_mc.checks.control_plane.remote_clusters import remote_clusters_attached
from pytest_istio_mc.checks.control_plane.sameness import namespace_sameness
from pytest_istio_mc.checks.control_plane.static import cluster_names, networks, one_mesh_id
from pytest_istio_mc.checks.control_plane.versions import supported_skew
from pytest_istio_mc.checks.diagnosis import RootCause, diagnose
from pytest_istio_mc.checks.discovery.static import endpoints_as_implied, shards_complete
from pytest_istio_mc.checks.eastwest.exposure import nothing_else_exposed
from pytest_istio_mc.checks.eastwest.static import gateways_configured, gateways_with_addresses
from pytest_istio_mc.checks.federation.static import nothing_shared
from pytest_istio_mc.checks.locality.static import localities_known
from pytest_istio_mc.checks.trust.cacerts import well_formed_cacerts
from pytest_istio_mc.checks.trust.expiry import nothing_expires
from pytest_istio_mc.checks.trust.static import (
    common_root,
    distributed_root,
    plugged_in_authorities,
    trust_domains,
    workload_identities,
)
from pytest_istio_mc.snapshot import Snapshot
from pytest_istio_mc.verdicts import Finding, Verdict

STATIC: Mapping[str, Callable[[Snapshot], Verdict]] = {
    "MC-TRUST-001": common_root,
    "MC-TRUST-002": plugged_in_authorities,
    "MC-TRUST-003": well_formed_cacerts,
    "MC-TRUST-004": distributed_root,
    "MC-TRUST-005": nothing_expires,
    "MC-TRUST-006": trust_domains,
    "MC-TRUST-007": workload_identities,
    "MC-ACCESS-001": remote_secrets,
    "MC-ACCESS-002": reachable_servers,
    "MC-ACCESS-003": verified_servers,
    "MC-ACCESS-004": accepted_tokens,
    "MC-ACCESS-005": sufficient_rights,
    "MC-ACCESS-006": synced_now,
    "MC-ACCESS-007": replicas_agree,
    "MC-ACCESS-008": no_stale_secrets,
    "MC-CONTROL-001": one_mesh_id,
    "MC-CONTROL-002": cluster_names,
    "MC-CONTROL-003": networks,
    "MC-CONTROL-005": proxies_in_sync,
    "MC-CONTROL-006": supported_skew,
    "MC-CONTROL-007": remote_clusters_attached,
    "MC-CONTROL-008": namespace_sameness,
    "MC-CONTROL-010": istiod_is_outside,
    "MC-DISCOVERY-001": shards_complete,
    "MC-DISCOVERY-002": endpoints_as_implied,
    "MC-EASTWEST-001": gateways_with_addresses,
    "MC-EASTWEST-002": gateways_configured,
    "MC-EASTWEST-009": nothing_else_exposed,
    "MC-LOCALITY-001": localities_known,
    "MC-FEDERATION-002": nothing_shared,
}


def judge_all(snapshot: Snapshot) -> dict[str, Verdict]:
    """The verdicts of all static checks whose features the mesh has."""
    known = known_checks()
    return {
        id: judge(snapshot)
        for id, judge in STATIC.items()
        if set(known[id].requires) <= snapshot.spec.features
    }


def root_causes(snapshot: Snapshot) -> tuple[RootCause, ...]:
    """What the certificate of this snapshot would name first."""
    return diagnose(judge_all(snapshot), known_checks())


def findings(verdict: Verdict) -> list[tuple[str, tuple[str, ...]]]:
    """Fault names and clusters of a verdict's findings."""
    return [(finding.fault, finding.clusters) for finding in verdict.findings]


def texts(finding: Finding) -> str:
    """Everything that a finding says."""
    return f"{finding.summary} {finding.expected} {finding.seen} {finding.remedy}"
