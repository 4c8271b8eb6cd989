"""Credentials: what a user entry proves itself with, renewed before it expires."""

from __future__ import annotations

import base64
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from . import credential_plugins
from .kubeconfig import Context, Unusable, header_value, location, pem

# Tokens in files are replaced in place: client-go reads them every minute (token_source.go).
_READ_AGAIN_SECONDS = 60.0
_RENEW_BEFORE_SECONDS = 60.0
_RENEW_BEFORE_SHARE = 0.2

# The official loader keeps its certificate files in a plain dictionary of its module.
_loader_lock = threading.Lock()


@dataclass(frozen=True)
class Credential:
    """A header, a certificate with its key, both or none; ``renew_at`` is seconds since the epoch.

    It is then obtained anew; until ``expires`` the old one would do.
    """

    authorization: str = field(default="", repr=False)
    certificate: str = ""
    key: str = field(default="", repr=False)
    renew_at: float = float("inf")
    expires: float = float("inf")


def obtain(kubeconfig: str, context: Context) -> Credential:
    """The credential of a context's user, in kubectl's order of precedence.

    :class:`~.kubeconfig.Unusable` where there is something that gives none.
    """
    user, folder = context.user, context.user_folder
    certificate = pem(user, "client-certificate", folder)
    key = pem(user, "client-key", folder)
    now = time.time()
    if file := user.get("tokenFile"):
        token = (folder / str(file)).read_text()
        again = now + _READ_AGAIN_SECONDS
        return Credential(_bearer(token), certificate, key, renew_at=again)
    if user.get("token"):
        return Credential(_bearer(str(user["token"])), certificate, key)
    if user.get("exec") is not None:
        status = credential_plugins.ask(context)
        expires = _epoch(status.get("expirationTimestamp"))
        early = min(_RENEW_BEFORE_SECONDS, max(0.0, expires - now) * _RENEW_BEFORE_SHARE)
        return Credential(
            _bearer(str(status["token"])) if status.get("token") else "",
            str(status.get("clientCertificateData") or certificate),
            str(status.get("clientKeyData") or key),
            renew_at=expires - early,
            expires=expires,
        )
    if user.get("auth-provider"):
        token = _from_provider(kubeconfig, context)
        return Credential(token, certificate, key, renew_at=now + _READ_AGAIN_SECONDS)
    if "username" in user and "password" in user:
        both = f"{user['username']}:{user['password']}".encode()
        return Credential(f"Basic {base64.b64encode(both).decode()}", certificate, key)
    return Credential("", certificate, key)


def _bearer(token: str) -> str:
    """The header for a token, without the line end that editors and ``echo`` leave."""
    return f"Bearer {header_value(token.strip(), 'the token')}"


def _from_provider(kubeconfig: str, context: Context) -> str:
    """The header by the official package, which knows OpenID Connect and renews its tokens."""
    from kubernetes import client
    from kubernetes.config import kube_config

    name = context.user["auth-provider"].get("name")
    configuration: Any = client.Configuration()
    make: Any = kube_config.KubeConfigLoader
    merge: Any = kube_config.KubeConfigMerger
    error = ""
    try:
        with _loader_lock:
            merger = merge(location(kubeconfig))
            # Of a server without TLS it loads no certificates, so that no key gets into a file.
            chosen = merger.config["contexts"].get_with_name(context.name)["context"]["cluster"]
            only = {"name": chosen, "cluster": {"server": "http://unused"}}
            merger.config.value["clusters"] = [only]
            loader = make(
                merger.config,
                active_context=context.name,
                config_base_path=None,
                config_persister=merger.save_changes,
            )
            loader.load_and_set(configuration)
    except Exception as problem:  # it raises AttributeError, KeyError, TypeError, binascii.Error…
        error = f" ({type(problem).__name__})"
    keys = configuration.api_key
    token = keys.get("BearerToken") or keys.get("authorization")  # the older name
    if not token:
        advice = "kubectl has dropped it, too: use its credential plugin (exec), or a token"
        why = f'the auth-provider "{name}" gives no token{error}'
        raise Unusable(why, "log in again with kubectl" if name == "oidc" else advice)
    return header_value(str(token).strip(), "the token")


def _epoch(timestamp: object) -> float:
    if not timestamp:
        return float("inf")
    try:
        return datetime.fromisoformat(str(timestamp)).timestamp()
    except ValueError:
        why = "the credential plugin gave an expirationTimestamp that is not a date"
        raise Unusable(why) from None
