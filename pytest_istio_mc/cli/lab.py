"""``istio-mc lab``: labs that stay."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageProblem
from ..eventually import Timeouts
from ..lab import releases
from ..shell import command
from . import lab_upgrade
from .shared import GOOD, WORSE, document, progress, say

if TYPE_CHECKING:
    from ..spec import MeshSpec
    from ..topologies import Topology

DEFAULT_TOPOLOGY = "multi-network-multi-primary"


def add_parser(commands: Any) -> None:
    """Add the command with its actions."""
    told = "real clusters with a real Istio on this machine, without a container engine"
    lab = commands.add_parser("lab", help=told)
    actions = lab.add_subparsers(title="actions", required=True, metavar="ACTION")
    told = "start a mesh that stays until `lab down`, and print how to reach it"
    up = actions.add_parser("up", help=told)
    told = f"the topology (default: {DEFAULT_TOPOLOGY}, or the one in --spec)"
    up.add_argument("--topology", help=told)
    up.add_argument("--name", required=True, help="the lab's name")
    told = "the mesh spec file (default: the topology's own, with two clusters)"
    up.add_argument("--spec", type=Path, help=told)
    up.add_argument("--clusters", type=int, help="how many clusters, instead of --spec")
    _add_versions(up)
    told = "have each API server write down every request, without bodies, and print where"
    up.add_argument("--audit", action="store_true", help=told)
    told = "print the result as JSON on standard output, progress on standard error"
    up.add_argument("--json", action="store_true", help=told)
    up.set_defaults(run=_up)
    down = actions.add_parser("down", help="end a lab and remove all of it")
    down.add_argument("--name", required=True)
    down.set_defaults(run=_down)
    listing = actions.add_parser("list", help="the labs that run")
    listing.add_argument("--json", action="store_true", help="print JSON")
    listing.set_defaults(run=_list)
    told = "examine what a lab needs from this machine, one line and one fix each"
    doctor = actions.add_parser("doctor", help=told)
    doctor.add_argument("--clusters", type=int, default=2, help="of how many clusters (default: 2)")
    doctor.add_argument("--json", action="store_true", help="print JSON")
    doctor.set_defaults(run=_doctor)
    told = "build the lab's binaries and images now instead of in the first run"
    build = actions.add_parser("build", help=told)
    _add_versions(build)
    build.set_defaults(run=_build)
    lab_upgrade.add_parser(actions)


def _add_versions(parser: argparse.ArgumentParser) -> None:
    for project, versions in (("Istio", releases.ISTIO), ("Kubernetes", releases.KUBERNETES)):
        told = f"the minor version of {project}: {' or '.join(versions)} (default: {versions[0]})"
        parser.add_argument(f"--{project.lower()}", metavar="VERSION", default="", help=told)


def _versions(parsed: argparse.Namespace) -> dict[str, str]:
    return {
        "istio": releases.known("--istio", parsed.istio, releases.ISTIO),
        "kubernetes": releases.known("--kubernetes", parsed.kubernetes, releases.KUBERNETES),
    }


def _up(parsed: argparse.Namespace) -> int:
    from ..lab import homes
    from ..providers.lab import bring_up

    topology, spec = _wanted(parsed)
    versions = _versions(parsed)
    # Until all is up the lab belongs to this process: killing the process leaves no half of a mesh.
    up = bring_up(
        topology, spec, parsed.name, Timeouts(), progress(), audited=parsed.audit, **versions
    )
    with up as (running, mesh):
        running.detach()
    spec_file = running.plan.home / homes.MESH_SPEC
    result = {
        "name": parsed.name,
        "topology": spec.topology,
        "kubeconfig": str(running.kubeconfig),
        "meshSpec": str(spec_file),
        "contexts": {cluster.name: cluster.context for cluster in mesh.spec},
        "versions": {cluster: dict(versions) for cluster, versions in mesh.versions.items()},
    }
    plan = running.plan
    if plan.audited:
        result["auditLogs"] = {node.name: str(plan.audit_log(node)) for node in plan.nodes}
    if parsed.json:
        print(json.dumps(result, indent=2))
    else:
        options = (
            f"--mesh-topology={spec.topology}",
            "--mesh-provider=attach",
            f"--mesh-spec={spec_file}",
        )
        certify = command("pytest --pyargs pytest_istio_mc.suites", *options)
        say(f"lab {parsed.name} is up: {spec.topology}, clusters {', '.join(result['contexts'])}")
        say(f"  {command('export', f'KUBECONFIG={running.kubeconfig}')}")
        say(f"  {certify}")
        say(f"  {command('istio-mc lab down --name', parsed.name)}")
        for node in plan.nodes if plan.audited else ():
            say(f"  requests to {node.name} are in {plan.audit_log(node)}")
    return GOOD


def _wanted(parsed: argparse.Namespace) -> tuple[Topology, MeshSpec]:
    """The topology and the spec of the lab that is asked for."""
    from .. import topologies
    from ..spec_file import spec_of

    known = topologies.known()
    spec, name = None, parsed.topology or DEFAULT_TOPOLOGY
    if parsed.spec and parsed.clusters is not None:
        raise UsageProblem(
            "istio-mc lab up",
            "--spec and --clusters exclude each other",
            advice="the spec lists its clusters",
        )
    if parsed.spec:
        spec = spec_of(document(parsed.spec), f"--spec {parsed.spec}")
        if parsed.topology not in (None, spec.topology):
            raise UsageProblem(
                f"--spec {parsed.spec}",
                f'describes "{spec.topology}"',
                advice=f"leave out --topology {parsed.topology}",
            )
        name = spec.topology
    if name not in known:
        raise UsageProblem(
            "--topology",
            f'no topology is called "{name}"',
            advice=f"known: {', '.join(sorted(known))}",
        )
    topology = known[name]
    spec = spec or topology.default_spec(parsed.clusters)
    topology.check(spec)
    return topology, spec


def _down(parsed: argparse.Namespace) -> int:
    from ..lab import lab

    lab.find(parsed.name).stop()
    say(f"lab {parsed.name} is gone")
    return GOOD


def _list(parsed: argparse.Namespace) -> int:
    from ..lab import lab

    rows: list[dict[str, Any]] = [
        {
            "name": running.plan.name,
            "clusters": [node.name for node in running.plan.nodes],
            "kubeconfig": str(running.kubeconfig),
            "detached": running.plan.detached,
            "istio": list(running.plan.istio),
        }
        for running in lab.running()
    ]
    if parsed.json:
        print(json.dumps(rows, indent=2))
        return GOOD
    for row in rows:
        names = ", ".join(row["clusters"])
        begun = f"; made with Istio {row['istio'][0]}" if row["istio"] else ""
        say(f"{row['name']}: clusters {names}{begun}; KUBECONFIG={row['kubeconfig']}")
    if not rows:
        say("no lab runs")
    return GOOD


def _doctor(parsed: argparse.Namespace) -> int:
    from ..lab import doctor

    if parsed.clusters < 1:
        raise UsageProblem("--clusters", f"{parsed.clusters} is no number of clusters")
    examined = doctor.examine(parsed.clusters)
    if parsed.json:
        rows = [
            {"name": one.name, "good": one.good, "seen": one.seen, "fix": one.fix}
            for one in examined
        ]
        print(json.dumps(rows, indent=2))
        return GOOD if all(item.good for item in examined) else WORSE
    for item in examined:
        tried = "?   " if item.seen.startswith("not tried") else "ok  "
        say(f"{tried if item.good else 'BAD '} {item.name}: {item.seen}")
        if not item.good:
            say(f"      fix: {item.fix}")
    return GOOD if all(item.good for item in examined) else WORSE


def _build(parsed: argparse.Namespace) -> int:
    from ..lab.binaries import editions

    tools = editions.ensure(progress(), **_versions(parsed))
    say(f"built: {tools.home}")
    for project in ("istio", "kubernetes"):
        say(f"  {project} {tools.versions[project]}")
    return GOOD
