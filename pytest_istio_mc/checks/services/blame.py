"""Blame: findings about objects, each with its line and the least change that mends it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from ... import shell
from ...errors import ObservationError
from ...shell import Remedy
from ...snapshot import Object, Snapshot, name_of, namespace_of
from ...verdicts import Finding, Verdict, Weight, not_applicable
from ..judging import Found, Gap, each, verdict_from
from ..remedies import Commands
from .view import View, plural
from .views import concerns_users, views

NONE_OF_USERS = "the mesh has no services but Kubernetes', Istio's and those of the probes"

MOST = 100
"""Findings of one weight that a verdict tells one by one."""


def shown(view: View, kind: str, item: Object, todo: str) -> Remedy:
    """A command that shows an object of a view's rules, and what to change in it."""
    commands = Commands(view.snapshot)
    return shell.with_note(commands.show(view.config.name, plural(kind), item), todo)


def patched(
    view: View, kind: str, item: Object, operations: Sequence[dict[str, Any]], note: str = ""
) -> Remedy:
    """A command that changes an object, if it still is what was seen; ``note`` tells more."""
    commands = Commands(view.snapshot)
    resource = plural(kind)
    show = commands.show(view.config.name, resource, item)
    patch = commands.patch(
        view.config.name, resource, name_of(item), list(operations), namespace_of(item)
    )
    both = shell.then(show, patch)
    return shell.with_note(both, note) if note else both


def judge(
    snapshot: Snapshot, look: Callable[[View], Iterator[Found]], passed: Callable[[], str]
) -> Verdict:
    """The verdict over the views of all control planes.

    ``look`` finds what is wrong in one; not applicable where users have no services.
    """
    found: list[Found] = []
    try:
        if not concerns_users(snapshot):
            return not_applicable(NONE_OF_USERS)
        every = views(snapshot)
    except ObservationError as error:
        return verdict_from([Gap(str(error))], "")
    found += each(every, look)
    return verdict_from(bounded(merged(found)), passed())


def merged(found: Iterable[Found]) -> list[Found]:
    """The findings, each once: what two control planes see of one object is told once."""
    kept: dict[object, Found] = {}
    for one in found:
        if isinstance(one, Gap):
            kept.setdefault(one, one)
            continue
        key = (one.fault, one.summary, one.seen)
        kept.setdefault(key, one)
    return list(kept.values())


def bounded(found: Iterable[Found]) -> Iterator[Found]:
    """At most some of each weight; how many there are besides is told in one more."""
    told = dict.fromkeys(Weight, 0)
    rest: dict[Weight, list[Finding]] = {weight: [] for weight in Weight}
    for one in found:
        if isinstance(one, Finding):
            told[one.weight] += 1
            if told[one.weight] > MOST:
                rest[one.weight].append(one)
                continue
        yield one
    for weight, more in rest.items():
        if more:
            yield Finding(
                f"{len(more)} more of the weight {weight.value}, first: {more[0].summary}",
                tuple(dict.fromkeys(name for one in more for name in one.clusters)),
                fault=more[0].fault,
                weight=weight,
            )
