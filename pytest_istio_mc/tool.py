"""The tool itself: its version, and what to say of what a newer one wrote."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

TOOL = "pytest-istio-mc"


def tool_version() -> str:
    """The version that is installed; ``unknown`` in a checkout that is not."""
    try:
        return version(TOOL)
    except PackageNotFoundError:
        return "unknown"


def newer(theirs: str, verb: str) -> tuple[str, str] | None:
    """What happened, and the next move, where a newer version wrote something.

    None where it did not, or where nobody can tell. ``verb``: ``recorded``.
    """
    from packaging.version import InvalidVersion, Version

    mine = tool_version()
    try:
        if Version(theirs) <= Version(mine):
            return None
    except InvalidVersion:
        return None
    return f"was {verb} by {theirs}, this is {mine}", f"pip install '{TOOL}>={theirs}'"
