"""Kube: one cluster's Kubernetes API; the only importer of ``kubernetes``."""

from .client import Kube
from .exec import ExecSession

__all__ = ["ExecSession", "Kube"]
