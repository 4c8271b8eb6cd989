"""What ``--mesh-list`` and ``--mesh-plan`` print; neither needs a cluster."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterable, Mapping, Sequence

from ..checks import catalogue
from ..checks.catalogue import Check, Kind, Profile, area_title
from ..checks.privileges import Privileges, privileges
from ..evidence import terminal
from ..providers import Provider
from ..rights import READING, Right, Where
from ..settings import ATTACH, Assignment, Settings
from ..visible import visible

RECORDING = (
    "record the snapshot: Kubernetes objects, istiod's and Envoy's own state, certificates; "
    "secrets redacted"
)
OWN = "istio-mc-RUN…"
"""How the run's own namespaces are called before there is a run."""


def list_checks(chosen: Sequence[str] = ()) -> str:
    """Every known check with its sentence, needs, explanations and documentation.

    ``chosen``: only these ids and areas.
    """
    checks = {id: check for id, check in catalogue.known_checks().items() if check.among(chosen)}
    lines: list[str] = []
    area = ""
    for check in checks.values():
        if check.area != area:
            area = check.area
            lines += ["", area_title(area), "-" * len(area_title(area))]
        lines += _described(check)
    kinds = (
        "static: reads a snapshot; live: sends traffic in its own namespaces; "
        "fault: breaks something and heals it"
    )
    lines += ["", f"{terminal.count(len(checks), 'check')}. {kinds}."]
    return "\n".join(lines[1:] if lines and not lines[0] else lines)


def plan(
    assignment: Assignment,
    provider: Provider,
    selected: Mapping[str, Collection[str]] | None = None,
) -> str:
    """What a session with these settings would do, topology by topology.

    ``selected`` are the ids of the checks of which there are tests, by topology; else all.
    """
    of = (selected or {}).get
    plans = [plan_run(settings, provider, of(settings.topology)) for settings in assignment.runs]
    if assignment.overall:
        plans.append(f"overall   the result of all {len(plans)} goes into {assignment.overall}")
    return "\n\n".join(plans)


def plan_run(
    settings: Settings, provider: Provider, selected: Collection[str] | None = None
) -> str:
    """What a run with these settings would do, and which checks it would judge."""
    checks, spec = catalogue.known_checks(), settings.spec
    carried_out = _carried_out(settings, selected)
    lines = [
        f"topology  {settings.topology}, {_distinct('mesh id', map(spec.mesh_id_of, spec))}, "
        + _distinct("trust domain", map(spec.trust_domain_of, spec)),
        *_titled("clusters", terminal.clusters(settings.spec)),
        f"provider  {settings.provider}: {provider.summary}",
        *_titled("steps", _numbered(_steps(settings, carried_out))),
        *_titled("changes", _changes(settings, carried_out)),
        *_titled("makes", _makes(settings, carried_out)),
        *_titled("removed", _removed(settings)),
        f"writes    {settings.report}" + (f" and {settings.snapshot}" if settings.snapshot else ""),
        "",
    ]
    will: list[str] = []
    will_not: list[str] = []
    for check in checks.values():
        obstacle = settings.standing(check).obstacle or (
            "" if check in carried_out else _unselected(settings, check)
        )
        (will_not if obstacle else will).append(
            f"  {check.id}  {check.title}" + (f"\n{'':16}{obstacle}" if obstacle else "")
        )
    lines += [f"{terminal.count(len(will), 'check')} would be judged", *will]
    lines += (
        ["", f"{terminal.count(len(will_not), 'check')} would not", *will_not] if will_not else []
    )
    return "\n".join(lines)


def _unselected(settings: Settings, check: Check) -> str:
    by = "--mesh-checks" if not settings.selects(check) else "pytest's options and paths"
    return f"not selected by {by}"


def _numbered(steps: Iterable[str]) -> list[str]:
    return [f"{number}. {step}" for number, step in enumerate(steps, 1)]


def _described(check: Check) -> list[str]:
    quick = ", quick" if check.quick else ""
    kind = f"{check.profile.value}{quick}, {check.kind.value}"
    lines = [f"{check.id}  {kind}", f"    {check.title}"]
    if check.effect:
        lines.append(f"    effect: {check.effect}")
    if check.permissions:
        names = ", ".join(f"--mesh-allow={one.value}" for one in check.permissions)
        lines.append(f"    on clusters that outlive the run: {names}")
    if check.requires:
        lines.append(f"    requires: {', '.join(feature.value for feature in check.requires)}")
    if check.explained_by:
        lines.append(f"    explained by: {', '.join(check.explained_by)}")
    return [*lines, f"    {check.spec_url}"]


def _steps(settings: Settings, carried_out: Iterable[Check]) -> list[str]:
    if settings.replay:
        return [f"read the snapshot in {settings.replay}", "judge the static checks"]
    names = ", ".join(cluster.name for cluster in settings.spec)
    if settings.disposable:
        topology = settings.known_topology
        page = topology.documentation if topology else "its documentation"
        of = f" of Kubernetes {settings.kubernetes}" if settings.kubernetes else ""
        istio = f"Istio {settings.istio}".strip()
        build = f"build the clusters {names}{of} and install {istio} on them"
        first = [build, f"join them, as in {page}"]
    elif settings.provider == ATTACH:
        first = [f"read the mesh on {names}"]
    else:
        first = [f'let the provider "{settings.provider}" give the clusters {names}']
    if _reads_only(settings):
        return [*first, RECORDING, "judge the static checks on it, write the certificate"]
    kinds = {check.kind for check in carried_out}
    live = ", then send traffic for the live ones" if Kind.LIVE in kinds else ""
    faults = ", then break and heal for the fault ones" if Kind.FAULT in kinds else ""
    return [
        *first,
        _probes(settings),
        RECORDING,
        f"judge the static checks on it{live}{faults}",
        "remove what was made, write the certificate",
    ]


