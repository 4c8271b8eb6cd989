"""Shape: what every topology is made of, so that its own module says only what sets it apart."""

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
    """A topology: ``clusters`` are those it has by default, at least ``least``; ``problems`` says in sentences why a spec is not of it;
    ``build`` takes an installation through its steps, and returns when the mesh is in force."""

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
        """The spec with so many clusters, or with as few as make sense; :class:`UsageProblem` where those are ``needs`` and too few."""
        number = self.least if clusters is None else clusters
        if self.needs:
            steps.too_few(self.name, number, self.least, self.needs)
        return MeshSpec(self.name, tuple(self.clusters(number)), federated=self.federated)

    def check(self, spec: MeshSpec) -> None:
        """Raise :class:`UsageProblem`, with a sentence for each thing, where the spec is not of this topology."""
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
        """Build the mesh in empty clusters; returns when it is in force, :class:`MeshError` names the cluster that failed."""
        self.check(spec)
        self.build(steps.Build(spec, clusters, istio, progress, timeouts))
