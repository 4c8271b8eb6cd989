"""Collect: one concurrent sweep over the clusters of a mesh that records what the static checks read, as a snapshot."""

from __future__ import annotations

from .access import Ask
from .cluster import collect

__all__ = ["Ask", "collect"]
