"""Rights: what runs read, write, change and delete in a cluster, each with its reason.

``--mesh-plan`` tells them, ``istio-mc rbac`` makes roles of them, and a test compares both with
what a run on a real mesh asked its API servers for.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Where(Enum):
    """Where the objects are that a right is about."""

    OWN = "the run's own namespaces"
    ISTIO = "the namespace of istiod"
    GATEWAYS = "the namespaces of east-west gateways"
    KUBE_SYSTEM = "kube-system"
    CLUSTER = "the whole cluster"


@dataclass(frozen=True)
class Right:
    """One right: verbs on a resource, and what for.

    - ``resource`` is the plural with its subresource (``pods/exec``), ``group`` its API group,
      empty for the core group.
    - ``names`` limits it to objects with these names; empty for all.
    - ``why`` completes the sentence "it may …", for the plan and the comments of roles.
    """

    verbs: tuple[str, ...]
    group: str
    resource: str
    where: Where
    why: str
    names: tuple[str, ...] = ()

    @property
    def writes(self) -> bool:
        """Whether it changes anything."""
        return not set(self.verbs) <= {"get", "list", "watch"}
