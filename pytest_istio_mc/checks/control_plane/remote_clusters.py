"""Remote clusters: MC-CONTROL-007, which follows the way from a cluster without an istiod to the one that serves it, and back."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from ...snapshot import ClusterSnapshot, Object, Snapshot, labels_of, name_of, namespace_of
from ...spec import ClusterSpec, Feature, Role
from ...verdicts import Finding, Verdict
from ..catalogue import check
from ..eastwest.passthrough import gateway_proxies
from ..judging import Found, Gap, each, names, verdict_from
from ..oracle import external_addresses
from ..remedies import Commands
from ..trust.authority import authority_of, serving
from ..trust.chains import describe, parse

GUIDE = "https://istio.io/latest/docs/setup/install/multicluster/primary-remote_multi-network/"
ANNOTATION = "topology.istio.io/controlPlaneClusters"
XDS_PORT, WEBHOOK_PORT = 15012, 15017


@check(
    "MC-CONTROL-007",
    "Every cluster without an istiod names its control plane, leads its webhooks and proxies to it, and reaches it on 15012 and 15017.",
    spec_url=GUIDE + "#configure-cluster2-as-a-remote",
    requires=(Feature.REMOTE_CLUSTERS,),
    explained_by=(
        "MC-TRUST-002",
        "MC-TRUST-003",
        *(f"MC-ACCESS-00{number}" for number in range(1, 6)),
        "MC-CONTROL-010",
    ),
    probed=True,
)
def remote_clusters_attached(snapshot: Snapshot) -> Verdict:
    """Annotation, injection path, CA bundle, istiod's address, what exposes it, and a handshake with it from the remote cluster."""
    remotes = [
        cluster
        for cluster in snapshot.spec.data_planes
        if serving(snapshot, cluster.name).name != cluster.name
    ]
    handshakes = sum(len(snapshot.clusters[cluster.name].control_plane) for cluster in remotes)
    return verdict_from(
        each(remotes, lambda cluster: _detached(snapshot, cluster)),
        f"{len(remotes)} remote clusters are led to their control plane, which answers {handshakes} handshakes from there",
        pairs=(f"{cluster.name}-by-{serving(snapshot, cluster.name).name}" for cluster in remotes),
    )


def _detached(snapshot: Snapshot, cluster: ClusterSpec) -> Iterator[Found]:
    unmanaged = [*_not_annotated(snapshot, cluster), *_not_managing(snapshot, cluster)]
    yield from unmanaged
    # whose control plane does not manage it has the CA bundle of nobody, or of somebody else
    yield from each([cluster], lambda one: _webhooks(snapshot, one, managed=not unmanaged))
    yield from each([cluster], lambda one: _address(snapshot, one))
    misled = list(each([cluster], lambda one: _not_exposed(snapshot, one)))
    yield from misled
    if not misled:
        yield from _unanswered(snapshot, cluster)


def leader(snapshot: Snapshot, cluster: ClusterSpec) -> str:
    """The name that the istiod which serves a cluster has for itself: of an external one, that of its config cluster."""
    return snapshot.spec.config_cluster(serving(snapshot, cluster.name)).name


def _scope(snapshot: Snapshot, cluster: ClusterSpec) -> tuple[str, ...]:
    return (cluster.name, serving(snapshot, cluster.name).name)


def _not_annotated(snapshot: Snapshot, cluster: ClusterSpec) -> Iterator[Found]:
    namespace = snapshot.spec.istio_namespace
    item = snapshot.clusters[cluster.name].found("Namespace", namespace)
    value = ((item["metadata"].get("annotations") or {}) if item else {}).get(ANNOTATION, "")
    wanted = leader(snapshot, cluster)
    commands = Commands(snapshot)
    if {wanted, "*"} & {name.strip() for name in value.split(",")}:
        return
    yield Finding(
        f"namespace {namespace} of {cluster.name} "
        + (
            f"names {value} as its control plane; it is {wanted}"
            if value
            else "does not say that its control plane is "
        )
        + ("" if value else wanted),
        _scope(snapshot, cluster),
        expected=f"the annotation {ANNOTATION}={wanted}",
        seen=f"{ANNOTATION}={value}"
        if value
        else "no such annotation: no istiod manages the webhooks and root certificates here",
        # an istiod reads the annotation when it comes to know a cluster, and not again
        remedy=commands.kubectl(
            cluster.name, f"annotate namespace {namespace} {ANNOTATION}={wanted} --overwrite"
        )
        + f" && {commands.restart_istiod(serving(snapshot, cluster.name).name)}",
        fault="pr-control-plane-annotation",
    )


