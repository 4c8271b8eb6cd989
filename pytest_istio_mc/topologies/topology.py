"""Topology: a kind of mesh as a value."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from ..eventually import Timeouts
from ..progress import Progress
from ..spec import ClusterSpec, MeshSpec
from . import istio, steps
from .access import TIMEOUTS, ClusterAccess


@dataclass(frozen=True)
class Topology:
    """A kind of mesh: its name, its clusters, and how it is built.

    - ``name`` is what ``--mesh-topology`` takes, ``summary`` one sentence, ``documentation`` the
      page that describes it (of the topologies here, on istio.io).
    - ``clusters`` gives the clusters that it has by default, for a number of them.
    - ``problems`` gives a sentence for each reason why a spec is not of this topology.
    - ``build`` takes an installation through its steps; it returns when the mesh is in force.
    - ``least`` is the default number of clusters; where ``needs`` says what these are, fewer are
      refused.
    - ``federated`` says that the clusters are separate meshes.
    """

    name: str
    summary: str
    documentation: str
    clusters: Callable[[int], Iterable[ClusterSpec]]
    problems: Callable[[MeshSpec], Iterable[str]]
    build: Callable[[steps.Build], None]
    least: int = 2
    needs: str = ""
    federated: bool = False

    def default_spec(self, clusters: int | None = None) -> MeshSpec:
        """The spec with so many clusters, or (None) with ``least``.

        Raises :class:`UsageProblem` where they are too few for what the topology ``needs``.
        """
        number = self.least if clusters is None else clusters
        if self.needs:
            steps.too_few(self.name, number, self.least, self.needs)
        return MeshSpec(self.name, tuple(self.clusters(number)), federated=self.federated)

    def check(self, spec: MeshSpec) -> None:
        """Raise :class:`UsageProblem` with every problem of a spec, a sentence each."""
        steps.refuse(self.name, self.problems(spec))

    def install(
        self,
        spec: MeshSpec,
        clusters: Mapping[str, ClusterAccess],
        istio: istio.IstioDistribution,
        progress: Progress,
        *,
        timeouts: Timeouts = TIMEOUTS,
    ) -> None:
        """Build the mesh in empty clusters; return when it is in force.

        :class:`MeshError` names the cluster that failed.
        """
        self.check(spec)
        self.build(steps.Build(spec, clusters, istio, progress, timeouts))