def _carried_out(settings: Settings, selected: Collection[str] | None) -> list[Check]:
    return [
        check
        for check in catalogue.known_checks().values()
        if settings.selects(check)
        and not settings.standing(check).obstacle
        and (selected is None or check.id in selected)
    ]


def _reads_only(settings: Settings) -> bool:
    return settings.reads_only(catalogue.known_checks().values())


def _privileges(settings: Settings, carried_out: Iterable[Check]) -> Privileges:
    return privileges(
        carried_out,
        reads_only=_reads_only(settings),
        may_disrupt=settings.may_disrupt,
        prepared=bool(settings.wishes.namespaces),
    )


def _changes(settings: Settings, carried_out: Sequence[Check]) -> list[str]:
    """What is changed that the run did not make: in plain words, then object by object."""
    if settings.replay:
        return ["nothing: no cluster is asked for anything"]
    if _reads_only(settings):
        return ["nothing: the chosen checks only read"]
    mine, lines = _privileges(settings, carried_out), list[str]()
    effects: dict[str, list[str]] = {}
    for check in carried_out:
        if check.profile is Profile.DISRUPTIVE:
            told = check.effect or "changes the mesh, and does not say what"
            effects.setdefault(told, []).append(check.id)
    for effect, ids in effects.items():
        lines += _hanging(f"{_several(ids)}: {effect}")
    written = mine.by_checks(right for right in mine if right.writes_elsewhere)
    every = tuple(right for right in mine.every_run if right.writes_elsewhere)
    for owners, rights in [(("every such run",), every), *written.items()]:
        for right in rights:
            lines += _hanging(f"{_several(owners)}: {_object(right, settings)}, to {right.why}")
    if not lines:
        own = _own(settings)
        return [f"nothing outside its own namespaces ({own})", *_after_a_kill(settings)]
    if not settings.disposable:
        lines.append("all of it is put back at the end; after a kill by the next run,")
        lines.append("or by istio-mc sweep")
    return lines


def _own(settings: Settings) -> str:
    return ", ".join(settings.wishes.namespaces) or OWN


def _after_a_kill(settings: Settings) -> list[str]:
    if settings.disposable:
        return []
    return ["but what killed runs left there is taken back"]


def _makes(settings: Settings, carried_out: Sequence[Check]) -> list[str]:
    """What is made and removed in the run's own namespaces."""
    if settings.replay or _reads_only(settings):
        return ["nothing in any cluster"]
    mine = _privileges(settings, carried_out)
    lines = [f"in its own namespaces ({_own(settings)}):"]
    base = _kinds(right for right in mine.every_run if right.where is Where.OWN)
    lines += _hanging(f"every run: {base}")
    for ids, rights in mine.by_checks(
        right for right in mine if right.writes and right.where is Where.OWN
    ).items():
        lines += _hanging(f"{_several(ids)}: {_kinds(rights)}")
    lines += _hanging(
        "runs processes in its own pods only, and tries the credential of each remote secret from "
        "one of them: it reads, and asks for its rights"
    )
    return lines


def _kinds(rights: Iterable[Right]) -> str:
    told = (
        f"{right.resource} ({right.why})" if right.resource == "pods" else right.resource
        for right in rights
        if right.writes
    )
    return ", ".join(dict.fromkeys(told))


def _object(right: Right, settings: Settings) -> str:
    place = settings.spec.istio_namespace if right.where is Where.ISTIO else right.where.value
    named = f" {', '.join(right.names)}" if right.names else ""
    verbs = [verb for verb in right.verbs if verb not in READING]
    return f"may {'/'.join(verbs)} {right.resource}{named} in {place}"


def _several(ids: Sequence[str]) -> str:
    """``MC-SUBSET-001, -002``: ids of one area after another are shortened."""
    told, last = [], ""
    for id in ids:
        area, _, number = id.rpartition("-")
        told.append(f"-{number}" if area and area == last else id)
        last = area
    return ", ".join(told)


def _hanging(text: str) -> list[str]:
    return textwrap.wrap(text, 100, subsequent_indent="  ", break_on_hyphens=False)


def _distinct(what: str, values: Iterable[str]) -> str:
    found = list(dict.fromkeys(values))
    return visible(f"{what}{'s' if len(found) > 1 else ''} {', '.join(found)}")


def _removed(settings: Settings) -> list[str]:
    if settings.replay:
        return ["nothing was made"]
    if settings.keep:
        return ["nothing (--mesh-keep); the run says at its end how to remove it"]
    if settings.disposable:
        return ["the clusters, with everything in them"]
    if _reads_only(settings):
        return ["nothing was made"]
    if names := ", ".join(settings.wishes.namespaces):
        return [f"what this run made in {names}, one by one; the namespaces stay"]
    return ["the namespaces of this run, with all that is in them"]


def _probes(settings: Settings) -> str:
    every = "probe workloads in every cluster that runs workloads"
    if settings.wishes.namespaces:
        return f"create {every}, in the prepared namespace {settings.wishes.namespaces[0]}"
    return f"create a namespace of this run with {every}"


def _titled(title: str, lines: Iterable[str]) -> list[str]:
    return [
        f"{title if number == 0 else '':<10}{visible(line)}" for number, line in enumerate(lines)
    ]