def _not_managing(snapshot: Snapshot, cluster: ClusterSpec) -> Iterator[Found]:
    plane = serving(snapshot, cluster.name)
    off = [
        one.pod
        for one in snapshot.clusters[plane.name].istiods
        if one.environment.get("EXTERNAL_ISTIOD", "").lower() != "true"
    ]
    if off:
        yield Finding(
            f"the istiod of {plane.name} does not manage remote clusters, so {cluster.name} gets no CA bundle and no root certificate",
            _scope(snapshot, cluster),
            expected="EXTERNAL_ISTIOD=true (values.global.externalIstiod)",
            seen=f"{names(off)} without it",
            remedy=Commands(snapshot).istio(
                plane.name, "set env deployment -l app=istiod EXTERNAL_ISTIOD=true"
            )
            + f" && {Commands(snapshot).istio(plane.name, 'rollout status deployment -l app=istiod --timeout=3m')}"
            + "  # and values.global.externalIstiod=true in the settings of this installation",
            fault="pr-external-istiod-off",
        )


def _webhooks(snapshot: Snapshot, cluster: ClusterSpec, *, managed: bool) -> Iterator[Found]:
    found = snapshot.clusters[cluster.name]
    injectors = [
        item
        for item in found.listed("MutatingWebhookConfiguration")
        if any(map(_path, item.get("webhooks") or ()))
    ]
    if not injectors:
        yield Finding(
            f"{cluster.name} has no webhook that asks for sidecars",
            _scope(snapshot, cluster),
            expected="a MutatingWebhookConfiguration istio-sidecar-injector",
            seen="none",
            remedy=f"istioctl install --context={Commands(snapshot).context(cluster.name)} --set profile=remote"
            "  # with the other settings of this installation",
            fault="pr-webhook-missing",
        )
    for item in injectors:
        yield from _misdirected(snapshot, cluster, item)
        if managed:
            yield from _unverifiable(snapshot, cluster, item)


def _path(webhook: Mapping[str, Any]) -> str:
    """The path at which a webhook asks for sidecars; empty for webhooks that do something else."""
    client = webhook.get("clientConfig") or {}
    path = (client.get("service") or {}).get("path", "") or urlsplit(client.get("url", "")).path
    return path if path.startswith("/inject") else ""


def _misdirected(snapshot: Snapshot, cluster: ClusterSpec, item: Object) -> Iterator[Found]:
    paths = {path for webhook in item["webhooks"] if (path := _path(webhook))}
    wanted = f"/inject/cluster/{cluster.name}/net/{cluster.network}"
    wrong = sorted(path for path in paths if not _names_cluster(snapshot, cluster, path))
    if wrong:
        patches = [
            {
                "op": "replace",
                "path": f"/webhooks/{number}/clientConfig/service/path",
                "value": wanted,
            }
            for number, webhook in enumerate(item["webhooks"])
            if _path(webhook) in wrong
        ]
        yield Finding(
            f"the webhook {name_of(item)} of {cluster.name} asks for sidecars of another cluster or network ({names(wrong)})",
            _scope(snapshot, cluster),
            expected=wanted,
            seen=names(wrong),
            remedy=Commands(snapshot).kubectl(
                cluster.name,
                f"patch mutatingwebhookconfiguration {name_of(item)} --type=json -p '{json.dumps(patches)}'",
            ),
            fault="pr-injection-path",
        )


def _names_cluster(snapshot: Snapshot, cluster: ClusterSpec, path: str) -> bool:
    """Whether an injection path yields this cluster's name and network. What it leaves out is that of istiod's own cluster."""
    parts = path.strip("/").split("/")[1:]
    said = dict(zip(parts[::2], parts[1::2], strict=False))
    own = snapshot.spec.cluster(leader(snapshot, cluster))
    return (
        said.get("cluster", own.name) == cluster.name
        and said.get("net", own.network) == cluster.network
    )


