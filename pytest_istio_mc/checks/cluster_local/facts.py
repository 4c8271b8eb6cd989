"""Facts of cluster-local services: stages of mesh configuration and what answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ...samples import Stage

BEFORE, SOME, ALL, LIFTED = "before", "some", "all", "lifted"
"""The states of a mesh configuration: without cluster-local settings of ours, with some, with one for every host, without them again."""


SYSTEM, ELSEWHERE = "in kube-system", "in another namespace"


CASES = ONE, NAMESPACE, SOLO, OTHER = (
    "named alone",
    "in a named namespace",
    "named in one control plane",
    "never named",
)
"""The services that are asked for, by what makes them cluster-local."""


@dataclass(frozen=True)
class Held:
    """The endpoints that the client's proxy in ``source`` has for a service, and those that its own cluster has for it."""

    source: str
    service: str
    port: str
    addresses: tuple[str, ...]
    own: tuple[str, ...]

    @property
    def foreign(self) -> tuple[str, ...]:
        """The endpoints that are not its cluster's."""
        return tuple(address for address in self.addresses if address not in self.own)


@dataclass(frozen=True)
class Defaults:
    """What proxies have of services that Istio keeps local unasked, and requests for one of them and for its like elsewhere.

    ``twins`` are the endpoints of the probe service, which cross over. ``stage`` is None where no such service may be made.
    """

    held: tuple[Held, ...]
    twins: tuple[Held, ...]
    stage: Stage | None = None


@dataclass(frozen=True)
class ClusterLocal:
    """What cluster-local settings did to traffic: before any, with some, with all services local, and lifted again.

    ``changed`` are the ConfigMaps that were changed, ``cluster: namespace/name``, and ``only_in`` the control plane that alone was told
    about the service of case ``SOLO``.
    """

    stages: tuple[Stage, ...]
    changed: Mapping[str, str] = field(default_factory=dict)
    only_in: str = ""

    def stage(self, name: str) -> Stage:
        """The stage of that name."""
        return next(stage for stage in self.stages if stage.name == name)
