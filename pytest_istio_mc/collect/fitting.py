"""Fitting: what clusters answered is recorded only in shapes that a snapshot can hold.

Anything else, which no known API sends, becomes a failure, so that its checks could not find out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import GenericAlias
from typing import Any, TypeVar

from ..errors import KubeError
from ..plain import Misfit, from_json, to_plain
from ..recorded import AccessFacts, Failure, IstiodFacts, ProxyFacts, SecretFacts
from ..redact import scrub
from ..shapes import ENDPOINTS, KINDS
from ..snapshot import ClusterSnapshot

T = TypeVar("T")

_UNKNOWN = "is of a shape that this version does not know"


def fitted(cluster: ClusterSnapshot) -> ClusterSnapshot:
    """The cluster as its snapshot can be read again; what does not fit is a failure."""
    failures = list(cluster.failures)
    secrets = cluster.secrets
    if why := _misfit(list[SecretFacts], secrets):
        failures.append(Failure("list Secret", why))
        secrets = ()
    return replace(
        cluster,
        secrets=secrets,
        istiods=_named(map(_istiod, cluster.istiods)),
        proxies=_named(map(_proxy, cluster.proxies)),
        access=_named(map(_access, cluster.access)),
        failures=tuple(failures),
    )


def known(kind: str, found: list[T]) -> list[T]:
    """Trimmed objects of a kind; ``KubeError`` where they are not of its known shape."""
    if why := _misfit(GenericAlias(list, (KINDS[kind],)), found):
        raise KubeError(f"list of {kind}", why)
    return found


@contextmanager
def of_known_shape(what: str) -> Iterator[None]:
    """Turn what stumbles over an unknown shape into a ``KubeError``."""
    try:
        yield
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise KubeError(what, _UNKNOWN, type(error).__name__) from error


def _misfit(kind: Any, value: Any) -> str:
    """Why a value could not be read from a file again; else empty."""
    try:
        from_json(kind, json.dumps(scrub(to_plain(value))).encode())
    except Misfit as error:
        return f"{_UNKNOWN}: {error}"
    return ""


def _named(entries: Iterable[T]) -> tuple[T, ...]:
    """Those whose own names fit; the list that named the others has failed already."""
    return tuple(entry for entry in entries if not _misfit(type(entry), entry))


def _istiod(istiod: IstiodFacts) -> IstiodFacts:
    wrong = {
        name: why
        for name, answer in istiod.debug.items()
        if (why := _misfit(ENDPOINTS[name], [] if answer is None else answer))
    }
    failures = (*istiod.failures, *(Failure(name, why) for name, why in wrong.items()))
    debug = {name: answer for name, answer in istiod.debug.items() if name not in wrong}
    return replace(istiod, debug=debug, failures=failures)


def _proxy(proxy: ProxyFacts) -> ProxyFacts:
    if why := _misfit(ProxyFacts, proxy):
        failure = Failure("/config_dump", why)
        return ProxyFacts(proxy.namespace, proxy.pod, proxy.kind, failures=(failure,))
    return proxy


def _access(access: AccessFacts) -> AccessFacts:
    if why := _misfit(AccessFacts, access):
        return AccessFacts(access.namespace, access.secret, access.key, unprobed=why)
    return access
