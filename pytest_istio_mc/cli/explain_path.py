"""``istio-mc explain --from … --to …``: a request of any workload, hop by hop."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from ..errors import UsageProblem
from .shared import GOOD, UNKNOWN, WORSE, say


def add_path_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments that name a request."""
    told = "who calls: a Deployment or pod, by cluster and namespace"
    command.add_argument("--from", dest="source", metavar="CLUSTER/NAMESPACE/WORKLOAD", help=told)
    told = "what is called: cart, cart.shop or the full name (default port: its lowest)"
    command.add_argument("--to", metavar="HOST[:PORT]", help=told)
    told = "the snapshot that says it: a folder that --mesh-snapshot wrote; nothing is sent"
    command.add_argument("--replay", type=Path, metavar="DIR", help=told)


def explain_path(parsed: argparse.Namespace) -> int:
    """Explain the request; good where every way is, worse where a hop is broken."""
    from ..checks.tracing.explained import explain
    from ..snapshot import Snapshot

    for flag, value in (
        ("--from", parsed.source),
        ("--to", parsed.to),
        ("--replay", parsed.replay),
    ):
        if not value:
            advice = "istio-mc explain --from east/web/front --to cart.shop:80 --replay DIR"
            raise UsageProblem(f"explain {flag}", "is missing", advice=advice)
    caller, (host, port) = _caller(parsed.source), _target(parsed.to)
    found = explain(Snapshot.load(parsed.replay), caller, host, port)
    if parsed.json:
        print(json.dumps(found.to_dict(), indent=2, ensure_ascii=False))
    else:
        for line in found.lines():
            say(line)
    if found.broken:
        return WORSE
    return UNKNOWN if found.unknown else GOOD


def _caller(text: str) -> Any:
    from ..checks.tracing.call import Caller

    parts = text.split("/")
    if len(parts) != 3 or not all(parts):
        advice = "write cluster, namespace and workload: east/web/front"
        raise UsageProblem("--from", f'"{text}" is not CLUSTER/NAMESPACE/WORKLOAD', advice=advice)
    return Caller(*parts)


def _target(text: str) -> tuple[str, int]:
    host, colon, port = text.partition(":")
    if not host or (colon and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536)):
        advice = "write a host, and a port behind a colon: cart.shop:80"
        raise UsageProblem("--to", f'"{text}" is not HOST[:PORT]', advice=advice)
    return host, int(port or 0)
