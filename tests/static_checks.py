"""All static judges by check id, and the root causes that they lead to."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pytest_istio_mc.checks import access, controlplane, discovery, eastwest, federation, locality, trust
from pytest_istio_mc.checks.catalogue import known_checks
from pytest_istio_mc.diagnose import RootCause, diagnose
from pytest_istio_mc.snapshot import Snapshot
from pytest_istio_mc.verdicts import Finding, Verdict

STATIC: Mapping[str, Callable[[Snapshot], Verdict]] = {
    "MC-TRUST-001": trust.common_root,
    "MC-TRUST-002": trust.plugged_in_authorities,
    "MC-TRUST-003": trust.well_formed_cacerts,
    "MC-TRUST-004": trust.distributed_root,
    "MC-TRUST-005": trust.nothing_expires,
    "MC-TRUST-006": trust.trust_domains,
    "MC-TRUST-007": trust.workload_identities,
    "MC-ACCESS-001": access.remote_secrets,
    "MC-ACCESS-002": access.reachable_servers,
    "MC-ACCESS-003": access.verified_servers,
    "MC-ACCESS-004": access.accepted_tokens,
    "MC-ACCESS-005": access.sufficient_rights,
    "MC-ACCESS-006": access.synced_now,
    "MC-ACCESS-007": access.replicas_agree,
    "MC-ACCESS-008": access.no_stale_secrets,
    "MC-CONTROL-001": controlplane.one_mesh_id,
    "MC-CONTROL-002": controlplane.cluster_names,
    "MC-CONTROL-003": controlplane.networks,
    "MC-CONTROL-005": controlplane.proxies_in_sync,
    "MC-CONTROL-006": controlplane.supported_skew,
    "MC-CONTROL-007": controlplane.remote_clusters_attached,
    "MC-CONTROL-008": controlplane.namespace_sameness,
    "MC-CONTROL-010": controlplane.istiod_is_outside,
    "MC-DISCOVERY-001": discovery.shards_complete,
    "MC-DISCOVERY-002": discovery.endpoints_as_implied,
    "MC-EASTWEST-001": eastwest.gateways_with_addresses,
    "MC-EASTWEST-002": eastwest.gateways_configured,
    "MC-EASTWEST-009": eastwest.nothing_else_exposed,
    "MC-LOCALITY-001": locality.localities_known,
    "MC-FEDERATION-002": federation.nothing_shared,
}


def judge_all(snapshot: Snapshot) -> dict[str, Verdict]:
    """The verdicts of all static checks whose features the mesh has."""
    known = known_checks()
    return {id: judge(snapshot) for id, judge in STATIC.items() if set(known[id].requires) <= snapshot.spec.features}


def root_causes(snapshot: Snapshot) -> tuple[RootCause, ...]:
    """What the certificate of this snapshot would name first."""
    return diagnose(judge_all(snapshot), known_checks())


def findings(verdict: Verdict) -> list[tuple[str, tuple[str, ...]]]:
    """Fault names and clusters of a verdict's findings."""
    return [(finding.fault, finding.clusters) for finding in verdict.findings]


def texts(finding: Finding) -> str:
    """Everything that a finding says."""
    return f"{finding.summary} {finding.expected} {finding.seen} {finding.remedy}"
