"""Editions: toolchains with other versions, each built only where it is asked for.

The toolchain of :mod:`.toolchain` stays as it is. Another version is an entry of its own in the
cache, keyed by the toolchain that it goes with and by its own sources:

- another Istio: its programs, and the toolchain's images together with its own, so that nodes can
  go from one to the other;
- another Kubernetes: its programs.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ...errors import ProvisionError
from ...progress import Progress
from .. import releases
from . import golang, images, imagestore, toolchain
from .cache import BuildCache, Entry, cache_home
from .components import (
    BOOTSTRAP,
    GoModule,
    istio_module,
    istio_version,
    kubernetes_module,
    kubernetes_version,
)
from .oci import Image
from .toolchain import ENVOY, Build, IstioBuild, Part, Toolchain, digest

LAYOUT = 1  # raise it with every change of an edition's shape


def ensure(progress: Progress, istio: str = "", kubernetes: str = "") -> Toolchain:
    """The toolchain with these minor versions, built now where they are not there yet.

    - Without a version it has what :func:`.toolchain.ensure` gives.
    - :class:`UsageProblem`: there is no such version. :class:`ProvisionError`: as there.
    """
    istio = releases.known("Istio", istio, releases.ISTIO)
    kubernetes = releases.known("Kubernetes", kubernetes, releases.KUBERNETES)
    base = toolchain.ensure(progress)
    cache, go_version = BuildCache(cache_home()), golang.expected_version()
    made = base
    for edition in _editions(base, istio, kubernetes):
        build = _EditionBuild(cache, edition, go_version, progress)
        made = edition.joined(made, cache.obtain(edition.key, build.run, progress))
    return made


def cached(istio: str = "", kubernetes: str = "") -> Toolchain | None:
    """The same toolchain, or None where :func:`ensure` would have to build or to complain."""
    made = base = toolchain.cached()
    for edition in _editions(base, istio, kubernetes) if base else ():
        try:
            entry = BuildCache(cache_home()).find(edition.key)
        except ProvisionError:
            entry = None
        made = edition.joined(made, entry) if made and entry else None
    return made


class _Edition:
    """One other version, beside the toolchain ``base``."""

    def __init__(self, base: Toolchain, module: GoModule) -> None:
        self.base = base
        self.module = module
        sources = digest(str(LAYOUT), base.key, module.sources())
        self.key = f"{module.name}-{sources[:16]}"

    def versions(self) -> dict[str, str]:
        """What it states of itself."""
        raise NotImplementedError

    def parts(self, build: _EditionBuild) -> list[Part]:
        """What it has besides programs."""
        raise NotImplementedError

    def joined(self, made: Toolchain, entry: Entry) -> Toolchain:
        """The toolchain with this version in it."""
        raise NotImplementedError


class _Istio(_Edition):
    def __init__(self, base: Toolchain, minor: str) -> None:
        super().__init__(base, istio_module(minor))
        self.minor = minor
        self.tag = istio_version(minor).partition("-")[0]

    def versions(self) -> dict[str, str]:
        return {"istio": istio_version(self.minor)}

    def parts(self, build: _EditionBuild) -> list[Part]:
        def make(folder: Path) -> None:
            """The toolchain's images, and those of this Istio."""
            imagestore.copy_root(self.base.containerd_root, folder / imagestore.ROOT)
            os.link(self.base.home / ENVOY, folder / ENVOY)
            build.add_images(folder, self.base.bin, lambda _: self._recipes(folder))

        return [Part(f"images with {self.module.name}", self.key, [], 20.0, make)]

    def _recipes(self, folder: Path) -> Sequence[Image]:
        return images.istio_recipes(folder / "bin", folder / BOOTSTRAP, self.tag)

    def joined(self, made: Toolchain, entry: Entry) -> Toolchain:
        version = istio_version(self.minor)
        istioctl = entry.folder / "bin" / "istioctl"
        return replace(
            made,
            containerd_root=entry.folder / imagestore.ROOT,
            versions=dict(made.versions) | {"istio": version},
            istio=(IstioBuild(self.minor, version, istioctl, self.tag), *made.istio),
        )


class _Kubernetes(_Edition):
    def __init__(self, base: Toolchain, minor: str) -> None:
        super().__init__(base, kubernetes_module(minor))
        self.minor = minor

    def versions(self) -> dict[str, str]:
        return {"kubernetes": kubernetes_version(self.minor)}

    def parts(self, build: _EditionBuild) -> list[Part]:
        return []

    def joined(self, made: Toolchain, entry: Entry) -> Toolchain:
        return replace(
            made,
            kubernetes=entry.folder / "bin",
            versions=dict(made.versions) | self.versions(),
        )


def _editions(base: Toolchain, istio: str, kubernetes: str) -> list[_Edition]:
    editions: list[_Edition] = []
    if istio not in ("", releases.ISTIO[0]):
        editions.append(_Istio(base, istio))
    if kubernetes not in ("", releases.KUBERNETES[0]):
        editions.append(_Kubernetes(base, kubernetes))
    return editions


class _EditionBuild(Build):
    """A build of one edition."""

    def __init__(
        self, cache: BuildCache, edition: _Edition, go_version: str, progress: Progress
    ) -> None:
        super().__init__(cache, edition.key, go_version, progress)
        self.modules = (edition.module,)
        self._edition = edition

    def _versions(self) -> dict[str, str]:
        return self._edition.versions()

    def _other_parts(self) -> list[Part]:
        return self._edition.parts(self)
