"""Standing: what a cluster has of Istio now, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import MeshError
from ..istio_names import ISTIOD_PODS, REVISION_LABEL
from .injected import proxies

if TYPE_CHECKING:
    from ..kube import Kube

INJECTOR = "MutatingWebhookConfiguration"
TAG_WEBHOOK = "istio-revision-tag-default"
"""The injector of ``istio-injection=enabled``, where ``istioctl tag set default`` made one."""


def standing(kube: Kube, namespace: str, versions: Mapping[str, str]) -> str:
    """The istiods of a cluster, the proxies by revision and version, and the tag ``default``.

    ``versions`` are by tag of the image; a tag without one is told as it is.
    """

    def told(revision: str, tag: str) -> str:
        return f"{revision or 'default'} {versions.get(tag, tag)}"

    try:
        planes = istiods(kube, namespace)
        found = proxies(kube)
        tagged = kube.read(INJECTOR, TAG_WEBHOOK)
    except MeshError as error:
        return f"cannot be read: {error.step} ({error.detail})"
    parts = [
        f"istiod {told(revision_of(one), tag_of(one))} "
        f"({one.get('status', {}).get('readyReplicas', 0)} of "
        f"{one['spec'].get('replicas', 1)} ready)"
        for one in planes
    ]
    for what, gateways in (("workload", False), ("gateway", True)):
        counted = Counter(
            told(one.revision, one.image.rpartition(":")[2])
            for one in found
            if one.gateway == gateways
        )
        parts += [
            f"{number} {what} pod{'s' if number > 1 else ''} of {name}"
            for name, number in sorted(counted.items())
        ]
    if tagged:
        parts.append(f"the tag default is {revision_of(tagged)}")
    return "; ".join(parts) or "nothing of Istio"


def istiods(kube: Kube, namespace: str) -> list[dict[str, Any]]:
    """The Deployments of istiods in a cluster."""
    return kube.list("Deployment", namespace, labels=ISTIOD_PODS)


def revision_of(item: Mapping[str, Any]) -> str:
    """The revision that an object says it is of, by its label."""
    return str((item["metadata"].get("labels") or {}).get(REVISION_LABEL, ""))


def tag_of(deployment: Mapping[str, Any]) -> str:
    """The tag of the image of an istiod."""
    containers = deployment["spec"]["template"]["spec"]["containers"]
    image = next((one["image"] for one in containers if one["name"] == "discovery"), "")
    return str(image).rpartition(":")[2]
