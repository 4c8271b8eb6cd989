"""Ways lost: an east-west gateway that one network cannot reach."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ..lab.breakages import BLOCK_ADDRESS
from ..observations import GatewayAddress
from .scene import Scene


@contextmanager
def address_unreachable(
    scene: Scene, address: str, port: int, sources: Sequence[str]
) -> Iterator[None]:
    """What some clusters send to an address and port is lost on the way, on connections that exist, too."""
    with scene.controls.broken(
        BLOCK_ADDRESS,
        for_seconds=scene.longest_seconds,
        address=address,
        port=port,
        sources=list(sources),
    ):
        yield


@contextmanager
def gateway_unreachable(scene: Scene, gateway: GatewayAddress, from_network: str) -> Iterator[None]:
    """What the clusters of a network send to the gateway's address is lost on the way, on connections that exist, too.

    That it ended is proven by whoever looks at the traffic: a lost packet leaves nothing behind in either cluster.
    """
    sources = [
        cluster.name for cluster in scene.mesh.spec.data_planes if cluster.network == from_network
    ]
    with scene.controls.broken(
        BLOCK_ADDRESS, for_seconds=scene.longest_seconds, address=gateway.address, sources=sources
    ):
        yield
