"""Access to the clusters that a topology installs into."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..eventually import Timeouts

if TYPE_CHECKING:
    from ..kube import Kube

TIMEOUTS = Timeouts()


@dataclass(frozen=True)
class ClusterAccess:
    """A running cluster that a topology installs into.

    ``peer_server`` is the apiserver's URL for pods of other clusters (``https://198.18.x.y:6443``).
    """

    name: str
    kubeconfig: str
    context: str
    peer_server: str
    kube: Kube
