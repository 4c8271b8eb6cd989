"""``istio-mc``: labs that stay, sweeping and comparisons from the command line."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import MeshError, UsageProblem
from .eventually import Timeouts
from .progress import Progress

if TYPE_CHECKING:
    from .spec import MeshSpec
    from .topologies import Topology

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
        description="Labs, snapshots and certificates of Istio multi-cluster meshes. "
        "The checks themselves run in pytest: "
        "pytest --pyargs pytest_istio_mc.suites --mesh-topology=NAME",
        epilog="Exit codes: 0 good, 1 not conformant or worse, 2 wrong usage, "
        "3 could not find out.",
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _lab_parser(commands)
    told = "print every known check: id, sentence, profile, kind, requirements, documentation"
    command = commands.add_parser("checks", help=told)
    command.add_argument("--json", action="store_true", help="print JSON")
    command.set_defaults(run=_checks)
    told = "compare two certificates in meaning; exit code 1 when the newer one is worse"
    command = commands.add_parser("compare", help=told)
    command.add_argument("old", type=Path)
    command.add_argument("new", type=Path)
    command.set_defaults(run=_compare)
    told = "clear what killed labs and runs have left behind on this machine"
    command = commands.add_parser("sweep", help=told)
    command.add_argument("--dry-run", action="store_true", help="only say what is there")
    told = "also look for namespaces of dead runs in the clusters of this kubeconfig"
    command.add_argument("--kubeconfig", help=told)
    command.set_defaults(run=_sweep)
    told = "list the pages of the documentation, or print one of them"
    command = commands.add_parser("docs", help=told)
    told = "a page or file, such as attach.md or attach-clusterrole.yaml"
    command.add_argument("page", nargs="?", help=told)
    command.set_defaults(run=_docs)
    return parser


def _lab_parser(commands: Any) -> None:
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
    actions.add_parser("doctor", help=told).set_defaults(run=_doctor)
    told = "build the lab's binaries and images now instead of in the first run"
    actions.add_parser("build", help=told).set_defaults(run=_build)


def _docs(parsed: argparse.Namespace) -> int:
    package = Path(__file__).parent
    shipped, checkout = package / "docs", package.parent / "docs"
    folder = shipped if shipped.is_dir() else checkout
    pages = {file.name: file for file in sorted(folder.iterdir()) if file.suffix != ".svg"}
    if parsed.page is None:
        for name, file in pages.items():
            print(
                f"{name:<24} {file.read_text(encoding='utf-8').partition(chr(10))[0].strip('# ')}"
            )
        print(f"\nin {folder}; istio-mc docs PAGE prints one")
        return GOOD
    if parsed.page not in pages:
        known = ", ".join(pages)
        raise UsageProblem(parsed.page, "is no page of the documentation", advice=f"one of {known}")
    print(pages[parsed.page].read_text(encoding="utf-8"), end="")
    return GOOD


def _progress() -> Progress:
    return Progress(lambda line: print(line, file=sys.stderr, flush=True))


def _up(parsed: argparse.Namespace) -> int:
    from .providers.lab import bring_up
    from .spec_file import document_of

    topology, spec = _wanted(parsed)
    # Until all is up the lab belongs to this process: killing the process leaves no half of a mesh.
    with bring_up(topology, spec, parsed.name, Timeouts(), _progress()) as (running, mesh):
        spec_file = running.plan.home / "mesh-spec.yaml"
        spec_file.write_text(_yaml(document_of(mesh.spec)))
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
        options = f"--mesh-topology={spec.topology} --mesh-provider=attach --mesh-spec={spec_file}"
        print(f"lab {parsed.name} is up: {spec.topology}, clusters {', '.join(result['contexts'])}")
        print(f"  export KUBECONFIG={running.kubeconfig}")
        print(f"  pytest --pyargs pytest_istio_mc.suites {options}")
        print(f"  istio-mc lab down --name {parsed.name}")
    return GOOD


def _wanted(parsed: argparse.Namespace) -> tuple[Topology, MeshSpec]:
    """The topology and the spec of the lab that is asked for."""
    from . import topologies
    from .spec_file import spec_of

    known = topologies.known()
    spec, name = None, parsed.topology or DEFAULT_TOPOLOGY
    if parsed.spec and parsed.clusters is not None:
        raise UsageProblem(
            "istio-mc lab up",
            "--spec and --clusters exclude each other",
            advice="the spec lists its clusters",
        )
    if parsed.spec:
        spec = spec_of(_document(parsed.spec), f"--spec {parsed.spec}")
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


def _document(path: Path) -> Any:
    import yaml

    try:
        return yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        advice = "give a YAML or JSON file"
        raise UsageProblem(str(path), "cannot be read", str(error), advice=advice) from error


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
        return GOOD
    for row in rows:
        names = ", ".join(row["clusters"])
        print(f"{row['name']}: clusters {names}; KUBECONFIG={row['kubeconfig']}")
    if not rows:
        print("no lab runs")
    return GOOD


def _doctor(parsed: argparse.Namespace) -> int:
    from .lab import doctor

    examined = doctor.examine()
    for item in examined:
        print(f"{'ok  ' if item.good else 'BAD '} {item.name}: {item.seen}")
        if not item.good:
            print(f"      fix: {item.fix}")
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
        return GOOD
    for check in checks:
        features = ", ".join(feature.value for feature in check.requires)
        kind = f"{check.profile.value}, {check.kind.value}"
        print(f"{check.id}  {check.title}")
        print(f"    {kind}{'; needs ' if features else ''}{features}; {check.spec_url}")
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
        pairs = {f"{name}: ": (old[name], new[name]) for name in old if name in new}
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
        why = "it has no list of contexts"
        raise UsageProblem(f"--kubeconfig {kubeconfig}", "is not a kubeconfig", why)
    return [str(entry["name"]) for entry in entries if isinstance(entry, dict) and "name" in entry]


def _sweep_cluster(kubeconfig: str, context: str, *, dry_run: bool) -> list[object]:
    """Remove what dead runs left in one cluster: namespaces and other changes.

    Those of runs that may go on, here or elsewhere, are only told of.
    """
    from .faults.leftovers import leftover_objects
    from .kube import Kube
    from .probes.leftovers import leftovers

    found: list[object] = []
    with closing(Kube(context, kubeconfig, context)) as kube:
        for leftover in leftovers(kube):
            namespace, owner = leftover.namespace, leftover.owner
            name = f"namespace {namespace} of run {leftover.run_id} in context {context}"
            if not leftover.owner_is_dead:
                whose = f"{owner} may still be at work" if owner else "it was kept"
                where = f"--kubeconfig={kubeconfig} --context={context}"
                remove = f"kubectl {where} delete namespace {namespace}"
                print(f"left alone: {name}: {whose}; to remove it: {remove}")
                continue
            if not dry_run:
                kube.delete("Namespace", namespace)
            found.append(name)
        for item in leftover_objects(kube):
            name = f"{item} in context {context}"
            if not item.left.owner_is_dead:
                print(f"left alone: {name}: {item.left.owner} may still be at work")
                continue
            if not dry_run:
                item.take_back(kube)
            found.append(name)
    return found


if __name__ == "__main__":
    sys.exit(main())
