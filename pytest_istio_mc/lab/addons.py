"""What a lab cluster has besides its components: CoreDNS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from .binaries import images
from .plan import NodePlan

_COREDNS = Path(__file__).with_name("coredns.yaml")


def coredns(node: NodePlan) -> list[tuple[str, dict[str, Any]]]:
    """CoreDNS as (API path, object), in the order to apply them."""
    objects = list(yaml.safe_load_all(_COREDNS.read_text()))
    by_kind = {item["kind"]: item for item in objects}
    by_kind["Service"]["spec"]["clusterIP"] = f"{node.service_prefix}.10"
    (container,) = by_kind["Deployment"]["spec"]["template"]["spec"]["containers"]
    container["image"] = images.COREDNS
    return [(_path(item), item) for item in objects]


def _path(item: dict[str, Any]) -> str:
    """The API path of an object whose plural is regular."""
    version, metadata = item["apiVersion"], item["metadata"]
    group = f"/apis/{version}" if "/" in version else f"/api/{version}"
    scope = f"/namespaces/{metadata['namespace']}" if "namespace" in metadata else ""
    return f"{group}{scope}/{item['kind'].lower()}s/{metadata['name']}"
