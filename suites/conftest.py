"""Says what is missing where the suites are run without a mesh."""

from __future__ import annotations

import pytest

from pytest_istio_mc.options import is_active


def pytest_configure(config: pytest.Config) -> None:
    """Without a mesh there is nothing to judge."""
    if not is_active(config) and not config.option.collectonly:
        raise pytest.UsageError(
            "the suites judge a mesh: add --mesh-topology=multi-network-multi-primary (builds one on this machine), "
            "or --mesh-replay=DIR; --mesh-list prints every check"
        )
