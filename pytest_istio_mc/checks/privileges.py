"""Privileges: all that a run with certain checks does in clusters, with who does it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from ..rights import JOURNAL, PRECHECK, PREPARED, PROBES, SNAPSHOT, Right
from .catalogue import Check


@dataclass(frozen=True)
class Privileges:
    """What every run with these checks does, and each check besides, by its id."""

    every_run: tuple[Right, ...]
    by_check: Mapping[str, tuple[Right, ...]] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Right]:
        checks = (right for rights in self.by_check.values() for right in rights)
        return iter(dict.fromkeys((*self.every_run, *checks)))

    def by_checks(self, wanted: Iterable[Right]) -> dict[tuple[str, ...], tuple[Right, ...]]:
        """Those of the ``wanted`` rights that checks have, by the checks that have the same."""
        chosen, grouped = frozenset(wanted), dict[tuple[Right, ...], list[str]]()
        for id, rights in self.by_check.items():
            if mine := tuple(right for right in rights if right in chosen):
                grouped.setdefault(mine, []).append(id)
        return {tuple(ids): rights for rights, ids in grouped.items()}


def privileges(
    checks: Iterable[Check],
    *,
    reads_only: bool = False,
    may_disrupt: bool = False,
    prepared: bool = False,
    for_upgrade: bool = False,
) -> Privileges:
    """The privileges of a run that carries out these checks.

    - ``reads_only``: it has no probes, and judges the snapshot alone.
    - ``may_disrupt``: it may touch more than namespaces of its own.
    - ``for_upgrade``: it reads what the precheck of an upgrade needs, besides.
    - ``prepared``: its own namespaces are somebody else's, who has prepared them.
    """
    if reads_only:
        return Privileges((*SNAPSHOT, *PRECHECK) if for_upgrade else SNAPSHOT)
    every_run = (*SNAPSHOT, *PROBES)
    every_run += PREPARED if prepared else ()
    every_run += JOURNAL if may_disrupt else ()
    by_check = {check.id: check.rights(may_disrupt=may_disrupt) for check in checks}
    return Privileges(every_run, {id: rights for id, rights in by_check.items() if rights})
