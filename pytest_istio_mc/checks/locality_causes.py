"""Causes: why requests do not go to the nearest instances, from what the client's proxy holds and what the mesh is told."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass

from ..localities import LABELS, ClientView, Stage
from ..mesh import Mesh
from ..snapshot import Snapshot
from .authority import serving
from .judging import names
from .live import istioctl, kubectl, probes_of


@dataclass(frozen=True)
class Cause:
    """Why: in words that go on after a sentence (empty where nothing is known), what was seen, the remedy and the name of the fault."""

    words: str
    seen: str
    remedy: str
    fault: str


def cause(mesh: Mesh, snapshot: Snapshot, stage: Stage) -> Cause:
    """The first of the known causes that fits what the client's proxy in the stage's source holds."""
    view = stage.view
    probes = probes_of(mesh)
    seen = describe(view)
    service = stage.host.partition(".")[0]
    config = mesh.spec.config_cluster(serving(snapshot, stage.source)).name
    look = istioctl(
        mesh, stage.source, f"proxy-config endpoints {probes.client(stage.source).name}.{probes.namespace} -o json | grep -A3 priority"
    )
    if view.error:
        return Cause("", f"the proxy could not be read: {view.error}", look, "locality-ignored")
    if view.outlier_detection is None and view.endpoints:
        words = ": the proxy has no outlier detection for it, without which Istio prefers no locality and fails over to none"
        patch = {"spec": {"trafficPolicy": {"outlierDetection": {"consecutive5xxErrors": 3, "maxEjectionPercent": 100}}}}
        return Cause(words, seen, _patch(mesh, config, service, patch), "loc-no-outlier")
    disabled = locality_disabled(snapshot, stage.source)
    if disabled:
        remedy = kubectl(mesh, config, f"-n {mesh.spec.istio_namespace} edit configmap istio  # remove localityLbSetting.enabled: false")
        return Cause(f": locality load balancing is switched off in {config}", f"{seen}; {disabled}", remedy, "loc-disabled")
    if stage.failing and view.max_ejection_percent < 100:
        words = f": at most {view.max_ejection_percent} % of the endpoints may be ejected, which is none of {len(view.endpoints)}"
        patch = {"spec": {"trafficPolicy": {"outlierDetection": {"maxEjectionPercent": 100}}}}
        return Cause(words, seen, _patch(mesh, config, service, patch), "loc-max-ejection")
    nowhere = sorted({one.cluster or f"{one.address}:{one.port}" for one in view.endpoints if not one.region})
    if nowhere:
        remedy = kubectl(mesh, stage.source, f"get nodes -L {','.join(LABELS)}")
        return Cause(f": the endpoints of {names(nowhere)} have no region", seen, remedy, "loc-node-labels")
    if len(view.endpoints) > 1 and len({one.priority for one in view.endpoints}) == 1:
        remedy = kubectl(mesh, stage.source, f"get nodes -L {','.join(LABELS)}")
        return Cause(": all its endpoints have the same priority for the proxy", seen, remedy, "loc-same-everywhere")
    return Cause("", seen, look, "locality-ignored")


def describe(view: ClientView) -> str:
    """What a proxy holds, in a line."""
    if view.error:
        return f"the proxy could not be read ({view.error})"
    held = ", ".join(
        f"{one.address}:{one.port} in {one.locality or '(none)'} priority {one.priority} {one.health.lower()}" for one in view.endpoints
    )
    detection = "none" if view.outlier_detection is None else json.dumps(dict(view.outlier_detection), sort_keys=True)
    return f"the proxy holds {held or 'no endpoints'}; outlier detection: {detection}"


def locality_disabled(snapshot: Snapshot, source: str) -> str:
    """What the control plane of a cluster says where it switches locality load balancing off; empty where it does not."""
    for istiod in snapshot.clusters[serving(snapshot, source).name].istiods:
        setting = (istiod.debug.get("mesh") or {}).get("localityLbSetting") or {}
        if setting.get("enabled") is False:
            return f"localityLbSetting of istiod {istiod.pod}: {json.dumps(setting)}"
    return ""


def _patch(mesh: Mesh, config: str, service: str, patch: object) -> str:
    namespace = probes_of(mesh).namespace
    return kubectl(mesh, config, f"-n {namespace} patch destinationrule {service} --type=merge -p {shlex.quote(json.dumps(patch))}")
