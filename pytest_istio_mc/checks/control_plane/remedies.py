"""Remedies that change how a control plane is installed."""

from __future__ import annotations

from ...istio_names import ISTIOD_PODS
from ..remedies import Commands


def reinstall(commands: Commands, cluster: str, setting: str, *, restart: bool = False) -> str:
    """Install again with one setting changed, and restart the workloads where that is needed."""
    install = f"istioctl install --context={commands.context(cluster)} --set {setting}"
    restarted = f" && {commands.restart_workloads(cluster)}" if restart else ""
    return f"{install}{restarted}  # with the other settings of this installation"


def set_istiod_variable(commands: Commands, cluster: str, change: str) -> str:
    """Change the environment of istiod (``NAME=value``, or ``NAME-``) and wait for it."""
    istiod = f"deployment -l {ISTIOD_PODS}"
    changed = commands.istio(cluster, f"set env {istiod} {change}")
    return f"{changed} && {commands.istio(cluster, f'rollout status {istiod} --timeout=3m')}"
