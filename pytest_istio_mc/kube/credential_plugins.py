"""Credential plugins: the program that a kubeconfig names under ``exec``.

The official package runs them, too, but without a time limit, on our terminal, and only logs what
goes wrong (kubernetes 37, exec_provider.py).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ..redact import scrub_text
from .kubeconfig import Context, Unusable, pem

LIMIT_SECONDS = 30.0
_STDERR_SHOWN = 1500
_CLUSTER_CONFIG = "client.authentication.k8s.io/exec"
_CLUSTER_KEYS = ("server", "tls-server-name", "insecure-skip-tls-verify", "proxy-url")


def ask(context: Context) -> Mapping[str, Any]:
    """The ``status`` of the ExecCredential that the plugin prints.

    - It gets no terminal and no input; one that demands them is refused.
    - It is killed with all its children after ``LIMIT_SECONDS``.
    - :class:`Unusable` has the end of its stderr, never its output.
    """
    plugin = context.user["exec"]
    command = str(plugin.get("command") or "")
    if not command:
        raise Unusable("exec names no command")
    what = f'the credential plugin "{command}"'
    if plugin.get("interactiveMode") == "Always":
        why = f"{what} demands a terminal (interactiveMode: Always), and gets none here"
        raise Unusable(why, "log in with it first, and use a plugin that keeps the login")
    if "/" in command and not command.startswith("/"):
        command = str(context.user_folder / command)
    arguments = [command, *map(str, plugin.get("args") or ())]
    try:
        # A session of its own has no terminal that a plugin could still open by its name.
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_environment(context, plugin),
            start_new_session=True,
        )
    except OSError as error:
        hint = " ".join(str(plugin.get("installHint") or "").split())
        raise Unusable(f"{what} cannot be started: {error.strerror}", hint) from error
    try:
        stdout, stderr = process.communicate(timeout=LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        stderr = _killed(process)
        raise Unusable(f"{what} did not end within {LIMIT_SECONDS:g} s{_told(stderr)}") from None
    except BaseException:
        _killed(process)
        raise
    if process.returncode != 0:
        raise Unusable(f"{what} ended with exit code {process.returncode}{_told(stderr)}")
    return _status(what, stdout, stderr, str(plugin.get("apiVersion")))


def _status(what: str, stdout: bytes, stderr: bytes, api_version: str) -> Mapping[str, Any]:
    try:
        document = json.loads(stdout)
    except (ValueError, RecursionError):
        raise Unusable(f"{what} printed no JSON{_told(stderr)}") from None
    status = document.get("status") if isinstance(document, dict) else None
    if not isinstance(status, dict) or document.get("kind") != "ExecCredential":
        raise Unusable(f"{what} printed no ExecCredential with a status{_told(stderr)}")
    if document.get("apiVersion") != api_version:
        other = str(document.get("apiVersion"))[:100]
        raise Unusable(f"{what} speaks {other}, and the kubeconfig asks for {api_version}")
    certificate, key = status.get("clientCertificateData"), status.get("clientKeyData")
    if not status.get("token") and not (certificate and key):
        raise Unusable(f"{what} gave neither a token nor a certificate with its key")
    return status


def _environment(context: Context, plugin: Mapping[str, Any]) -> dict[str, str]:
    added = {str(item["name"]): str(item["value"]) for item in plugin.get("env") or ()}
    spec: dict[str, Any] = {"interactive": False}
    if plugin.get("provideClusterInfo"):
        entry = context.cluster
        spec["cluster"] = {key: entry[key] for key in _CLUSTER_KEYS if key in entry}
        if authority := pem(entry, "certificate-authority", context.cluster_folder):
            import base64

            encoded = base64.b64encode(authority.encode()).decode()
            spec["cluster"]["certificate-authority-data"] = encoded
        for extension in entry.get("extensions") or ():
            if extension.get("name") == _CLUSTER_CONFIG:
                spec["cluster"]["config"] = extension.get("extension")
    kind = {"apiVersion": plugin.get("apiVersion"), "kind": "ExecCredential", "spec": spec}
    return {**os.environ, **added, "KUBERNETES_EXEC_INFO": json.dumps(kind)}


def _killed(process: subprocess.Popen[bytes]) -> bytes:
    """End the plugin and its children; what it has written to stderr."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    try:
        return process.communicate(timeout=1)[1]
    except subprocess.TimeoutExpired:  # a child that left the session holds the pipes
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        return b""


def _told(stderr: bytes) -> str:
    text = " ".join(scrub_text(stderr.decode(errors="replace")).split())
    return f"; stderr: {text[-_STDERR_SHOWN:]}" if text else ""
