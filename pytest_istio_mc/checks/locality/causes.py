"""Causes: why requests do not go to the nearest instances."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from ... import shell
from ...istio_names import LOCALITY_LABELS
from ...shell import Command, Remedy
from ...snapshot import Snapshot
from ..judging import names
from ..remedies import Commands
from ..site import Here
from .facts import ClientView


@dataclass(frozen=True)
class LikelyCause:
    """Why, in words to end a sentence with; empty where nothing is known."""

    words: str
    seen: str
    remedy: Remedy
    fault: str


def likely_cause(
    here: Here,
    source: str,
    host: str,
    view: ClientView,
    *,
    ejecting: bool = False,
    shares: bool = False,
) -> LikelyCause:
    """The first known cause that fits what a client's proxy holds for ``host``.

    - ``ejecting``: the nearest instances were ill.
    - ``shares``: it is about distribution, which needs no outlier detection.
    """
    spec, commands, probes = here.mesh.spec, Commands(here.snapshot), here.mesh.require_probes()
    seen, service = _described(view), host.partition(".")[0]
    config = spec.config_cluster(spec.control_plane_of(source)).name
    held = commands.proxy_config(source, "endpoints", probes.client_pod(source), "-o", "json")
    look = shell.piped(held, shell.command("grep -A4 -e priority -e locality"))
    nothing_known = LikelyCause("", seen, look, "")

    def patch(policy: Mapping[str, object]) -> Command:
        change = {"spec": {"trafficPolicy": policy}}
        return commands.merge(config, "destinationrule", service, change, probes.namespace)

    if view.error or not view.endpoints:
        return nothing_known
    if view.outlier_detection is None and not shares:
        words = (
            ": the proxy has no outlier detection for it, without which Istio prefers no locality "
            "and fails over to none"
        )
        detection = {"consecutive5xxErrors": 3, "maxEjectionPercent": 100}
        return LikelyCause(words, seen, patch({"outlierDetection": detection}), "loc-no-outlier")
    if disabled := _switched_off(here.snapshot, source):
        words = f": locality load balancing is switched off in {config}"
        remedy = shell.with_note(
            commands.istio(config, "edit configmap istio"),
            "take localityLbSetting.enabled, which is false, out",
        )
        return LikelyCause(words, f"{seen}; {disabled}", remedy, "loc-disabled")
    if ejecting and view.max_ejection_percent < 100:
        words = (
            f": at most {view.max_ejection_percent} % of the endpoints may be ejected, "
            f"which is none of {len(view.endpoints)}"
        )
        remedy = patch({"outlierDetection": {"maxEjectionPercent": 100}})
        return LikelyCause(words, seen, remedy, "loc-max-ejection")
    nodes = commands.kubectl(source, "get nodes -L", ",".join(LOCALITY_LABELS))
    nowhere = sorted(
        {one.cluster or f"{one.address}:{one.port}" for one in view.endpoints if not one.region}
    )
    if nowhere:
        words = f": the endpoints of {names(nowhere)} have no region"
        return LikelyCause(words, seen, nodes, "loc-node-labels")
    if len(view.endpoints) > 1 and len({one.locality for one in view.endpoints}) == 1:
        words = ": all its endpoints are in one locality for the proxy"
        return LikelyCause(words, seen, nodes, "loc-same-everywhere")
    return nothing_known


def _described(view: ClientView) -> str:
    """What a proxy holds, in a line."""
    if view.error:
        return f"the proxy could not be read ({view.error})"
    held = "; ".join(
        f"{one.address}:{one.port} in {one.locality or '(none)'}, "
        f"priority {one.priority}, {one.health.lower()}"
        for one in view.endpoints
    )
    detection = "none"
    if view.outlier_detection is not None:
        detection = json.dumps(dict(view.outlier_detection), sort_keys=True)
    return f"the proxy holds {held or 'no endpoints'}; outlier detection: {detection}"


def _switched_off(snapshot: Snapshot, source: str) -> str:
    """How a cluster's control plane switches locality load balancing off; empty if not."""
    plane = snapshot.spec.control_plane_of(source).name
    for istiod in snapshot.clusters[plane].istiods:
        setting = (istiod.debug.get("mesh") or {}).get("localityLbSetting") or {}
        if setting.get("enabled") is False:
            return f"localityLbSetting of istiod {istiod.pod}: {json.dumps(setting)}"
    return ""
