"""Admitted: whether authorisation policies let a caller in, as far as objects say so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ...snapshot import Object
from ..judging import names
from ..services.authorisation import Policies
from ..services.pods import Pod
from ..services.view import POLICY
from .call import Call


@dataclass(frozen=True)
class Admission:
    """Whether a caller is let in (None: not known), why, and the policy that decides."""

    admitted: bool | None
    why: str
    item: Object | None = None


def admission(policies: Policies, call: Call, server: Pod) -> Admission:
    """What the policies on a pod say of a call.

    Istio, "Authorization Policy": CUSTOM, then DENY, then ALLOW.
    """
    holder = policies.view
    custom = policies.of(server.namespace, server.labels, "CUSTOM")
    unsure = [holder.where(POLICY, one) for one in custom]
    for item in policies.of(server.namespace, server.labels, "DENY"):
        for place, rule in enumerate(item["spec"].get("rules") or ()):
            met = _meets(policies, call, rule)
            if met:
                why = f"{holder.where(POLICY, item)} denies it: spec.rules[{place}]"
                return Admission(False, why, item)
            if met is None:
                unsure.append(holder.where(POLICY, item))
    allowing = policies.of(server.namespace, server.labels, "ALLOW")
    rules = [rule for item in allowing for rule in item["spec"].get("rules") or ()]
    answers = [_meets(policies, call, rule) for rule in rules]
    where = names(holder.where(POLICY, one) for one in allowing)
    if allowing and not any(one is None or one for one in answers):
        return Admission(False, f"{where} lets others in only", allowing[0])
    if unsure or (allowing and not any(answers)):
        told = names(dict.fromkeys((*unsure, *(() if any(answers) else (where,)))))
        return Admission(None, f"{told}: it depends on more than objects say")
    return Admission(True, f"{where} lets it in" if allowing else "no policy on the pods")


def _meets(policies: Policies, call: Call, rule: Mapping[str, Any]) -> bool | None:
    sources = [_source(policies, call, one.get("source") or {}) for one in rule.get("from") or ()]
    operations = [
        _operation(policies, call, one.get("operation") or {}) for one in rule.get("to") or ()
    ]
    parts = [_any(one) for one in (sources, operations) if one]
    return _all([*parts, *([None] if rule.get("when") else [])])


def _any(found: Iterable[bool | None]) -> bool | None:
    every = list(found)
    return True if True in every else None if None in every else False


def _all(found: Iterable[bool | None]) -> bool | None:
    every = list(found)
    return False if False in every else None if None in every else True


def _source(policies: Policies, call: Call, source: Mapping[str, Any]) -> bool | None:
    parts: list[bool | None] = []
    for key, opposite, look in (
        ("principals", "notPrincipals", _principal),
        ("namespaces", "notNamespaces", _namespace),
    ):
        if named := source.get(key):
            parts.append(_any(look(policies, call, one) for one in named))
        if named := source.get(opposite):
            met = _any(look(policies, call, one) for one in named)
            parts.append(None if met is None else not met)
    known = {"principals", "notPrincipals", "namespaces", "notNamespaces"}
    return _all([*parts, *([None] if source.keys() - known else [])])


def _like(pattern: str, text: str) -> bool:
    if pattern == "*":
        return bool(text)
    if pattern.startswith("*"):
        return text.endswith(pattern[1:])
    return text.startswith(pattern[:-1]) if pattern.endswith("*") else text == pattern


def _namespace(policies: Policies, call: Call, pattern: str) -> bool | None:
    return _like(pattern, call.caller.namespace)


def _principal(policies: Policies, call: Call, pattern: str) -> bool | None:
    """Whether the caller may have an identity; mostly its service account was not recorded."""
    if pattern == "*":
        return True
    domain, _, rest = pattern.partition("/ns/")
    if pattern.startswith("spiffe://"):
        return False
    if not rest or "*" in pattern:
        return None
    if domain not in policies.domains or rest.partition("/")[0] != call.caller.namespace:
        return False
    account = rest.partition("/sa/")[2]
    return account == call.account if call.account else None


def _operation(policies: Policies, call: Call, operation: Mapping[str, Any]) -> bool | None:
    parts: list[bool | None] = []
    if ports := operation.get("ports"):
        listening = {str(number) for number in call.target_ports}
        parts.append(bool(listening & set(ports)) if listening else None)
    return _all([*parts, *([None] if operation.keys() - {"ports"} else [])])
