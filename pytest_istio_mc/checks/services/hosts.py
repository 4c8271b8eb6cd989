"""Hosts: names of services as rules write them, and what they stand for."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any

from ...snapshot import Object, namespace_of

EVERYWHERE, HERE, NOWHERE = "*", ".", "~"
"""What ``exportTo`` says besides names of namespaces."""


def full_name(host: str, namespace: str, domain: str) -> str:
    """A host of a rule in a namespace, in full.

    Only a name without a dot is a short one (``ResolveShortnameToFQDN`` in istio/istio,
    pilot/pkg/model): ``reviews.shop`` stays as it is, and is no Service.
    """
    if not host or "." in host or "*" in host or is_ip(host):
        return host
    return f"{host}.{namespace}.svc.{domain}"


def is_ip(host: str) -> bool:
    """Whether a host is an address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def covers(pattern: str, host: str) -> bool:
    """Whether a pattern (a name, ``*`` or ``*.shop.svc.cluster.local``) covers a full name."""
    return host.endswith(pattern[1:]) if pattern.startswith("*") else pattern == host


def exported(targets: Iterable[str], own: str, namespace: str) -> bool:
    """Whether what is exported from a namespace ``own`` is seen in ``namespace``."""
    found = set(targets) or {EVERYWHERE}
    if NOWHERE in found:
        return False
    return EVERYWHERE in found or namespace in found or (HERE in found and own == namespace)


def export_of(rule: Object, default: Iterable[str] = ()) -> tuple[str, ...]:
    """The ``exportTo`` of a rule; the mesh's default, else everywhere, where it has none."""
    return tuple(rule["spec"].get("exportTo") or default or (EVERYWHERE,))


def seen_from(rule: Object, namespace: str, default: Iterable[str] = ()) -> bool:
    """Whether proxies of a namespace are told of a rule."""
    return exported(export_of(rule, default), namespace_of(rule), namespace)


def selects(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    """Whether equal labels (``{app: x}``) choose; none at all choose everything."""
    return (selector or {}).items() <= labels.items()
