"""What drawings share: texts that cannot be markup, and distances on an axis."""

from __future__ import annotations

from xml.sax.saxutils import escape

from ..visible import visible


def safe(words: str) -> str:
    """Words as text of an SVG element, what is not visible as escapes."""
    return escape(visible(words))


def axis_step(seconds: float, most: int = 12) -> float:
    """The distance of at most ``most`` labels on an axis.

    It is 1, 2 or 5 times 10ⁿ.
    """
    steps = (digit * 10.0**power for power in range(-3, 7) for digit in (1, 2, 5))
    return next((step for step in steps if seconds / step <= most), seconds)
