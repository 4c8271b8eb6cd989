"""Look: what the snapshot says about the way from one cluster's client to another's servers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from ...errors import ObservationError
from ...snapshot import Outbound, ProxyEndpoint, ProxyFacts, Snapshot
from ...spec import Feature
from ..oracle import (
    Gateway,
    Instance,
    gateway_addresses,
    gateways_to,
    ready_instances,
    service_ports,
)
from ..remedies import Commands


@dataclass(frozen=True)
class PathFacts:
    """What the snapshot says about one way."""

    snapshot: Snapshot
    source: str
    target: str
    port: int
    past_sidecar: bool = False

    @property
    def commands(self) -> Commands:
        return Commands(self.snapshot)

    @property
    def crosses(self) -> bool:
        """Whether a gateway is on the way."""
        spec = self.snapshot.spec
        return (
            Feature.MULTI_NETWORK in spec.features
            and spec.cluster(self.source).network != spec.cluster(self.target).network
        )

    @cached_property
    def client(self) -> ProxyFacts:
        """The client's proxy; :class:`ObservationError` where it was not recorded or could not be read."""
        found = self._proxies(self.source, "client")
        found[0].require_dump()
        return found[0]

    @cached_property
    def servers(self) -> tuple[ProxyFacts, ...]:
        """The proxies of the target's servers, at least one."""
        return self._proxies(self.target, "server")

    @property
    def recorded(self) -> Outbound | None:
        """What the client's proxy does with requests for the port; None where that was not recorded."""
        return self.client.outbound.get(str(self.port))

    @property
    def outbound(self) -> Outbound:
        """The same; :class:`ObservationError` where it was not recorded."""
        if self.recorded is None:
            raise ObservationError(
                f"proxy {self.client.pod}", "what it does with requests was not recorded"
            )
        return self.recorded

    @cached_property
    def server_name(self) -> str:
        """The server name that the client's proxy sends to a gateway, without its domain where that was not recorded."""
        probes = self.snapshot.require_probes()
        try:
            sent = self.outbound.sni
        except ObservationError:
            sent = ""
        return sent or f"outbound_.{self.port}_._.{probes.service}.{probes.namespace}.svc.…"

    @cached_property
    def instances(self) -> tuple[Instance, ...]:
        """The ready instances in the target."""
        name = dict(service_ports(self.snapshot)).get(self.port, "")
        return ready_instances(self.snapshot, self.snapshot.clusters[self.target], name)

    @cached_property
    def gateways(self) -> tuple[Gateway, ...]:
        """The gateway addresses that lead to the target."""
        return gateways_to(
            self.snapshot.spec.cluster(self.target), gateway_addresses(self.snapshot)
        )

    @cached_property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """Where the client's proxy must send requests for the target."""
        ways: Sequence[Gateway | Instance] = self.gateways if self.crosses else self.instances
        return tuple((way.address, way.port) for way in ways)

    @cached_property
    def held(self) -> tuple[ProxyEndpoint, ...]:
        """All of the client's endpoints for the port."""
        if self.recorded is not None:
            return next(
                (
                    self.client.endpoints[target]
                    for target in self.recorded.targets
                    if target in self.client.endpoints
                ),
                (),
            )
        probes = self.snapshot.require_probes()
        start = f"outbound|{self.port}||{probes.service}.{probes.namespace}."
        return next(
            (held for name, held in self.client.endpoints.items() if name.startswith(start)), ()
        )

    @cached_property
    def endpoints(self) -> tuple[ProxyEndpoint, ...]:
        """The client's endpoints that lead to the target."""
        return tuple(one for one in self.held if (one.address, one.port) in self.addresses)

    @cached_property
    def secured(self) -> bool:
        """Whether the client uses mutual TLS to the target; past its sidecar it does so itself."""
        return self.past_sidecar or (
            (self.recorded is None or self.recorded.tls)
            and all(one.tls_mode == "istio" for one in self.endpoints)
        )

    def proxy_config(self, what: str) -> str:
        """The command that shows a part of the client's configuration."""
        return f"istioctl --context={self.commands.context(self.source)} proxy-config {what} {self.client.pod}.{self.client.namespace}"

    def _proxies(self, cluster: str, kind: str) -> tuple[ProxyFacts, ...]:
        found = tuple(
            proxy for proxy in self.snapshot.clusters[cluster].proxies if proxy.kind == kind
        )
        if not found:
            raise ObservationError(f'cluster "{cluster}"', f"no {kind} proxy was recorded")
        return found
