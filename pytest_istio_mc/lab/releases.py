"""Releases: the minor versions of Istio and Kubernetes that a lab can be made of."""

from __future__ import annotations

from ..errors import UsageProblem

ISTIO = ("1.31", "1.30")
"""Of Istio, newest first; the first is what a lab has unasked."""

KUBERNETES = ("1.36", "1.35")
"""Of Kubernetes, likewise."""


def known(option: str, asked: str, versions: tuple[str, ...]) -> str:
    """The minor version that was asked for, or the first where nothing was.

    :class:`UsageProblem` names those that there are.
    """
    if not asked:
        return versions[0]
    if asked not in versions:
        advice = f"valid are: {', '.join(versions)}; nothing was started"
        raise UsageProblem(option, f'no lab can be made of version "{asked}"', advice=advice)
    return asked
