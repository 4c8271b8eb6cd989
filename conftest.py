"""For the checkout: plain ``pytest`` runs its own tests, ``--mesh-topology=…`` the suites."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_istio_mc.options import is_active


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Without paths on the command line, a run on a mesh collects the suites."""
    if config.args_source is config.ArgsSource.TESTPATHS and is_active(config):
        config.args = [str(Path(__file__).parent / "pytest_istio_mc" / "suites")]
