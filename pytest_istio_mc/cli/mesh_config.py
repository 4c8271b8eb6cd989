"""``istio-mc mesh-config``: change a mesh configuration between two commands of kubectl.

Snapshots hold only a part of it, so that what mends it must begin with the whole, read afresh.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from ..errors import UsageProblem
from .shared import GOOD

_THING = "the ConfigMap on standard input"


def add_parser(commands: Any) -> None:
    """Add the command."""
    told = (
        "change the mesh configuration in a ConfigMap: kubectl get configmap istio -o json | "
        "istio-mc mesh-config --set trustDomain=example.org | kubectl replace -f -"
    )
    command = commands.add_parser("mesh-config", help=told, description=told)
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        help="set a value, given as YAML: defaultConfig.meshId=mesh1",
    )
    command.add_argument(
        "--not-cluster-local",
        action="append",
        default=[],
        metavar="HOST",
        help="take a host out of the serviceSettings that are clusterLocal",
    )
    command.set_defaults(run=_run)


def _run(parsed: argparse.Namespace) -> int:
    changed = change(sys.stdin.read(), parsed.set, parsed.not_cluster_local)
    print(json.dumps(changed))
    return GOOD


def change(text: str, settings: list[str], not_cluster_local: list[str]) -> dict[str, Any]:
    """The ConfigMap with its mesh configuration changed, all else as it was.

    It keeps its resource version: where somebody has changed it meanwhile, it is not replaced.
    """
    import yaml

    try:
        item = json.loads(text)
        mesh = yaml.safe_load(item["data"]["mesh"]) or {}
        assert isinstance(mesh, dict)
    except Exception as error:
        advice = "pipe into it what kubectl get configmap istio -n istio-system -o json prints"
        raise UsageProblem(_THING, "has no mesh configuration", advice=advice) from error
    for setting in settings:
        path, equals, value = setting.partition("=")
        if not equals or not all(path.split(".")):
            raise UsageProblem(f"--set {setting}", "is not PATH=VALUE")
        try:
            _set(mesh, path.split("."), yaml.safe_load(value))
        except yaml.YAMLError as error:
            raise UsageProblem(f"--set {path}", "has a value that is not YAML") from error
    for host in not_cluster_local:
        _share(mesh, host)
    item["data"]["mesh"] = yaml.safe_dump(mesh)
    return dict(item)


def _set(mesh: dict[str, Any], path: list[str], value: Any) -> None:
    for key in path[:-1]:
        inner = mesh.get(key)
        mesh[key] = inner if isinstance(inner, dict) else {}
        mesh = mesh[key]
    mesh[path[-1]] = value


def _share(mesh: dict[str, Any], host: str) -> None:
    """Take one cluster-local host out of a mesh configuration."""
    kept = []
    for entry in mesh.get("serviceSettings") or []:
        local = (entry.get("settings") or {}).get("clusterLocal")
        hosts = [one for one in entry.get("hosts") or () if one != host or not local]
        if hosts:
            kept.append({**entry, "hosts": hosts})
    mesh["serviceSettings"] = kept
    if not kept:
        del mesh["serviceSettings"]
