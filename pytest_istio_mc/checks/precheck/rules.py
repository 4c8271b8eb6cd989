"""Rules: what an upgrade may break, each a value with versions, effect, source and weight."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any

from ...errors import ObservationError
from ...snapshot import ClusterSnapshot, Object, Snapshot
from ...verdicts import Finding
from ..judging import Found, Gap
from ..releases import Release, release
from ..remedies import Commands


class Weight(Enum):
    """How much a rule matters that applies."""

    BLOCKS = "blocks"  # do not upgrade before it is mended
    RISK = "risk"  # something may fail while, or after, the mesh is upgraded
    NOTE = "note"  # something becomes different; know it


class Standing(Enum):
    """How a rule stands in a mesh; the words are part of the output."""

    APPLIES = "applies"
    CLEAR = "does not apply"
    UNKNOWN = "could not find out"


@dataclass(frozen=True)
class Situation:
    """A mesh, and the release that it is to be upgraded to."""

    snapshot: Snapshot
    target: Release

    @property
    def commands(self) -> Commands:
        """The commands of remedies in this mesh."""
        return Commands(self.snapshot)

    @property
    def planes(self) -> tuple[ClusterSnapshot, ...]:
        """The clusters with an istiod."""
        return tuple(self.snapshot.clusters[one.name] for one in self.snapshot.spec.control_planes)

    @property
    def configured(self) -> tuple[ClusterSnapshot, ...]:
        """The clusters in which istiods read Istio's configuration."""
        names = dict.fromkeys(self.snapshot.spec.config_clusters)
        return tuple(self.snapshot.clusters[name] for name in names)

    @property
    def data_planes(self) -> tuple[ClusterSnapshot, ...]:
        """The clusters with workloads of the mesh."""
        return tuple(self.snapshot.clusters[one.name] for one in self.snapshot.spec.data_planes)

    @property
    def several_networks(self) -> bool:
        """Whether traffic goes through east-west gateways."""
        return len(self.snapshot.spec.networks) > 1

    @property
    def endpoints_behind_gateways(self) -> bool:
        """Whether proxies have endpoints that are reached through the gateways of networks.

        Separate meshes have none: each knows its own network alone, which needs no name.
        """
        return self.several_networks and not self.snapshot.spec.federated

    def config_cluster(self, plane: str) -> str:
        """The cluster in which the istiod of a cluster reads its configuration."""
        spec = self.snapshot.spec
        return spec.config_cluster(spec.cluster(plane)).name

    def mesh_config(self, config_cluster: str) -> Mapping[str, Any]:
        """The mesh configuration of the istiods that read theirs in a cluster; empty if unknown."""
        spec = self.snapshot.spec
        for plane in spec.control_planes:
            if spec.config_cluster(plane).name == config_cluster:
                for istiod in self.snapshot.clusters[plane.name].istiods:
                    if found := istiod.debug.get("mesh"):
                        return dict(found)
        return {}

    @cached_property
    def running(self) -> tuple[tuple[str, str, Release | None], ...]:
        """Of each istiod: cluster, version as it says it, and which release that is."""
        return tuple(
            (plane.name, istiod.version, release(istiod.version))
            for plane in self.planes
            for istiod in plane.istiods
        )


def read_for_upgrade(cluster: ClusterSnapshot, kind: str) -> tuple[Object, ...]:
    """The objects of a kind that only a precheck reads; ``ObservationError`` if unknown."""
    try:
        return cluster.listed(kind)
    except ObservationError as error:
        if kind in cluster.objects or error.advice == "":
            raise
        advice = "a run does not read it: record with istio-mc precheck --snapshot"
        raise ObservationError(error.thing, error.step, error.detail, advice=advice) from error


Judge = Callable[[Situation], Iterable[Found]]


