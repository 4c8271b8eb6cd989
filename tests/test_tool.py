"""The tool's version, and what is said of newer ones."""

from __future__ import annotations

import pytest

from pytest_istio_mc import tool


@pytest.mark.parametrize("theirs", ["0.10.0", "0.3.0rc1", "1"])
def test_what_a_newer_version_wrote_is_told(theirs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool, "tool_version", lambda: "0.2.0")

    step, advice = tool.newer(theirs, "recorded") or ("", "")

    assert step == f"was recorded by {theirs}, this is 0.2.0"
    assert advice == f"pip install 'pytest-istio-mc>={theirs}'"


@pytest.mark.parametrize("theirs", ["0.2.0", "0.1.9", "0.2.0rc1", "", "unknown", "1; rm -rf /"])
def test_nothing_is_said_of_others(theirs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool, "tool_version", lambda: "0.2.0")

    assert tool.newer(theirs, "recorded") is None
