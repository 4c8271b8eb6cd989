"""Facts of cluster-local services: stages of mesh configuration and what answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ...samples import Stage

BEFORE, SOME_LOCAL, ALL_LOCAL, LIFTED = "before", "some", "all", "lifted"
"""Mesh configuration without settings of ours, with some, with one for every host, and restored."""

IN_KUBE_SYSTEM, IN_ANOTHER_NAMESPACE = "in kube-system", "in another namespace"

CASES = NAMED_ALONE, IN_NAMED_NAMESPACE, NAMED_IN_ONE, NEVER_NAMED = (
    "named alone",
    "in a named namespace",
    "named in one control plane",
    "never named",
)
"""The services, by what makes them cluster-local."""


@dataclass(frozen=True)
class ServiceEndpoints:
    """The endpoints of a service that the client's proxy in ``source`` has.

    ``own`` are those that its cluster itself has for the service.
    """

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
    """What became of services that Istio keeps local unasked.

    - ``held``: their endpoints in the clients' proxies.
    - ``twins``: the endpoints of the probe service, which is not kept local.
    - ``stage``: requests for a service of ours in kube-system and for its twin in the probe
      namespace; None where we may not make one.
    """

    held: tuple[ServiceEndpoints, ...]
    twins: tuple[ServiceEndpoints, ...]
    stage: Stage | None = None


@dataclass(frozen=True)
class ClusterLocal:
    """Traffic under cluster-local settings: before any, with some, with all, and lifted again.

    - ``changed``: the ConfigMaps that were changed, ``cluster: namespace/name``.
    - ``only_in``: the one control plane that the settings of case ``NAMED_IN_ONE`` are for.
    """

    stages: tuple[Stage, ...]
    changed: Mapping[str, str] = field(default_factory=dict)
    only_in: str = ""

    def has(self, name: str) -> bool:
        """Whether there was a stage of that name; the one with "*" wants a permission."""
        return any(stage.name == name for stage in self.stages)

    def stage(self, name: str) -> Stage:
        """The stage of that name."""
        return next(stage for stage in self.stages if stage.name == name)
