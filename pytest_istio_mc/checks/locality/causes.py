"""Causes: why requests do not go to the nearest instances, from what the client's proxy holds and what the mesh is told."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass

from ...mesh import Mesh
from ...snapshot import LOCALITY_LABELS, Snapshot
from ..judging import names
from ..remedies import istioctl, kubectl
from ..replies import probes_of
from ..trust.authority import serving
from .facts import ClientView


@dataclass(frozen=True)
class Cause:
    """Why: in words that go on after a sentence (empty where nothing is known), what was seen, the remedy and the name of the fault."""

    words: str
    seen: str
    remedy: str
    fault: str


def cause(
    mesh: Mesh,
    snapshot: Snapshot,
    source: str,
    host: str,
    view: ClientView,
    *,
    ejecting: bool = False,
    shares: bool = False,
) -> Cause:
    """The first of the known causes that fits what the client's proxy in ``source`` holds for the service ``host``.

    ``ejecting``: its nearest instances were ill. ``shares``: it was about distribution, which needs no outlier detection.
    """
    probes = probes_of(mesh)
    seen, service = describe(view), host.partition(".")[0]
    config = mesh.spec.config_cluster(serving(snapshot, source)).name
    pod = f"{probes.client(source).name}.{probes.namespace}"
    look = istioctl(
        mesh, source, f"proxy-config endpoints {pod} -o json | grep -A4 -e priority -e locality"
    )
    nodes = kubectl(mesh, source, f"get nodes -L {','.join(LOCALITY_LABELS)}")
    if view.error or not view.endpoints:
        return Cause("", seen, look, "")
    if view.outlier_detection is None and not shares:
        words = ": the proxy has no outlier detection for it, without which Istio prefers no locality and fails over to none"
        patch = {"outlierDetection": {"consecutive5xxErrors": 3, "maxEjectionPercent": 100}}
        return Cause(words, seen, _patch(mesh, config, service, patch), "loc-no-outlier")
    disabled = locality_disabled(snapshot, source)
    if disabled:
        remedy = kubectl(
            mesh,
            config,
            f"-n {mesh.spec.istio_namespace} edit configmap istio  # remove localityLbSetting.enabled: false",
        )
        return Cause(
            f": locality load balancing is switched off in {config}",
            f"{seen}; {disabled}",
            remedy,
            "loc-disabled",
        )
    if ejecting and view.max_ejection_percent < 100:
        words = f": at most {view.max_ejection_percent} % of the endpoints may be ejected, which is none of {len(view.endpoints)}"
        return Cause(
            words,
            seen,
            _patch(mesh, config, service, {"outlierDetection": {"maxEjectionPercent": 100}}),
            "loc-max-ejection",
        )
    nowhere = sorted(
        {one.cluster or f"{one.address}:{one.port}" for one in view.endpoints if not one.region}
    )
    if nowhere:
        return Cause(
            f": the endpoints of {names(nowhere)} have no region", seen, nodes, "loc-node-labels"
        )
    if len(view.endpoints) > 1 and len({one.locality for one in view.endpoints}) == 1:
        return Cause(
            ": all its endpoints are in one locality for the proxy",
            seen,
            nodes,
            "loc-same-everywhere",
        )
    return Cause("", seen, look, "")


def describe(view: ClientView) -> str:
    """What a proxy holds, in a line."""
    if view.error:
        return f"the proxy could not be read ({view.error})"
    held = [
        f"{one.address}:{one.port} in {one.locality or '(none)'}, priority {one.priority}, {one.health.lower()}"
        for one in view.endpoints
    ]
    detection = (
        "none"
        if view.outlier_detection is None
        else json.dumps(dict(view.outlier_detection), sort_keys=True)
    )
    return f"the proxy holds {'; '.join(held) or 'no endpoints'}; outlier detection: {detection}"


def locality_disabled(snapshot: Snapshot, source: str) -> str:
    """What the control plane of a cluster says where it switches locality load balancing off; empty where it does not."""
    for istiod in snapshot.clusters[serving(snapshot, source).name].istiods:
        setting = (istiod.debug.get("mesh") or {}).get("localityLbSetting") or {}
        if setting.get("enabled") is False:
            return f"localityLbSetting of istiod {istiod.pod}: {json.dumps(setting)}"
    return ""


def _patch(mesh: Mesh, config: str, service: str, policy: object) -> str:
    patch = shlex.quote(json.dumps({"spec": {"trafficPolicy": policy}}))
    return kubectl(
        mesh,
        config,
        f"-n {probes_of(mesh).namespace} patch destinationrule {service} --type=merge -p {patch}",
    )
