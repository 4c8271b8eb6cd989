"""``istio-mc precheck``: what of a mesh the next version of Istio would break."""

from __future__ import annotations

import argparse
import json
import os
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageProblem
from .shared import GOOD, UNKNOWN, WORSE, progress, say

if TYPE_CHECKING:
    from ..checks.precheck import Outlook, Rule
    from ..checks.releases import Release
    from ..snapshot import Snapshot
    from ..spec import MeshSpec

_ATTACHED = ("topology", "contexts", "kubeconfig", "spec")
_WIDTH = 96


def add_parser(commands: Any) -> None:
    """Add the command."""
    told = "say what of a mesh the next version of Istio would break; reads only"
    command = commands.add_parser(
        "precheck",
        help=told,
        description="Hold a mesh against a table of rules: known-bad releases, skew, rights, "
        "CRDs, configuration that a version handles in another way, single points, unfinished "
        "rotations. Nothing is written to any cluster.",
        epilog="Exit codes: 0 nothing blocks the upgrade, 1 something does, 2 wrong usage, "
        "3 a rule could not find out.",
    )
    add = command.add_argument
    told = "the version to upgrade to: 1.31.2, or 1.31 for its newest patch release"
    add("--to", metavar="VERSION", help=told)
    add("--list", action="store_true", help="print every rule with its versions and sources")
    told = "a recorded mesh (what --snapshot or --mesh-snapshot wrote), in place of clusters"
    add("--replay", metavar="DIR", help=told)
    add("--topology", metavar="NAME", help="the topology of the mesh")
    told = "its clusters: east=prod-a,west=prod-b, names in the mesh and kubeconfig contexts"
    add("--contexts", metavar="NAME=CONTEXT,...", help=told)
    add("--kubeconfig", metavar="FILE", help="the kubeconfig (default: KUBECONFIG, ~/.kube/config)")
    add("--spec", metavar="FILE", help="a mesh spec file that describes the mesh")
    add("--snapshot", metavar="DIR", help="keep what was read in this new folder, for --replay")
    add("--json", action="store_true", help="print JSON")
    command.set_defaults(run=_precheck)


def _precheck(parsed: argparse.Namespace) -> int:
    from ..checks.precheck import RULES, precheck

    if parsed.list:
        _refuse_beside_list(parsed)
        _print_rules(RULES, as_json=parsed.json)
        return GOOD
    target = _target(parsed.to)
    snapshot = _snapshot(parsed)
    found = precheck(snapshot, target)
    if parsed.json:
        print(json.dumps(_document(found, snapshot, target), indent=2))
    else:
        for line in _lines(found, snapshot, target):
            say(line)
    return exit_code(found)


def exit_code(found: Iterable[Outlook]) -> int:
    """1 where something blocks, else 3 where a rule could not find out, else 0."""
    outlooks = list(found)
    if any(one.blocks for one in outlooks):
        return WORSE
    return UNKNOWN if any(one.gaps for one in outlooks) else GOOD


def _refuse_beside_list(parsed: argparse.Namespace) -> None:
    given = [name for name in ("to", "replay", *_ATTACHED, "snapshot") if getattr(parsed, name)]
    if given:
        step = f"reads no mesh, so --{given[0]} makes no sense beside it"
        raise UsageProblem("precheck --list", step, advice="leave one of them out")


def _target(text: str | None) -> Release:
    from ..checks.releases import release

    if not text:
        advice = "for instance --to=1.31; --list prints the rules alone"
        raise UsageProblem("precheck", "needs --to=VERSION", advice=advice)
    found = release(text, newest=True)
    if found is None:
        advice = "write a release of Istio, as 1.31 or 1.31.2"
        raise UsageProblem(f"--to={text}", "is no version of Istio", advice=advice)
    return found


def _snapshot(parsed: argparse.Namespace) -> Snapshot:
    if parsed.replay is not None:
        given = [name for name in (*_ATTACHED, "snapshot") if getattr(parsed, name)]
        if given:
            step = f"is a whole mesh, so --{given[0]} makes no sense beside it"
            raise UsageProblem("--replay", step, advice="leave one of them out")
        return _replayed(_folder("--replay", parsed.replay))
    if not parsed.topology:
        advice = "give --topology and --contexts, or --replay=DIR"
        raise UsageProblem("precheck", "does not know which mesh to look at", advice=advice)
    folder = _new_folder(parsed.snapshot)
    snapshot = recorded(_spec(parsed), declared=parsed.spec is not None)
    if folder is not None:
        try:
            snapshot.save(folder)
        except OSError as error:
            step = "cannot be written"
            raise UsageProblem(f"--snapshot {folder}", step, str(error)) from error
    return snapshot


def _replayed(folder: Path) -> Snapshot:
    from ..snapshot import Snapshot
    from ..validation.refusals import is_folder

    if not is_folder(folder):
        advice = "give one that --snapshot or --mesh-snapshot wrote"
        raise UsageProblem(f"--replay {folder}", "is not a folder", advice=advice)
    return Snapshot.load(folder)


def _folder(option: str, text: str) -> Path:
    if not text:
        raise UsageProblem(option, "is not a folder: it is empty", advice=f"write {option}=DIR")
    return Path(text)