@dataclass(frozen=True)
class Rule:
    """One thing that an upgrade may break.

    - ``title``: what is the case where it applies; ``effect``: what happens then.
    - ``to``, ``running``: the versions to upgrade to, and those that run, that are affected, as
      version specifiers of which any may hold; empty for all.
    - ``looks_at``: what is read for it.
    - ``sources``: issues, release notes or pages.
    - ``judge``: what it finds in a mesh, each finding with its remedy.
    """

    id: str
    title: str
    weight: Weight
    effect: str
    looks_at: str
    sources: tuple[str, ...]
    judge: Judge
    to: tuple[str, ...] = ()
    running: tuple[str, ...] = ()

    @property
    def versions(self) -> str:
        """The affected versions in words."""
        words = [f"to {' or '.join(self.to)}"] if self.to else []
        words += [f"from {' or '.join(self.running)}"] if self.running else []
        return " ".join(words) or "all"

    def to_dict(self) -> dict[str, Any]:
        """What it says of itself, as plain JSON."""
        return {
            "id": self.id,
            "title": self.title,
            "weight": self.weight.value,
            "to": list(self.to),
            "from": list(self.running),
            "effect": self.effect,
            "looksAt": self.looks_at,
            "sources": list(self.sources),
        }


@dataclass(frozen=True)
class Outlook:
    """How one rule stands in a mesh: what it found, and which facts lacked.

    ``reason``: one sentence for a rule that does not apply.
    """

    rule: Rule
    standing: Standing
    reason: str = ""
    findings: tuple[Finding, ...] = ()
    gaps: tuple[str, ...] = ()

    @property
    def blocks(self) -> bool:
        """Whether the mesh must not be upgraded as it is."""
        return self.standing is Standing.APPLIES and self.rule.weight is Weight.BLOCKS


def outlook(rule: Rule, situation: Situation) -> Outlook:
    """How a rule stands.

    - It does not apply where the versions are not affected, or where nothing was found.
    - Where a fact lacks and nothing was found, it could not be found out.
    """
    target = situation.target
    affected = target.within(rule.to) if rule.to else True
    if affected is False:
        return Outlook(rule, Standing.CLEAR, f"Istio {target} is not affected")
    doubts = [] if affected else [_doubt(target)]
    if rule.running:
        runs = list(_affected(rule, situation))
        if runs and not any(doubt is None or doubt for doubt in runs):
            return Outlook(rule, Standing.CLEAR, "the versions that run are not affected")
        # one that is affected is enough
        certain = any(doubt is None for doubt in runs)
        doubts += [] if certain else [doubt for doubt in runs if doubt]
        doubts += [] if runs else ["no istiod runs, so its version is not known"]
    found = list(_judged(rule, situation))
    findings = tuple(dict.fromkeys(one for one in found if isinstance(one, Finding)))
    gaps = [one.reason for one in found if isinstance(one, Gap)]
    if findings and doubts:
        gaps += [f"{one.summary}; {doubt}" for doubt in doubts for one in findings]
        findings = ()
    gaps = list(dict.fromkeys(gaps))
    if findings:
        return Outlook(rule, Standing.APPLIES, "", findings, tuple(gaps))
    if gaps:
        return Outlook(rule, Standing.UNKNOWN, "", (), tuple(gaps))
    return Outlook(rule, Standing.CLEAR, f"nothing of the kind in {rule.looks_at}")


def _affected(rule: Rule, situation: Situation) -> Iterator[str | None]:
    """For each istiod: None where it is affected, a doubt where nobody can say, else empty."""
    for cluster, text, found in situation.running:
        if found is None:
            yield f"istiod in {cluster} says {text!r} of its version, which is no release"
            continue
        within = found.within(rule.running)
        yield None if within else "" if within is False else f"in {cluster}: {_doubt(found)}"


def _doubt(found: Release) -> str:
    whose = f"a build of {found.vendor}" if found.vendor else "no release of Istio itself"
    return f"whether {found} is affected is not known, as it is {whose}"


def _judged(rule: Rule, situation: Situation) -> Iterator[Found]:
    try:
        yield from rule.judge(situation)
    except ObservationError as error:
        yield Gap(str(error))
