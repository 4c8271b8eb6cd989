"""Releases of Istio: versions as builds write them, and which of them a statement is about."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from packaging.specifiers import SpecifierSet
from packaging.version import Version

Minor = tuple[int, int]

PATCHES = 60
"""How many patch releases a minor release may have; no Istio had half as many."""

_NEWEST = 9999
_VERSION = re.compile(r"v?(\d{1,3})\.(\d{1,4})(?:\.(\d{1,4}))?(?:([-+].+))?")
_BUILD = re.compile(r"-[0-9a-f]{7,64}(-dirty)?-(Clean|Modified|Unknown)$")
"""What istiod puts behind its version: the commit, and whether its tree was clean."""
_IMAGE = re.compile(r"-(distroless|debug)$")
"""What tags of images say besides: the same program on another base."""
_COMMIT = re.compile(r"-[0-9a-f]{7,64}|-0\.\d{14}-[0-9a-f]{12}")
"""A build of a commit, as the lab's: by hash, or as Go names commits without a tag."""
_BEFORE = re.compile(r"-(alpha|beta|rc|dev)\b.*")


@dataclass(frozen=True)
class Release:
    """A version of Istio.

    - ``candidates``: the releases that it may be as good as; one where it is a release itself.
    - ``vendor``: whose build it is, which may have mends of later releases; empty for Istio's own.
    - ``newest``: only a minor version was named, which stands for its newest patch release.
    """

    text: str
    minor: Minor
    candidates: tuple[Version, ...]
    vendor: str = ""
    newest: bool = False

    def __str__(self) -> str:
        return self.text

    def within(self, specifiers: Iterable[str]) -> bool | None:
        """Whether it is in any of these ranges (``>=1.29.2,<1.29.5``); None where nobody can say.

        A vendor's build of an affected release may be mended.
        """
        ranges = [SpecifierSet(one, prereleases=True) for one in specifiers]
        found = {any(version in one for one in ranges) for version in self.candidates}
        if len(found) > 1 or (self.vendor and True in found):
            return None
        return found.pop()

    def minors_ahead(self, other: Minor) -> int | None:
        """By how many minor versions it is ahead of another; None between major versions."""
        return self.minor[1] - other[1] if self.minor[0] == other[0] else None


@lru_cache(maxsize=1024)  # of thousands of proxies most are of one version
def release(text: str, *, newest: bool = False) -> Release | None:
    """The release of a version as istiod, proxies, image tags and people write it.

    - ``1.31.0-eed52ebb66ad-eed52ebb66ad-Clean``, ``v1.31.2``, ``1.31.3-asm.9``,
      ``1.31-alpha.4f0e…``, ``1.31.1-distroless``, ``1.31.0-0.20260827124520-eed52ebb66ad``.
    - None where it is no version (``latest``).
    - ``newest``: a mere minor version (``1.31``) is its newest patch release, not just any.
    """
    match = _VERSION.fullmatch(_IMAGE.sub("", _BUILD.sub("", text.strip())))
    if match is None:
        return None
    major, minor = int(match[1]), int(match[2])
    rest = match[4] or ""

    def build(*patches: int, vendor: str = "") -> Release:
        versions = tuple(Version(f"{major}.{minor}.{patch}") for patch in patches)
        return Release(text, (major, minor), versions, vendor, newest and match[3] is None)

    if _BEFORE.fullmatch(rest):
        # it may have what its release brings, or may not
        patch = int(match[3] or 0)
        after = Version(f"{major}.{minor}.{patch}")
        before = f"{minor}.{patch - 1}" if patch else f"{max(minor - 1, 0)}.{_NEWEST}"
        return Release(text, (major, minor), (Version(f"{major}.{before}"), after))
    if match[3] is None and newest and not rest:
        return build(_NEWEST)
    if match[3] is None or _COMMIT.fullmatch(rest):
        return build(*range(PATCHES), vendor=_vendor(rest))
    return build(int(match[3]), vendor=_vendor(rest))


def minor_of(version: str) -> Minor | None:
    """Major and minor of a version; None where the text is no version."""
    found = release(version)
    return found.minor if found else None


def _vendor(rest: str) -> str:
    """Whose build it is, by what stands behind the version: ``asm`` of ``-asm.9``."""
    named = re.search(r"[A-Za-z][A-Za-z0-9]*", rest)
    return "" if not rest or _COMMIT.fullmatch(rest) else (named[0] if named else rest[1:])
