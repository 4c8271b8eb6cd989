"""Remedies that change how a control plane is installed."""

from __future__ import annotations

from ... import shell
from ...istio_names import ISTIOD_PODS
from ...shell import Command, Remedy
from ..remedies import Commands


def reinstall(commands: Commands, cluster: str, setting: str, *, restart: bool = False) -> Remedy:
    """Install again with one setting changed, and restart the workloads where that is needed."""
    install = commands.istioctl(cluster, "install --set", setting)
    steps = [install, commands.restart_workloads(cluster)] if restart else [install]
    return shell.with_note(shell.then(*steps), "with the other settings of this installation")


def set_istiod_variable(commands: Commands, cluster: str, change: str) -> Command:
    """Change the environment of istiod (``NAME=value``, or ``NAME-``) and wait for it."""
    return shell.then(
        commands.istio(cluster, "set env deployment -l", ISTIOD_PODS, change),
        commands.istio(cluster, "rollout status deployment -l", ISTIOD_PODS, "--timeout=3m"),
    )
