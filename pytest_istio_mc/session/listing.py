"""What ``--mesh-list`` and ``--mesh-plan`` print; neither needs a cluster."""

from __future__ import annotations

from collections.abc import Iterable

from ..checks import catalogue
from ..checks.catalogue import Check, Kind, area_title
from ..evidence import terminal
from ..providers import Provider
from ..settings import ATTACH, Assignment, Settings


def list_checks() -> str:
    """Every known check with its sentence, needs, explanations and documentation."""
    checks = catalogue.known_checks()
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
    lines += ["", f"{len(checks)} checks. {kinds}."]
    return "\n".join(lines[1:] if lines and not lines[0] else lines)


def plan(assignment: Assignment, provider: Provider) -> str:
    """What a session with these settings would do, topology by topology."""
    plans = [plan_run(settings, provider) for settings in assignment.runs]
    if assignment.overall:
        plans.append(f"overall   the result of all {len(plans)} goes into {assignment.overall}")
    return "\n\n".join(plans)


def plan_run(settings: Settings, provider: Provider) -> str:
    """What a run with these settings would do, and which checks it would judge."""
    checks, spec = catalogue.known_checks(), settings.spec
    lines = [
        f"topology  {settings.topology}, {_distinct('mesh id', map(spec.mesh_id_of, spec))}, "
        + _distinct("trust domain", map(spec.trust_domain_of, spec)),
        *_titled("clusters", terminal.clusters(settings.spec)),
        f"provider  {settings.provider}: {provider.summary}",
        *_titled("steps", [f"{number}. {step}" for number, step in enumerate(_steps(settings), 1)]),
        *_titled("removed", _removed(settings)),
        f"writes    {settings.report}" + (f" and {settings.snapshot}" if settings.snapshot else ""),
        "",
    ]
    will: list[str] = []
    will_not: list[str] = []
    for check in checks.values():
        obstacle = settings.standing(check).obstacle or (
            "" if settings.selects(check.id) else "not selected by --mesh-checks"
        )
        (will_not if obstacle else will).append(
            f"  {check.id}  {check.title}" + (f"\n{'':16}{obstacle}" if obstacle else "")
        )
    lines += [f"{terminal.count(len(will), 'check')} would be judged", *will]
    lines += (
        ["", f"{terminal.count(len(will_not), 'check')} would not", *will_not] if will_not else []
    )
    return "\n".join(lines)


def _described(check: Check) -> list[str]:
    lines = [f"{check.id}  {check.profile.value}, {check.kind.value}", f"    {check.title}"]
    if check.requires:
        lines.append(f"    requires: {', '.join(feature.value for feature in check.requires)}")
    if check.explained_by:
        lines.append(f"    explained by: {', '.join(check.explained_by)}")
    return [*lines, f"    {check.spec_url}"]


def _steps(settings: Settings) -> list[str]:
    if settings.replay:
        return [f"read the snapshot in {settings.replay}", "judge the static checks"]
    names = ", ".join(cluster.name for cluster in settings.spec)
    if settings.disposable:
        topology = settings.known_topology
        page = topology.documentation if topology else "its documentation"
        build = f"build the clusters {names} and install Istio on them"
        first = [build, f"join them, as in {page}"]
    elif settings.provider == ATTACH:
        first = [f"read the mesh on {names}; nothing of it is changed"]
    else:
        first = [f'let the provider "{settings.provider}" give the clusters {names}']
    checks = [check for check in catalogue.known_checks().values() if settings.selects(check.id)]
    kinds = {check.kind for check in checks if not settings.standing(check).obstacle}
    live = ", then send traffic for the live ones" if Kind.LIVE in kinds else ""
    faults = ", then break and heal for the fault ones" if Kind.FAULT in kinds else ""
    return [
        *first,
        _probes(settings),
        (
            "record the snapshot: Kubernetes objects, istiod's and Envoy's own state, "
            "certificates; secrets redacted"
        ),
        f"judge the static checks on it{live}{faults}",
        "remove what was made, write the certificate",
    ]


def _distinct(what: str, values: Iterable[str]) -> str:
    found = list(dict.fromkeys(values))
    return f"{what}{'s' if len(found) > 1 else ''} {', '.join(found)}"


def _removed(settings: Settings) -> list[str]:
    if settings.replay:
        return ["nothing was made"]
    if settings.keep:
        return ["nothing (--mesh-keep); the run says at its end how to remove it"]
    if settings.disposable:
        return ["the clusters, with everything in them"]
    if names := ", ".join(settings.wishes.namespaces):
        return [f"what this run made in {names}, one by one; the namespaces stay"]
    return ["the namespaces of this run; your mesh stays as it was"]


def _probes(settings: Settings) -> str:
    every = "probe workloads in every cluster that runs workloads"
    if settings.wishes.namespaces:
        return f"create {every}, in the prepared namespace {settings.wishes.namespaces[0]}"
    return f"create a namespace of this run with {every}"


def _titled(title: str, lines: Iterable[str]) -> list[str]:
    return [f"{title if number == 0 else '':<10}{line}" for number, line in enumerate(lines)]
