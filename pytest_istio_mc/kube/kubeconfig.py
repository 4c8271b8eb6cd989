"""Kubeconfig: the cluster, user, certificates and keys of one context.

The official package merges the files; it would also load them, but leaves client keys in files,
never ends a credential plugin that hangs, and drops parts of impersonation.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

Entry = Mapping[str, Any]

# What an HTTP header's name may hold (RFC 9110, section 5.6.2), less the % that escapes the rest.
_NAME_CHARACTERS = "!#$&'*+-.^_`|~"


class Unusable(Exception):
    """A kubeconfig, or what it refers to, cannot be used; with the next move."""

    def __init__(self, detail: str, advice: str = "") -> None:
        super().__init__(detail)
        self.advice = advice


@dataclass(frozen=True, repr=False)
class Context:
    """The entries of one context; paths in them are relative to the folders."""

    name: str
    cluster: Entry
    cluster_folder: Path
    user: Entry
    user_folder: Path

    @property
    def server(self) -> str:
        """The API server's URL."""
        return str(self.cluster["server"]).rstrip("/")


def location(kubeconfig: str) -> str:
    """The file, or the list of files, that a kubeconfig option means."""
    from kubernetes.config import kube_config

    return kubeconfig or str(kube_config.KUBE_CONFIG_DEFAULT_LOCATION)


def read_context(kubeconfig: str, context: str) -> Context:
    """The entries of a context, or of the current one; :class:`Unusable` says what is missing."""
    from kubernetes.config import kube_config

    merger: Any = kube_config.KubeConfigMerger
    merged = merger(location(kubeconfig)).config
    if merged is None:
        raise Unusable(f"there is no kubeconfig at {location(kubeconfig)}")
    document = merged.value
    name = context or document.get("current-context")
    if not name:
        raise Unusable("there is no current-context")
    chosen, _ = _entry(document, "context", name)
    cluster, cluster_folder = _entry(document, "cluster", chosen.get("cluster"))
    if not isinstance(cluster.get("server"), str) or "://" not in cluster["server"]:
        raise Unusable(f'cluster "{chosen.get("cluster")}" has no server with an address')
    user: Entry = {}
    user_folder = cluster_folder
    if chosen.get("user"):
        user, user_folder = _entry(document, "user", chosen["user"])
    return Context(str(name), cluster, cluster_folder, user, user_folder)


def pem(entry: Entry, key: str, folder: Path) -> str:
    """The PEM text under ``key``-data, or in the file under ``key``; empty without both."""
    if data := entry.get(f"{key}-data"):
        try:
            return base64.b64decode("".join(str(data).split()), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise Unusable(f"{key}-data is not PEM in base64") from None
    if name := entry.get(key):
        return (folder / os.path.expanduser(str(name))).read_text()  # noqa: PTH111 - not all paths
    return ""


def impersonation(user: Entry) -> list[tuple[str, str]]:
    """The headers for ``as`` and what goes with it, as kubectl sends them.

    https://kubernetes.io/docs/reference/access-authn-authz/authentication/#user-impersonation
    """
    headers = [("Impersonate-Uid", str(user["as-uid"]))] if user.get("as-uid") else []
    headers += [("Impersonate-Group", str(group)) for group in user.get("as-groups") or ()]
    for key, values in (user.get("as-user-extra") or {}).items():
        name = f"Impersonate-Extra-{quote(str(key), safe=_NAME_CHARACTERS)}"
        headers += [(name, str(value)) for value in values or ()]
    if not user.get("as"):
        if headers:
            raise Unusable("as-uid, as-groups and as-user-extra mean nothing without as")
        return []
    headers.insert(0, ("Impersonate-User", str(user["as"])))
    for name, value in headers:
        header_value(value, name)
    return headers


def header_value(value: str, what: str) -> str:
    """The value, where an HTTP header can carry it; the error does not quote it."""
    if any(ord(character) < 0x20 or ord(character) == 0x7F for character in value):
        raise Unusable(f"{what} has a line end or another control character in it")
    return value


def _entry(document: Entry, kind: str, name: object) -> tuple[Entry, Path]:
    """The named entry, and the folder of the file that it came from."""
    for node in document.get(f"{kind}s") or ():
        if node.value.get("name") == name:
            found = node.value.get(kind) or {}
            if not isinstance(found, Mapping):
                raise Unusable(f'{kind} "{name}" is not a mapping')
            return found, Path(node.path).absolute().parent
    raise Unusable(f'there is no {kind} "{name}"')
