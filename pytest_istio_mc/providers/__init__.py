"""Providers: where the clusters of a mesh come from."""

from __future__ import annotations

from .provider import (
    VERSIONED,
    Provider,
    ProvisionRequest,
    Recorder,
    as_provided,
    is_disposable,
    versions_of,
)

__all__ = [
    "VERSIONED",
    "Provider",
    "ProvisionRequest",
    "Recorder",
    "as_provided",
    "is_disposable",
    "known",
    "versions_of",
]


def known() -> dict[str, Provider]:
    """The providers of this package, by the name that ``--mesh-provider`` takes."""
    from .attach import AttachProvider
    from .lab import LabProvider

    return {provider.name: provider for provider in (LabProvider(), AttachProvider())}
