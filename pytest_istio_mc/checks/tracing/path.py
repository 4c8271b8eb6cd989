"""Path: the snapshot's facts about the path from a cluster's client to another's servers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from ...errors import ObservationError
from ...network_gateways import is_address
from ...observations import GatewayAddress
from ...recorded import Outbound, ProxyEndpoint, ProxyFacts
from ...shell import Command
from ...snapshot import Snapshot
from ..oracle import (
    Instance,
    gateway_addresses,
    gateways_to,
    ready_instances,
    service_ports,
)
from ..remedies import Commands


@dataclass(frozen=True)
class PathFacts:
    """The snapshot's facts about one path; ``past_sidecar`` leaves out the client's own proxy."""

    snapshot: Snapshot
    source: str
    target: str
    port: int
    past_sidecar: bool = False

    @property
    def commands(self) -> Commands:
        """The commands of remedies."""
        return Commands(self.snapshot)

    @property
    def crosses(self) -> bool:
        """Whether a gateway is on the path."""
        spec = self.snapshot.spec
        return spec.cluster(self.source).network != spec.cluster(self.target).network

    @cached_property
    def client(self) -> ProxyFacts:
        """The client's proxy; :class:`ObservationError` where it is not recorded or unread."""
        found = self._proxies(self.source, "client")
        found[0].require_dump()
        return found[0]

    @cached_property
    def servers(self) -> tuple[ProxyFacts, ...]:
        """The proxies of the target's servers, at least one."""
        return self._proxies(self.target, "server")

    @property
    def recorded(self) -> Outbound | None:
        """What the client's proxy does with requests for the port; None where not recorded."""
        return self.client.outbound.get(str(self.port))

    @property
    def outbound(self) -> Outbound:
        """The same; :class:`ObservationError` where not recorded."""
        if self.recorded is None:
            problem = "what it does with requests was not recorded"
            raise ObservationError(f"proxy {self.client.pod}", problem)
        return self.recorded

    @cached_property
    def server_name(self) -> str:
        """The server name that the client's proxy sends to a gateway.

        It ends in "…" in place of its domain where that was not recorded.
        """
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
    def gateways(self) -> tuple[GatewayAddress, ...]:
        """The gateway addresses that lead to the target."""
        target = self.snapshot.spec.cluster(self.target)
        return gateways_to(target, gateway_addresses(self.snapshot, self.source))

    @cached_property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """Where the client's proxy must send requests for the target.

        Of a host name all that it may stand for; :class:`ObservationError` where nobody knows.
        """
        if not self.crosses:
            return tuple((one.address, one.port) for one in self.instances)
        found = []
        for one in self.gateways:
            if not one.resolved and not is_address(one.address):
                problem = "nobody could say for which addresses it stands"
                raise ObservationError(f"gateway {one.address} of {one.network}", problem)
            found += [(address, one.port) for address in one.resolved or (one.address,)]
        return tuple(found)

    @cached_property
    def held(self) -> tuple[ProxyEndpoint, ...]:
        """All of the client's endpoints for the port."""
        known = self.client.endpoints
        if self.recorded is not None:
            return next((known[name] for name in self.recorded.targets if name in known), ())
        probes = self.snapshot.require_probes()
        start = f"outbound|{self.port}||{probes.service}.{probes.namespace}."
        return next((held for name, held in known.items() if name.startswith(start)), ())

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

    def proxy_config(self, part: str, *options: str) -> Command:
        """The command that shows a part of the client's configuration."""
        pod = f"{self.client.pod}.{self.client.namespace}"
        return self.commands.proxy_config(self.source, part, pod, *options)

    def _proxies(self, cluster: str, kind: str) -> tuple[ProxyFacts, ...]:
        recorded = self.snapshot.clusters[cluster].proxies
        found = tuple(proxy for proxy in recorded if proxy.kind == kind)
        if not found:
            raise ObservationError(f'cluster "{cluster}"', f"no {kind} proxy was recorded")
        return found
