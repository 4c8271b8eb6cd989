"""Facts of control planes: injected pods and configuration in force."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Injection:
    """What became of a pod that was asked for: ``way`` is ``admitted`` (a dry run through the webhooks), ``running`` or ``opted-out``.

    The other fields are what the sidecar was given; ``error`` is the API server's refusal.
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
    """Whether a piece of configuration that was applied in ``config_cluster`` is in force in the client's proxy in ``source``.

    ``seen`` is what the client got; ``None`` in ``in_force`` means that it got neither of the two answers that would tell.
    """

    source: str
    config_cluster: str
    in_force: bool | None
    seen: str
    seconds: float = 0.0
