"""Facts of control planes: injected pods and configuration in force."""

from __future__ import annotations

from dataclasses import dataclass

from ...spec import MeshSpec

INJECTOR = "sidecar-injector.istio.io"
"""At the end of the names of the webhooks that inject sidecars, which refusals name."""


@dataclass(frozen=True)
class Injection:
    """What became of a pod, and what its sidecar was given.

    - ``way``: ``admitted`` (a dry run through the webhooks), ``running`` or ``opted-out``.
    - ``error`` is the API server's refusal.
    """

    cluster: str
    way: str
    pod: str
    injected: bool = False
    cluster_id: str = ""
    network: str = ""
    mesh_id: str = ""
    revision: str = ""
    error: str = ""


@dataclass(frozen=True)
class ConfigInForce:
    """Whether configuration of ``config_cluster`` is in force for the client in ``source``.

    - ``seen`` is what the client got.
    - ``in_force`` is None where it got neither of the two answers that would tell.
    """

    source: str
    config_cluster: str
    in_force: bool | None
    seen: str
    seconds: float = 0.0


def read_for(spec: MeshSpec, cluster: str) -> str:
    """The cluster of which the control plane of that cluster's proxies reads configuration."""
    return spec.config_cluster(spec.control_plane_of(cluster)).name


def is_istiod(name: str) -> bool:
    """Whether a Service of that name leads to an istiod: ``istiod``, ``istiod-REVISION``."""
    return name.partition("-")[0] == "istiod"