def _new_folder(text: str | None) -> Path | None:
    if text is None:
        return None
    folder = _folder("--snapshot", text)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        step = "exists already and is not an empty folder"
        raise UsageProblem(f"--snapshot {folder}", step, advice="give a new folder")
    return folder


def _spec(parsed: argparse.Namespace) -> MeshSpec:
    from .. import topologies
    from ..settings import TYPED, Given
    from ..validation.meshes import located, wanted

    known = topologies.known()
    if parsed.topology not in known:
        step = f'no topology is called "{parsed.topology}"'
        raise UsageProblem("--topology", step, advice=f"known: {', '.join(sorted(known))}")
    given = {
        name: Given(getattr(parsed, name), TYPED, Path.cwd())
        for name in _ATTACHED
        if getattr(parsed, name)
    }
    try:
        return located(wanted(given, known), given, os.environ)
    except UsageProblem as problem:
        thing, step, detail, advice = (
            text.replace("--mesh-", "--")
            for text in (problem.thing, problem.step, problem.detail, problem.advice)
        )
        raise UsageProblem(thing, step, detail, advice=advice) from problem


def recorded(spec: MeshSpec, *, declared: bool) -> Snapshot:
    """Read the clusters of a mesh, without probes in them; nothing is written.

    ``declared``: the spec says all, so nothing is adopted from the clusters.
    """
    from ..collect import collect
    from ..eventually import Timeouts
    from ..kube.connecting import connected
    from ..providers import ProvisionRequest
    from ..providers.attach import AttachProvider

    told, timeouts = progress(), Timeouts()
    request = ProvisionRequest(spec, run_id="precheck", timeouts=timeouts, declared=declared)
    with (
        AttachProvider().provide(request, told) as mesh,
        connected(mesh.spec, timeouts) as kubes,
    ):
        return collect(mesh, told, kubes=kubes, timeouts=timeouts, for_upgrade=True)


def _document(found: Iterable[Outlook], snapshot: Snapshot, target: Release) -> dict[str, Any]:
    outlooks = list(found)
    return {
        "topology": snapshot.spec.topology,
        "recordedAt": snapshot.recorded_at,
        "to": str(target),
        "running": _running(snapshot),
        "exitCode": exit_code(outlooks),
        "rules": [
            {
                **one.rule.to_dict(),
                "standing": one.standing.value,
                "reason": one.reason,
                "findings": [finding.told for finding in one.findings],
                "gaps": list(one.gaps),
            }
            for one in outlooks
        ],
    }


def _running(snapshot: Snapshot) -> dict[str, list[str]]:
    planes = (snapshot.clusters[one.name] for one in snapshot.spec.control_planes)
    return {plane.name: sorted({one.version for one in plane.istiods}) for plane in planes}


def _lines(found: Iterable[Outlook], snapshot: Snapshot, target: Release) -> Iterator[str]:
    from ..checks.precheck import Standing

    outlooks = list(found)
    newest = ", its newest patch release" if target.newest else ""
    yield f"precheck of {snapshot.spec.topology} for Istio {target}{newest}"
    for cluster, versions in _running(snapshot).items():
        yield f"  {cluster} runs {', '.join(filter(None, versions)) or 'nobody knows what'}"
    for one in outlooks:
        if one.standing is Standing.APPLIES:
            yield from _told(one, one.rule.weight.value.upper())
    for one in outlooks:
        if one.standing is Standing.UNKNOWN:
            yield from _told(one, "COULD NOT FIND OUT")
    clear = [one.rule.id for one in outlooks if one.standing is Standing.CLEAR]
    yield ""
    yield from _wrapped(f"do not apply: {', '.join(clear) or 'none'}", "  ", "")
    blocks = sum(one.blocks for one in outlooks)
    unknown = sum(bool(one.gaps) for one in outlooks)
    applying = sum(one.standing is Standing.APPLIES for one in outlooks) - blocks
    yield (
        f"{blocks} of {len(outlooks)} rules block the upgrade, {applying} are risks or notes, "
        f"{unknown} could not find out everything"
    )


def _told(one: Outlook, heading: str) -> Iterator[str]:
    rule = one.rule
    yield ""
    yield f"{heading}  {rule.id}: {rule.title}"
    yield from _wrapped(f"effect:  {rule.effect}")
    for finding in one.findings:
        yield from _wrapped(f"found:   {finding.summary}")
        yield from _wrapped(f"seen:    {finding.seen}")
    for remedy in dict.fromkeys(finding.remedy for finding in one.findings):
        for line in remedy.splitlines():
            yield f"  remedy:  {line}"  # whole: it is to be pasted
    for gap in one.gaps:
        yield from _wrapped(f"unknown: {' '.join(gap.split())}")
    for source in rule.sources:
        yield f"  source:  {source}"


def _wrapped(text: str, later: str = "           ", first: str = "  ") -> Iterator[str]:
    options: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}
    lines = textwrap.wrap(text, _WIDTH, initial_indent=first, subsequent_indent=later, **options)
    yield from lines


def _print_rules(rules: Iterable[Rule], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps([rule.to_dict() for rule in rules], indent=2))
        return
    for rule in rules:
        say(f"{rule.id}  {rule.title}")
        for line in _wrapped(
            f"{rule.weight.value}; {rule.versions}; {rule.effect}", "    ", "    "
        ):
            say(line)
        for source in rule.sources:
            say(f"    {source}")
