"""``istio-mc rbac``: the rights that a run needs in every cluster, as RBAC manifests."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from .. import shell
from ..errors import UsageProblem
from .shared import GOOD

if TYPE_CHECKING:
    from ..checks.catalogue import Check
    from ..roles import Places, Role, Subject


def add_parser(commands: Any) -> None:
    """Add the command."""
    told = "print the rights that a run needs in every cluster, and no more: roles and bindings"
    command = commands.add_parser("rbac", help=told)
    how_much = command.add_mutually_exclusive_group()
    told = "for runs with --mesh-checks=static: only what is read, nothing is written"
    how_much.add_argument("--static", action="store_true", help=told)
    told = "for istio-mc precheck: only what is read, nothing is written"
    how_much.add_argument("--precheck", action="store_true", help=told)
    told = "for runs with --mesh-disruptive: also what its checks change"
    how_much.add_argument("--disruptive", action="store_true", help=told)
    told = "only what the checks of this topology need (default: those of all topologies)"
    command.add_argument("--topology", metavar="NAME", help=told)
    told = "the namespace of istiod (default: istio-system)"
    command.add_argument("--istio-namespace", metavar="NS", default="istio-system", help=told)
    told = "a namespace of east-west gateways (default: istiod's); may be given several times"
    command.add_argument("--gateway-namespace", metavar="NS", action="append", help=told)
    told = "a prepared namespace for the probes, else runs make theirs; may be given several times"
    command.add_argument("--mesh-namespace", metavar="NS", action="append", help=told)
    who = command.add_mutually_exclusive_group()
    who.add_argument("--user", metavar="NAME", help="bind the roles to this user")
    who.add_argument("--group", metavar="NAME", help="bind the roles to this group")
    told = "bind the roles to this service account"
    who.add_argument("--service-account", metavar="NS/NAME", help=told)
    told = "the name of the roles and bindings (default: istio-mc)"
    command.add_argument("--name", default="istio-mc", help=told)
    command.set_defaults(run=_rbac)


def _rbac(parsed: argparse.Namespace) -> int:
    from ..roles import to_yaml

    wanted = _roles(parsed, _places(parsed))
    print(to_yaml(wanted, _subject(parsed), _title(parsed)), end="")
    return GOOD


def _title(parsed: argparse.Namespace) -> str:
    what = "static run (--mesh-checks=static), which writes nothing," if parsed.static else "run"
    if parsed.precheck:
        what = "precheck of an upgrade (istio-mc precheck), which writes nothing,"
    what = "disruptive run (--mesh-disruptive)" if parsed.disruptive else what
    return (
        f"What a {what} of pytest-istio-mc needs, and no more.\n"
        f"Apply it to every cluster of the mesh: {shell.kubectl('CONTEXT', 'apply -f FILE')}"
    )


def _roles(parsed: argparse.Namespace, places: Places) -> list[Role]:
    from ..checks.catalogue import Profile
    from ..checks.privileges import privileges
    from ..roles import roles

    checks = [
        check
        for check in _checks(parsed.topology)
        # what needs more than the Kubernetes API is for labs, which have administrators
        if not check.needs and (parsed.disruptive or check.profile is not Profile.DISRUPTIVE)
    ]
    needed = privileges(
        checks,
        reads_only=parsed.static or parsed.precheck,
        for_upgrade=parsed.precheck,
        may_disrupt=parsed.disruptive,
        prepared=bool(places.prepared),
    )
    return roles(needed, places, parsed.name)


def _checks(topology: str | None) -> list[Check]:
    """The checks that apply to a topology; all without one."""
    from .. import topologies
    from ..checks.catalogue import known_checks

    checks = list(known_checks().values())
    if topology is None:
        return checks
    known = topologies.known()
    if topology not in known:
        advice = f"known: {', '.join(sorted(known))}"
        raise UsageProblem("--topology", f'no topology is called "{topology}"', advice=advice)
    features = known[topology].default_spec().features
    return [check for check in checks if set(check.requires) <= set(features)]


def _places(parsed: argparse.Namespace) -> Places:
    from ..roles import Places

    gateways = tuple(dict.fromkeys(parsed.gateway_namespace or ()))
    prepared = tuple(dict.fromkeys(parsed.mesh_namespace or ()))
    return Places(parsed.istio_namespace, gateways, prepared)


def _subject(parsed: argparse.Namespace) -> Subject | None:
    from ..roles import Subject

    if parsed.user:
        return Subject("User", parsed.user)
    if parsed.group:
        return Subject("Group", parsed.group)
    if parsed.service_account is None:
        return None
    namespace, slash, name = parsed.service_account.partition("/")
    if not (namespace and slash and name) or "/" in name:
        called = f'"{parsed.service_account}" is not NAMESPACE/NAME'
        raise UsageProblem("--service-account", called, advice="write ci/istio-mc")
    return Subject("ServiceAccount", name, namespace)
