"""``istio-mc``: labs that stay, sweeping, snapshots and comparisons from the command line."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from .errors import MeshError, UsageProblem
from .eventually import Timeouts
from .progress import Progress

GOOD, WORSE, USAGE, UNKNOWN = 0, 1, 2, 3
"""Exit codes: good, not conformant or worse, wrong usage, could not find out."""

DEFAULT_TOPOLOGY = "multi-network-multi-primary"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    parsed = _parser().parse_args(arguments)
    try:
        return int(parsed.run(parsed))
    except UsageProblem as problem:
        print(f"istio-mc: {problem}", file=sys.stderr)
        return USAGE
    except MeshError as error:
        print(f"istio-mc: {error}", file=sys.stderr)
        return UNKNOWN
    except KeyboardInterrupt:
        print("istio-mc: interrupted; what was begun has been taken down", file=sys.stderr)
        return UNKNOWN
    except BrokenPipeError:
        return GOOD
    except OSError as error:
        print(f"istio-mc: cannot go on: {error}", file=sys.stderr)
        return UNKNOWN


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="istio-mc",
        description="Labs, snapshots and certificates of Istio multi-cluster meshes. The checks themselves run in pytest: "
        "pytest --pyargs pytest_istio_mc.suites --mesh-topology=NAME",
        epilog="Exit codes: 0 good, 1 not conformant or worse, 2 wrong usage, 3 could not find out.",
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _lab_parser(commands)
    command = commands.add_parser(
        "checks",
        help="print every known check: id, sentence, profile, kind, requirements, documentation",
    )
    command.add_argument("--json", action="store_true", help="print JSON")
    command.set_defaults(run=_checks)
    command = commands.add_parser(
        "compare",
        help="compare two certificates in meaning; exit code 1 when the newer one is worse",
    )
    command.add_argument("old", type=Path)
    command.add_argument("new", type=Path)
    command.set_defaults(run=_compare)
    command = commands.add_parser(
        "sweep", help="clear what killed labs and runs have left behind on this machine"
    )
    command.add_argument("--dry-run", action="store_true", help="only say what is there")
    command.add_argument(
        "--kubeconfig",
        help="also look for namespaces of dead runs in the clusters of this kubeconfig",
    )
    command.set_defaults(run=_sweep)
    return parser


def _lab_parser(commands: Any) -> None:
    lab = commands.add_parser(
        "lab", help="real clusters with a real Istio on this machine, without a container engine"
    )
    actions = lab.add_subparsers(title="actions", required=True, metavar="ACTION")
    up = actions.add_parser(
        "up", help="start a mesh that stays until `lab down`, and print how to reach it"
    )
    up.add_argument(
        "--topology",
        default=None,
        help=f"the topology (default: {DEFAULT_TOPOLOGY}, or the one in --spec)",
    )
    up.add_argument("--name", required=True, help="the lab's name")
    up.add_argument(
        "--spec",
        type=Path,
        help="the mesh spec file (default: the topology's own, with two clusters)",
    )
    up.add_argument("--clusters", type=int, help="how many clusters, instead of --spec")
    up.add_argument(
        "--json",
        action="store_true",
        help="print the result as JSON on standard output, progress on standard error",
    )
    up.set_defaults(run=_up)
    down = actions.add_parser("down", help="end a lab and remove all of it")
    down.add_argument("--name", required=True)
    down.set_defaults(run=_down)
    listing = actions.add_parser("list", help="the labs that run")
    listing.add_argument("--json", action="store_true", help="print JSON")
    listing.set_defaults(run=_list)
    actions.add_parser(
        "doctor", help="examine what a lab needs from this machine, one line and one fix each"
    ).set_defaults(run=_doctor)
    actions.add_parser(
        "build", help="build the lab's binaries and images now instead of in the first run"
    ).set_defaults(run=_build)


def _progress() -> Progress:
    return Progress(lambda line: print(line, file=sys.stderr, flush=True))


def _up(parsed: argparse.Namespace) -> int:
    from .providers.lab import bring_up

    spec = _lab_spec(parsed)
    # Until all of it is up the lab belongs to this process, so that interrupting or killing it leaves no half of a mesh behind.
    with bring_up(spec, parsed.name, Timeouts(), _progress()) as (running, mesh):
        spec_file = running.plan.home / "mesh-spec.yaml"
        spec_file.write_text(_yaml(mesh.spec.to_dict()))
        running.detach()
    result = {
        "name": parsed.name,
        "topology": spec.topology,
        "kubeconfig": str(running.kubeconfig),
        "meshSpec": str(spec_file),
        "contexts": {cluster.name: cluster.context for cluster in mesh.spec},
        "versions": {cluster: dict(versions) for cluster, versions in mesh.versions.items()},
    }
    if parsed.json:
        print(json.dumps(result, indent=2))
    else:
        print(f"lab {parsed.name} is up: {spec.topology}, clusters {', '.join(result['contexts'])}")
        print(f"  export KUBECONFIG={running.kubeconfig}")
        print(
            f"  pytest --pyargs pytest_istio_mc.suites --mesh-topology={spec.topology} --mesh-provider=attach --mesh-spec={spec_file}"
        )
        print(f"  istio-mc lab down --name {parsed.name}")
    return GOOD


def _lab_spec(parsed: argparse.Namespace) -> Any:
    from . import topologies
    from .spec import MeshSpec

    known = topologies.known()
    if parsed.spec and parsed.clusters is not None:
        raise UsageProblem(
            "istio-mc lab up",
            "--spec and --clusters exclude each other",
            advice="the spec lists its clusters",
        )
    if parsed.spec:
        spec = MeshSpec.from_dict(_document(parsed.spec), f"--spec {parsed.spec}")
        if parsed.topology not in (None, spec.topology):
            raise UsageProblem(
                f"--spec {parsed.spec}",
                f'describes "{spec.topology}"',
                advice=f"leave out --topology {parsed.topology}",
            )
        name = spec.topology
    else:
        spec, name = None, parsed.topology or DEFAULT_TOPOLOGY
    if name not in known:
        raise UsageProblem(
            "--topology",
            f'no topology is called "{name}"',
            advice=f"known: {', '.join(sorted(known))}",
        )
    if spec is None:
        spec = (
            known[name].default_spec()
            if parsed.clusters is None
            else known[name].default_spec(parsed.clusters)
        )
    known[name].check(spec)
    return spec


def _document(path: Path) -> Any:
    import yaml

    try:
        return yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageProblem(
            str(path), "cannot be read", str(error), advice="give a YAML or JSON file"
        ) from error


def _yaml(document: dict[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(document, sort_keys=False)


def _down(parsed: argparse.Namespace) -> int:
    from .lab import lab

    lab.find(parsed.name).stop()
    print(f"lab {parsed.name} is gone")
    return GOOD


def _list(parsed: argparse.Namespace) -> int:
    from .lab import lab

    rows: list[dict[str, Any]] = [
        {
            "name": running.plan.name,
            "clusters": [node.name for node in running.plan.nodes],
            "kubeconfig": str(running.kubeconfig),
            "detached": running.plan.detached,
        }
        for running in lab.running()
    ]
    if parsed.json:
        print(json.dumps(rows, indent=2))
    elif not rows:
        print("no lab runs")
    else:
        for row in rows:
            print(
                f"{row['name']}: clusters {', '.join(row['clusters'])}; KUBECONFIG={row['kubeconfig']}"
            )
    return GOOD


def _doctor(parsed: argparse.Namespace) -> int:
    from .lab import doctor

    examined = doctor.examine()
    for item in examined:
        print(
            f"{'ok  ' if item.good else 'BAD '} {item.name}: {item.seen}"
            + ("" if item.good else f"\n      fix: {item.fix}")
        )
    return GOOD if all(item.good for item in examined) else WORSE


def _build(parsed: argparse.Namespace) -> int:
    from .lab.binaries import toolchain

    tools = toolchain.ensure(_progress())
    print(f"built: {tools.home}")
    return GOOD


def _checks(parsed: argparse.Namespace) -> int:
    from .checks.catalogue import known_checks

    checks = known_checks().values()
    if parsed.json:
        rows = [
            {
                "id": check.id,
                "title": check.title,
                "profile": check.profile.value,
                "kind": check.kind.value,
                "requires": [feature.value for feature in check.requires],
                "specUrl": check.spec_url,
                "explainedBy": list(check.explained_by),
            }
            for check in checks
        ]
        print(json.dumps(rows, indent=2))
    else:
        for check in checks:
            needs = (
                "; needs " + ", ".join(feature.value for feature in check.requires)
                if check.requires
                else ""
            )
            print(
                f"{check.id}  {check.title}\n    {check.profile.value}, {check.kind.value}{needs}; {check.spec_url}"
            )
    return GOOD


def _compare(parsed: argparse.Namespace) -> int:
    from .evidence.compare import compare, worse
    from .evidence.summary import certificates

    try:
        old, new = certificates(parsed.old), certificates(parsed.new)
    except MeshError as error:
        raise UsageProblem(error.thing, error.step, error.detail, advice=error.advice) from error
    if len(old) == len(new) == 1:
        pairs = {"": (next(iter(old.values())), next(iter(new.values())))}
    else:
        pairs = {
            f"{topology}: ": (old[topology], new[topology]) for topology in old if topology in new
        }
    gone = [topology for topology in old if pairs.keys() != {""} and topology not in new]
    differences = {prefix: compare(*pair) for prefix, pair in pairs.items()}
    for prefix, found in differences.items():
        for difference in found:
            print(f"{prefix}{difference}")
    for topology in gone:
        print(f"{topology}: no longer certified")
    if not gone and not any(differences.values()):
        print("no difference in meaning")
    return WORSE if gone or any(worse(found) for found in differences.values()) else GOOD


def _sweep(parsed: argparse.Namespace) -> int:
    from .lab.leftovers import sweep

    contexts = _contexts(parsed.kubeconfig) if parsed.kubeconfig else []
    found: list[object] = list(sweep(dry_run=parsed.dry_run))
    problems: list[MeshError] = []
    for context in contexts:
        try:
            found += _sweep_cluster(parsed.kubeconfig, context, dry_run=parsed.dry_run)
        except MeshError as error:
            problems.append(error)
    for item in found:
        print(f"{'would remove' if parsed.dry_run else 'removed'}: {item}")
    for problem in problems:
        print(f"istio-mc: {problem}", file=sys.stderr)
    if not found and not problems:
        print("nothing is left behind")
    return UNKNOWN if problems else GOOD


def _contexts(kubeconfig: str) -> list[str]:
    document = _document(Path(kubeconfig))
    entries = document.get("contexts") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise UsageProblem(
            f"--kubeconfig {kubeconfig}", "is not a kubeconfig", "it has no list of contexts"
        )
    return [str(entry["name"]) for entry in entries if isinstance(entry, dict) and "name" in entry]


def _sweep_cluster(kubeconfig: str, context: str, *, dry_run: bool) -> list[object]:
    """Remove the namespaces of dead runs in one cluster, and take back what else they did. Those of runs that may go on, here or
    elsewhere, are only told of."""
    from .faults.leftovers import leftover_objects
    from .kube import Kube
    from .probes.leftovers import leftovers

    found: list[object] = []
    with closing(Kube(context, kubeconfig, context)) as kube:
        for leftover in leftovers(kube):
            name = f"namespace {leftover.namespace} of run {leftover.run_id} in context {context}"
            if not leftover.owner_is_dead:
                whose = (
                    f"{leftover.owner} may still be at work" if leftover.owner else "it was kept"
                )
                remove = f"kubectl --kubeconfig={kubeconfig} --context={context} delete namespace {leftover.namespace}"
                print(f"left alone: {name}: {whose}; to remove it: {remove}")
                continue
            if not dry_run:
                kube.delete("Namespace", leftover.namespace)
            found.append(name)
        for stray in leftover_objects(kube):
            if not stray.left.owner_is_dead:
                print(
                    f"left alone: {stray} in context {context}: {stray.left.owner} may still be at work"
                )
                continue
            if not dry_run:
                stray.take_back(kube)
            found.append(f"{stray} in context {context}")
    return found


if __name__ == "__main__":
    sys.exit(main())
