"""Collect: one concurrent sweep over a mesh, recorded as a snapshot."""

from __future__ import annotations

from .access import Ask
from .cluster import collect

__all__ = ["Ask", "collect"]
