"""Observes what a mesh must refuse: plaintext and foreign certificates."""

from __future__ import annotations

from ...observations import Trial
from ...probes import trials
from ..site import Site


def plaintext(site: Site) -> tuple[Trial, ...]:
    """Plaintext and TLS without a certificate, to a STRICT port of every cluster."""
    return trials.plaintext(site.traffic(), site.gateways())


def foreign_certificate(site: Site) -> tuple[Trial, ...]:
    """The client's name on a certificate of a foreign root, to a STRICT port everywhere."""
    return trials.foreign_certificate(site.traffic(), site.gateways())
