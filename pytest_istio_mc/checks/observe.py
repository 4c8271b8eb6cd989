"""Observes what the checks of several areas judge: requests and handshakes between all clusters."""

from __future__ import annotations

from ..observations import Request, Trial
from ..probes import trials
from .site import Site


def reach(site: Site) -> tuple[Request, ...]:
    """HTTP requests from every cluster for a service that all have, until all have answered."""
    return site.traffic().reach()


def handshakes(site: Site) -> tuple[Trial, ...]:
    """Mutual TLS past the sidecar, from every client to every cluster."""
    return trials.mutual_tls(site.traffic(), site.gateways())
