"""Remote clusters: MC-CONTROL-007, how they hang on to the control plane that serves them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from ... import shell
from ...istio_names import CONTROL_PLANES_ANNOTATION
from ...snapshot import Object, Snapshot, name_of
from ...spec import ClusterSpec, Feature
from ...verdicts import Finding, Verdict
from ..catalogue import check
from ..judging import Found, each, names, verdict_from
from ..remedies import Commands, replacing
from ..trust.authority import handed_out_by
from ..trust.chains import parse, subjects
from .facts import read_for
from .remedies import reinstall, set_istiod_variable
from .way_to_istiod import not_exposed, unanswered, wrong_address

PRIMARY_REMOTE = (
    "https://istio.io/latest/docs/setup/install/multicluster/primary-remote_multi-network/"
)


@check(
    "MC-CONTROL-007",
    "Every cluster without an istiod names its control plane, leads its webhooks and proxies to "
    "it, and reaches it on 15012 and 15017.",
    spec_url=PRIMARY_REMOTE + "#configure-cluster2-as-a-remote",
    requires=(Feature.REMOTE_CLUSTERS,),
    explained_by=(
        "MC-TRUST-002",
        "MC-TRUST-003",
        *(f"MC-ACCESS-{number:03}" for number in range(1, 6)),
        "MC-CONTROL-010",
    ),
    probed=True,
)
def remote_clusters_attached(snapshot: Snapshot) -> Verdict:
    """From a remote cluster's annotation to a handshake from there with its istiod.

    In between: injection path, CA bundle, istiod's address, and what exposes it.
    """
    planes = {one.name: _plane(snapshot, one) for one in snapshot.spec.data_planes}
    remotes = [one for one in snapshot.spec.data_planes if planes[one.name] != one.name]
    handshakes = sum(len(snapshot.clusters[cluster.name].control_plane) for cluster in remotes)
    return verdict_from(
        each(remotes, lambda cluster: _detached(snapshot, cluster)),
        f"{len(remotes)} remote clusters are led to their control plane, which answers "
        f"{handshakes} handshakes from there",
        pairs=(f"{cluster.name}-by-{planes[cluster.name]}" for cluster in remotes),
    )


def _detached(snapshot: Snapshot, cluster: ClusterSpec) -> Iterator[Found]:
    unmanaged = [*_not_annotated(snapshot, cluster), *_not_managing(snapshot, cluster)]
    yield from unmanaged
    # whose control plane does not manage it has the CA bundle of nobody, or of somebody else
    yield from each([cluster], lambda one: _webhooks(snapshot, one, managed=not unmanaged))
    yield from each([cluster], lambda one: wrong_address(snapshot, one))
    misled = list(each([cluster], lambda one: not_exposed(snapshot, one)))
    yield from misled
    if not misled:
        yield from unanswered(snapshot, cluster)


def _plane(snapshot: Snapshot, cluster: ClusterSpec) -> str:
    return snapshot.spec.control_plane_of(cluster.name).name


def _scope(snapshot: Snapshot, cluster: ClusterSpec) -> tuple[str, ...]:
    return (cluster.name, _plane(snapshot, cluster))


def _own_name(snapshot: Snapshot, cluster: ClusterSpec) -> str:
    """What the istiod of a cluster calls itself: an external one, its config cluster."""
    return read_for(snapshot.spec, cluster.name)


def _not_annotated(snapshot: Snapshot, cluster: ClusterSpec) -> Iterator[Found]:
    namespace, commands = snapshot.spec.istio_namespace, Commands(snapshot)
    item = snapshot.clusters[cluster.name].found("Namespace", namespace)
    annotations = (item["metadata"].get("annotations") or {}) if item else {}
    value = annotations.get(CONTROL_PLANES_ANNOTATION, "")
    wanted = _own_name(snapshot, cluster)
    if {wanted, "*"} & {name.strip() for name in value.split(",")}:
        return
    annotation = f"{CONTROL_PLANES_ANNOTATION}={wanted}"
    if value:
        what = f"names {value} as its control plane; it is {wanted}"
        seen = f"{CONTROL_PLANES_ANNOTATION}={value}"
    else:
        what = f"does not say that its control plane is {wanted}"
        seen = "no such annotation: no istiod manages the webhooks and root certificates here"
    # an istiod reads the annotation when it comes to know a cluster, and not again
    restart = commands.restart_istiod(_plane(snapshot, cluster))
    annotate = ("annotate", f"namespace/{namespace}", annotation, "--overwrite")
    yield Finding(
        f"namespace {namespace} of {cluster.name} {what}",
        _scope(snapshot, cluster),
        expected=f"the annotation {annotation}",
        seen=seen,
        remedy=shell.then(commands.kubectl(cluster.name, *annotate), restart),
        fault="pr-control-plane-annotation",
    )


def _not_managing(snapshot: Snapshot, cluster: ClusterSpec) -> Iterator[Found]:
    plane = _plane(snapshot, cluster)
    off = [
        one.pod
        for one in snapshot.clusters[plane].istiods
        if one.environment.get("EXTERNAL_ISTIOD", "").lower() != "true"
    ]
    if off:
        change = set_istiod_variable(Commands(snapshot), plane, "EXTERNAL_ISTIOD=true")
        yield Finding(
            f"the istiod of {plane} does not manage remote clusters, so {cluster.name} gets no CA "
            "bundle and no root certificate",
            _scope(snapshot, cluster),
            expected="EXTERNAL_ISTIOD=true (values.global.externalIstiod)",
            seen=f"{names(off)} without it",
            remedy=shell.with_note(
                change,
                "and values.global.externalIstiod=true in the settings of this installation",
            ),
            fault="pr-external-istiod-off",
        )


def _webhooks(snapshot: Snapshot, cluster: ClusterSpec, *, managed: bool) -> Iterator[Found]:
    injectors = [
        item
        for item in snapshot.clusters[cluster.name].listed("MutatingWebhookConfiguration")
        if any(map(_injection_path, item.get("webhooks") or ()))
    ]
    if not injectors:
        yield Finding(
            f"{cluster.name} has no webhook that asks for sidecars",
            _scope(snapshot, cluster),
            expected="a MutatingWebhookConfiguration istio-sidecar-injector",
            seen="none",
            remedy=reinstall(Commands(snapshot), cluster.name, "profile=remote"),
            fault="pr-webhook-missing",
        )
    for item in injectors:
        yield from _misdirected(snapshot, cluster, item)
        if managed:
            yield from _unverifiable(snapshot, cluster, item)


def _injection_path(webhook: Mapping[str, Any]) -> str:
    """Where a webhook asks for sidecars; empty for webhooks that do something else."""
    client = webhook.get("clientConfig") or {}
    path = (client.get("service") or {}).get("path", "") or urlsplit(client.get("url", "")).path
    return path if path.startswith("/inject") else ""


def _misdirected(snapshot: Snapshot, cluster: ClusterSpec, item: Object) -> Iterator[Found]:
    paths = {path for webhook in item["webhooks"] if (path := _injection_path(webhook))}
    wanted = f"/inject/cluster/{cluster.name}/net/{cluster.network}"
    wrong = sorted(path for path in paths if not _names_cluster(snapshot, cluster, path))
    if wrong:
        patch = [
            operation
            for number, webhook in enumerate(item["webhooks"])
            if (path := _injection_path(webhook)) in wrong
            for operation in _redirecting(number, webhook, path, wanted)
        ]
        commands, kind = Commands(snapshot), "mutatingwebhookconfiguration"
        yield Finding(
            f"the webhook {name_of(item)} of {cluster.name} asks for sidecars of another cluster "
            f"or network ({names(wrong)})",
            _scope(snapshot, cluster),
            expected=wanted,
            seen=names(wrong),
            remedy=commands.patch(cluster.name, kind, name_of(item), patch),
            fault="pr-injection-path",
        )


def _redirecting(
    number: int, webhook: Mapping[str, Any], path: str, wanted: str
) -> list[dict[str, Any]]:
    """The JSON patch operations that give a webhook another injection path."""
    client = f"/webhooks/{number}/clientConfig"
    url = str((webhook.get("clientConfig") or {}).get("url") or "")
    if url:
        return replacing(f"{client}/url", url, url.replace(path, wanted, 1))
    return replacing(f"{client}/service/path", path, wanted)


def _names_cluster(snapshot: Snapshot, cluster: ClusterSpec, path: str) -> bool:
    """Whether an injection path yields this cluster's name and network.

    What the path leaves out is that of istiod's own cluster.
    """
    parts = path.strip("/").split("/")[1:]
    said = dict(zip(parts[::2], parts[1::2], strict=False))
    own = snapshot.spec.cluster(_own_name(snapshot, cluster))
    named = (said.get("cluster", own.name), said.get("net", own.network))
    return named == (cluster.name, cluster.network)


def _unverifiable(snapshot: Snapshot, cluster: ClusterSpec, item: Object) -> Iterator[Found]:
    plane = snapshot.spec.control_plane_of(cluster.name)
    roots = handed_out_by(snapshot, plane)
    clients = [webhook.get("clientConfig") or {} for webhook in item["webhooks"]]
    bundles = {str(client.get("caBundle") or "") for client in clients}
    restart = Commands(snapshot).restart_istiod(plane.name)
    if "" in bundles:
        yield Finding(
            f"the webhook {name_of(item)} of {cluster.name} has no CA bundle, so the API server "
            "refuses every pod that is to be injected",
            _scope(snapshot, cluster),
            expected=subjects(roots),
            seen="no caBundle: the control plane has not written it",
            remedy=shell.with_note(
                restart,
                f"it writes the bundle once it reaches {cluster.name} and is named in "
                f"{CONTROL_PLANES_ANNOTATION}",
            ),
            fault="pr-cabundle-empty",
        )
        return
    for bundle in sorted(bundles):
        seen = parse(_decoded(bundle))
        if roots and not set(roots) & set(seen):
            yield Finding(
                f"the CA bundle of webhook {name_of(item)} of {cluster.name} is not the root of "
                f"{plane.name}'s istiod",
                _scope(snapshot, cluster),
                expected=subjects(roots),
                seen=subjects(seen),
                remedy=restart,
                fault="pr-cabundle-stale",
            )


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return ""
