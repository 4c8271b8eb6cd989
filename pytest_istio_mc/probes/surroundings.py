"""Surroundings: what a cluster and its mesh demand of namespaces and pods in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import MeshError
from ..istio_names import INJECTION_LABEL, INJECTOR_WEBHOOKS, REVISION_LABEL, TAG_LABEL, of_revision
from ..mesh import Mesh

if TYPE_CHECKING:
    from ..kube import Kube

_OPENSHIFT = "security.openshift.io"
_NAME_LABEL = "kubernetes.io/metadata.name"


@dataclass(frozen=True)
class Injection:
    """How to ask for sidecars: namespace labels, and the revision that heeds them.

    The revision is empty where it is not known.
    """

    labels: Mapping[str, str]
    revision: str = ""


def injection(kube: Kube) -> Injection:
    """How to ask for sidecars here.

    - ``istio-injection=enabled`` where a webhook heeds it, or where webhooks cannot be read.
    - Else a revision, preferably a tag, as Istio's page "Canary Upgrades" recommends.
    """
    plain = {INJECTION_LABEL: "enabled"}
    revisions: list[tuple[bool, str, str]] = []
    try:
        configurations = kube.list("MutatingWebhookConfiguration", labels=INJECTOR_WEBHOOKS)
    except MeshError:
        return Injection(plain)
    for configuration in configurations:
        labels = configuration["metadata"].get("labels") or {}
        revision = labels.get(REVISION_LABEL, "")
        for webhook in configuration.get("webhooks") or ():
            rules = (webhook.get("namespaceSelector") or {}).get("matchExpressions") or ()
            values = [rule.get("values") or () for rule in rules if rule["key"] == INJECTION_LABEL]
            if any("enabled" in some for some in values):
                return Injection(plain, revision)
        if asked := labels.get(TAG_LABEL) or revision:
            revisions.append((TAG_LABEL not in labels, asked, revision))
    if not revisions:
        return Injection(plain)
    _, asked, revision = min(revisions)
    return Injection({REVISION_LABEL: asked}, revision)


def assigns_users(kube: Kube) -> bool:
    """Whether the platform gives every namespace user ids of its own, as OpenShift does."""
    try:
        groups = kube.get_path("/apis")["groups"]
    except MeshError:
        return False
    return any(group["name"] == _OPENSHIFT for group in groups)


def mesh_config(
    mesh: Mesh, kubes: Mapping[str, Kube], cluster: str, revision: str
) -> Mapping[str, Any]:
    """The mesh configuration of the control plane of a cluster; empty where it cannot be read."""
    import yaml

    spec = mesh.spec
    kube = kubes[spec.config_cluster(spec.control_plane_of(cluster)).name]
    names = dict.fromkeys((of_revision("istio", revision), "istio"))
    for name in names:
        try:
            found = kube.read("ConfigMap", name, spec.istio_namespace)
            document = yaml.safe_load(((found or {}).get("data") or {}).get("mesh") or "")
        except (MeshError, yaml.YAMLError):
            continue
        if isinstance(document, Mapping):
            return document
    return {}


def discovery_labels(
    config: Mapping[str, Any], name: str, labels: Mapping[str, str]
) -> Mapping[str, str]:
    """What a namespace with these labels lacks for the mesh's ``discoverySelectors``.

    - Istiod sees only namespaces that match one of them (Istio, "Global Mesh Options").
    - The selector is chosen that lacks least; nothing where labels can match none.
    """
    known = {_NAME_LABEL: name, **labels}
    selectors = [one for one in config.get("discoverySelectors") or () if isinstance(one, Mapping)]
    wished = [_demanded(selector, known) for selector in selectors]
    possible = [wish for wish in wished if wish is not None]
    return min(possible, key=len) if possible else {}


def _demanded(selector: Mapping[str, Any], known: Mapping[str, str]) -> dict[str, str] | None:
    """The labels that are missing for a selector; None where some are in its way."""
    wanted = {str(key): str(value) for key, value in (selector.get("matchLabels") or {}).items()}
    for key, operator, values in _expressions(selector):
        present = wanted.get(key, known.get(key))
        if operator == "In" and values:
            wanted[key] = present if present in values else values[0]
        elif operator == "Exists":
            wanted[key] = present if present is not None else "enabled"
        elif operator == "NotIn" and present not in values:
            continue
        elif operator != "DoesNotExist" or present is not None:
            return None
    if any(known.get(key, value) != value for key, value in wanted.items()):
        return None
    return {key: value for key, value in wanted.items() if key not in known}


def _expressions(selector: Mapping[str, Any]) -> Iterator[tuple[str, str, list[str]]]:
    for rule in selector.get("matchExpressions") or ():
        yield (
            str(rule.get("key")),
            str(rule.get("operator")),
            list(map(str, rule.get("values") or ())),
        )


def default_sidecar(kube: Kube, root_namespace: str) -> Mapping[str, Any] | None:
    """The ``spec`` of the Sidecar that limits what all proxies are told; None without one."""
    try:
        found = kube.list("Sidecar.networking.istio.io", root_namespace)
    except MeshError:
        return None
    specs = [item.get("spec") or {} for item in found]
    return next((spec for spec in specs if not spec.get("workloadSelector")), None)


def opened(sidecar: Mapping[str, Any], namespaces: Sequence[str]) -> dict[str, Any]:
    """A Sidecar's ``spec`` that tells proxies of these namespaces besides."""
    hosts = [f"{namespace}/*" for namespace in namespaces]
    listeners = [dict(one) for one in sidecar.get("egress") or ()]
    every = next((one for one in listeners if not one.get("port")), None)
    if every is None:
        listeners.append({"hosts": ["./*", *hosts] if not listeners else hosts})
    elif "*/*" not in (every.get("hosts") or ()):
        every["hosts"] = list(dict.fromkeys([*(every.get("hosts") or ()), *hosts]))
    return {**sidecar, "egress": listeners}