def _unverifiable(snapshot: Snapshot, cluster: ClusterSpec, item: Object) -> Iterator[Found]:
    plane = serving(snapshot, cluster.name)
    roots = authority_of(snapshot, plane).roots
    bundles = {
        str((webhook.get("clientConfig") or {}).get("caBundle") or "")
        for webhook in item["webhooks"]
    }
    restart = Commands(snapshot).restart_istiod(plane.name)
    if "" in bundles:
        yield Finding(
            f"the webhook {name_of(item)} of {cluster.name} has no CA bundle, so the API server refuses every pod that is to be injected",
            _scope(snapshot, cluster),
            expected=describe(roots),
            seen="no caBundle: the control plane has not written it",
            remedy=f"{restart}  # it writes the bundle once it reaches {cluster.name} and is named in {ANNOTATION}",
            fault="pr-cabundle-empty",
        )
        return
    for bundle in sorted(bundles):
        seen = parse(_decoded(bundle))
        if roots and not set(roots) & set(seen):
            yield Finding(
                f"the CA bundle of webhook {name_of(item)} of {cluster.name} is not the root of {plane.name}'s istiod",
                _scope(snapshot, cluster),
                expected=describe(roots),
                seen=describe(seen),
                remedy=restart,
                fault="pr-cabundle-stale",
            )


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return ""


def _is_istiod(name: str) -> bool:
    return name.partition("-")[0] == "istiod"


def _address(snapshot: Snapshot, cluster: ClusterSpec) -> Iterator[Found]:
    found = snapshot.clusters[cluster.name]
    plane = serving(snapshot, cluster.name)
    namespace = snapshot.spec.istio_namespace
    services = [
        item
        for item in found.listed("Service")
        if namespace_of(item) == namespace and _is_istiod(name_of(item))
    ]
    reinstall = (
        f"istioctl install --context={Commands(snapshot).context(cluster.name)} --set values.global.remotePilotAddress={{}}"
        "  # with the other settings of this installation"
    )
    right = tuple(
        dict.fromkeys(
            address
            for service in leading_to(snapshot, plane)
            for address in external_addresses(service)
        )
    )
    named = next((item for item in services if item["spec"].get("type") == "ExternalName"), None)
    if named is not None:
        yield Finding(
            f"the Service {name_of(named)} of {cluster.name} is of type ExternalName, which webhooks refuse",
            _scope(snapshot, cluster),
            expected="a Service with the address of the control plane",
            seen=f"ExternalName {named['spec'].get('externalName', '')}",
            remedy=reinstall.format(right[0] if right else "ADDRESS"),
            fault="pr-externalname",
        )
        return
    used = sorted({endpoint.address for endpoint in found.control_plane}) or _endpoint_addresses(
        found, namespace
    )
    if not right or any(
        not address.replace(".", "").isdigit() and ":" not in address for address in right
    ):
        return  # a host name has addresses of its own; the handshakes tell
    if not set(used) & set(right):
        yield Finding(
            f"{cluster.name} looks for its istiod at {names(used)}; the control plane in {plane.name} is reached at {names(right)}",
            _scope(snapshot, cluster),
            expected=names(right),
            seen=names(used),
            remedy=_lead_to(snapshot, cluster, right[0]) or reinstall.format(right[0]),
            fault="pr-remote-address-wrong",
        )


def _slices(found: ClusterSnapshot, namespace: str) -> list[Object]:
    """What the Service istiod of a remote cluster leads to: written by the installation, or by hand."""
    return [
        item
        for item in found.listed("EndpointSlice", namespace)
        if _is_istiod(labels_of(item).get("kubernetes.io/service-name", ""))
    ]


def _endpoint_addresses(found: ClusterSnapshot, namespace: str) -> list[str]:
    return sorted(
        {
            address
            for item in _slices(found, namespace)
            for endpoint in item["endpoints"]
            for address in endpoint["addresses"]
        }
    )


def _lead_to(snapshot: Snapshot, cluster: ClusterSpec, address: str) -> str:
    """The command that leads a remote's Service istiod to an address; empty where there is nothing to change."""
    patch = json.dumps(
        [
            {
                "op": "replace",
                "path": "/endpoints",
                "value": [{"addresses": [address], "conditions": {"ready": True}}],
            }
        ]
    )
    commands = [
        Commands(snapshot).istio(
            cluster.name, f"patch endpointslice {name_of(item)} --type=json -p '{patch}'"
        )
        for item in _slices(snapshot.clusters[cluster.name], snapshot.spec.istio_namespace)
    ]
    settings = (
        f"  # and values.global.remotePilotAddress={address} in the settings of this installation"
    )
    return " && ".join(commands) + settings if commands else ""


def leading_to(snapshot: Snapshot, plane: ClusterSpec) -> tuple[Object, ...]:
    """The Services of a control plane's cluster through which others can reach its istiod: itself, or a gateway, with an address."""
    home = snapshot.clusters[plane.name]
    namespace = snapshot.spec.istio_namespace
    return tuple(
        item
        for item in home.listed("Service")
        if external_addresses(item)
        and (
            item in home.east_west_services()
            or (namespace_of(item) == namespace and _is_istiod(name_of(item)))
        )
    )


def _not_exposed(snapshot: Snapshot, cluster: ClusterSpec) -> Iterator[Found]:
    """The gateway through which remotes reach istiod must open 15012 and 15017."""
    plane = serving(snapshot, cluster.name)
    if plane.role is Role.EXTERNAL:
        return  # its istiod has an address of its own
    home = snapshot.clusters[plane.name]
    for service in home.east_west_services():
        proxies = [proxy for proxy in gateway_proxies(home, service) if not proxy.failures]
        offered = {entry.get("port") for entry in service["spec"].get("ports") or ()}
        unoffered = [port for port in (XDS_PORT, WEBHOOK_PORT) if port not in offered]
        deaf = [
            port
            for port in (XDS_PORT, WEBHOOK_PORT)
            if proxies and not any(str(port) in proxy.chains for proxy in proxies)
        ]
        closed = sorted({*unoffered, *deaf})
        if closed:
            yield Finding(
                f"the gateway {name_of(service)} of {plane.name} does not open {names(map(str, closed))}, "
                f"by which {cluster.name} reaches its istiod",
                _scope(snapshot, cluster),
                expected=f"ports {XDS_PORT} and {WEBHOOK_PORT} of the Service, and a Gateway that passes them through to istiod",
                seen=f"Service ports {names(sorted(map(str, offered)))}; listeners on "
                + names(sorted({port for proxy in proxies for port in proxy.chains})),
                remedy=_expose(snapshot, plane, service, unoffered, deaf),
                fault="pr-istiod-not-exposed",
            )


def _expose(
    snapshot: Snapshot, plane: ClusterSpec, service: Object, unoffered: list[int], deaf: list[int]
) -> str:
    """The commands that open the missing ports of a gateway's Service, and those that let its pods pass them on to istiod."""
    from ...topologies.operators import expose_istiod

    commands = Commands(snapshot)
    steps = []
    if unoffered:
        ports = [{"name": f"tls-{port}", "port": port, "targetPort": port} for port in unoffered]
        patch = json.dumps(
            [{"op": "add", "path": "/spec/ports/-", "value": port} for port in ports]
        )
        steps.append(
            commands.kubectl(
                plane.name,
                f"patch service {name_of(service)} --type=json -p '{patch}'",
                namespace_of(service),
            )
        )
    if deaf:
        namespace = snapshot.spec.istio_namespace
        home = snapshot.clusters[plane.name]
        istiods = [
            name_of(item) for item in home.listed("Service", namespace) if _is_istiod(name_of(item))
        ]
        # what istio.io's samples/multicluster/expose-istiod.yaml has, for this gateway and this istiod
        manifests = expose_istiod(
            snapshot.spec, service["spec"].get("selector"), istiods[0] if istiods else "istiod"
        )
        document = {"apiVersion": "v1", "kind": "List", "items": manifests}
        steps.append(commands.apply(plane.name, document, namespace))
    return " && ".join(steps)


def _unanswered(snapshot: Snapshot, cluster: ClusterSpec) -> Iterator[Found]:
    plane = serving(snapshot, cluster.name)
    tried = snapshot.clusters[cluster.name].control_plane
    if not tried:
        yield Gap(
            f'cluster "{cluster.name}": no address of an istiod is known, so that none could be tried'
        )
    for one in tried:
        where = f"{one.address}:{one.port}"
        if one.unprobed:
            yield Gap(
                f"whether {cluster.name} reaches its istiod at {where} was not tried: {one.unprobed}"
            )
        elif not one.completed:
            yield Finding(
                f"{cluster.name} does not reach its istiod at {where}",
                _scope(snapshot, cluster),
                expected="a TLS handshake",
                seen=one.error or "the connection was closed",
                remedy=Commands(snapshot).istio(
                    plane.name,
                    "get gateways.networking.istio.io,virtualservices,services,endpointslices",
                )
                + f"  # what leads {where} to istiod; firewalls from {cluster.name}",
                fault="pr-istiod-unreachable",
            )
        elif not one.verified:
            yield Finding(
                f"what answers {cluster.name} at {where} is no istiod that it trusts",
                _scope(snapshot, cluster),
                expected="a certificate of the root that the cluster was given",
                seen=one.error,
                remedy=Commands(snapshot).restart_istiod(plane.name),
                fault="pr-istiod-other-root",
            )
