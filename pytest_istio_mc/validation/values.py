"""Values: words, numbers, lists of checks, and paths."""

from __future__ import annotations

import math
import os
import re
import stat
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..checks import catalogue
from ..checks.catalogue import READ_ONLY, Profile
from ..errors import UsageProblem
from ..mesh import Wishes
from ..plain import shown
from ..rights import Permission
from ..settings import DEFAULT_REPORT, REPORT_SUFFIXES, Given
from .refusals import meant, read_document, refuse

if TYPE_CHECKING:
    from ..topologies import Topology


def profile(given: Mapping[str, Given]) -> Profile | None:
    """The profile that was asked for; None without one."""
    if "profile" not in given:
        return None
    text = given["profile"].text
    valid = [profile.value for profile in Profile]
    if text not in valid:
        raise refuse("--mesh-profile", f'no profile is called "{text}"', valid)
    return Profile(text)


def permissions(given: Mapping[str, Given]) -> tuple[Permission, ...]:
    """What may be done to other people's traffic."""
    if "allow" not in given:
        return ()
    text = given["allow"].text
    names = list(dict.fromkeys(filter(None, (part.strip() for part in text.split(",")))))
    valid = [permission.value for permission in Permission]
    unknown = [name for name in names if name not in valid]
    if unknown or not names:
        called = ", ".join(unknown) or text
        raise refuse("--mesh-allow", f'no permission is called "{called}"', valid)
    return tuple(map(Permission, names))


def wait_seconds(given: Mapping[str, Given]) -> float:
    """For how long to wait for a mesh that is still settling; 0 without the option."""
    return _positive(given, "wait", 0.0, "300 waits for five minutes")


def timeout_factor(given: Mapping[str, Given]) -> float:
    """The factor of every time budget, above 0."""
    return _positive(given, "timeout_factor", 1.0, "2 doubles every wait")


def _positive(given: Mapping[str, Given], name: str, otherwise: float, advice: str) -> float:
    if name not in given:
        return otherwise
    text = given[name].text
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        option = f"--mesh-{name.replace('_', '-')}"
        raise refuse(option, f'"{text}" is not a number above 0', advice=advice)
    return number


def probe_image(given: Mapping[str, Given]) -> str:
    """The image of the probe pods; empty where the provider chooses."""
    text = given["probe_image"].text if "probe_image" in given else ""
    if any(character.isspace() for character in text):
        detail = f'"{text}" is not an image reference'
        raise refuse("--mesh-probe-image", detail, advice="write registry/python:3.13-slim")
    return text


def version(given: Mapping[str, Given], project: str, valid: Sequence[str]) -> str:
    """The minor version of a project, one of ``valid``."""
    text = given[project].text
    if text not in valid:
        titled = project.capitalize()
        raise refuse(f"--mesh-{project}", f'no lab is made of {titled} "{text}"', valid)
    return text


def wishes(given: Mapping[str, Given]) -> Wishes:
    """What is wished of probe workloads."""
    return Wishes(_namespaces(given), _probe_patch(given))


def _namespaces(given: Mapping[str, Given]) -> tuple[str, ...]:
    text = given["namespace"].text if "namespace" in given else ""
    names = [part.strip() for part in text.split(",")] if text else []
    for name in names:
        if not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", name):
            detail = f'"{name}" is not the name of a namespace'
            raise refuse("--mesh-namespace", detail, advice="write probes,more-probes")
        if names.count(name) > 1:
            raise refuse("--mesh-namespace", f'"{name}" is given twice')
    return tuple(names)


def _probe_patch(given: Mapping[str, Given]) -> dict[str, Any]:
    if "probe_patch" not in given:
        return {}
    from ..probes.patch import SECTIONS, problems

    path = given["probe_patch"].path
    document = read_document(path, "--mesh-probe-patch")
    if found := problems(document):
        detail = f"{path.name} is not a patch of probes: {'; '.join(found)}"
        advice = f"its sections are {', '.join(SECTIONS)}; docs/probe-pods.md has examples"
        raise refuse("--mesh-probe-patch", detail, advice=advice)
    return dict(document)


def checks(given: Mapping[str, Given]) -> tuple[str, ...]:
    """The chosen checks and areas, in capitals; empty where all are meant."""
    if "checks" not in given:
        return ()
    parts = [part.strip().upper() for part in given["checks"].text.split(",")]
    chosen = tuple(dict.fromkeys(filter(None, parts)))
    # a test module that is not collected yet may define it: it is looked for again then
    surely = [text for text in chosen if not _ID.fullmatch(text)]
    if problem := unknown_checks(surely if chosen else ("",)):
        raise problem
    return chosen


_ID = re.compile(r"MC(-[A-Z0-9]+)+-[0-9]+")


def unknown_checks(chosen: Iterable[str], option: str = "--mesh-checks") -> UsageProblem | None:
    """The refusal of the first of these words that names no known check and no area."""
    known = catalogue.known_checks()
    areas = sorted({id.rpartition("-")[0] for id in known})
    for text in chosen:
        if text != READ_ONLY and not any(f"{id}-".startswith(f"{text}-") for id in known):
            detail = f'"{text}" is no check and no area{meant(text, [*known, *areas])}'
            valid = [*areas, READ_ONLY.lower()]
            return refuse(option, detail, valid, "--mesh-list prints every id")
    return None


def known_topology(name: str, known: Mapping[str, Topology], option: str) -> Topology:
    """The topology of that name; refused where nobody knows it."""
    if name not in known:
        raise refuse(option, f'no topology is called "{name}"{meant(name, known)}', [*known])
    return known[name]


def report(given: Mapping[str, Given]) -> Path:
    """The file of the certificate, in a folder that is there."""
    path = given["report"].path if "report" in given else Path.cwd() / DEFAULT_REPORT
    if path.suffix not in REPORT_SUFFIXES:
        raise refuse("--mesh-report", f"{path.name} does not say its format", REPORT_SUFFIXES)
    require_report(path)
    return path


def require_report(path: Path) -> None:
    """Refuse a file for a certificate that could not be written at the end."""
    option = "--mesh-report"
    found = _possible(path, option)
    _require_writable(path.parent, option)
    if found is not None and stat.S_ISDIR(found.st_mode):
        raise refuse(option, f"{path} is a folder")
    if found is not None and not (stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode)):
        raise refuse(option, f"{path} is no file that could be replaced")


def existing_file(given: Mapping[str, Given], name: str) -> Path | None:
    """The readable file of an option; None where it was not given."""
    if name not in given:
        return None
    path = given[name].path
    _possible(path, f"--mesh-{name}")
    if not (path.is_file() and os.access(path, os.R_OK)):
        raise refuse(f"--mesh-{name}", f"{path} is not a readable file")
    return path


def new_folder(given: Mapping[str, Given], name: str) -> Path | None:
    """The new or empty folder of an option; None without it."""
    if name not in given:
        return None
    path = given[name].path
    _possible(path, f"--mesh-{name}")
    _require_writable(path.parent, f"--mesh-{name}")
    if path.exists() and not (path.is_dir() and _is_empty(path)):
        detail = f"{path} exists already and is not an empty folder"
        raise refuse(f"--mesh-{name}", detail, advice="give a new folder")
    return path


def _require_writable(folder: Path, option: str) -> None:
    if not folder.is_dir():
        raise refuse(option, f"the folder {folder} does not exist", advice=f"mkdir -p {folder}")
    try:
        # rights alone do not tell of file systems that take no files, as /proc
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        why = f"the folder {folder} is not writable: {error.strerror}"
        raise refuse(option, why) from error


def _possible(path: Path, option: str) -> os.stat_result | None:
    """What is at a path, links not followed; None for nothing; refused where nothing can be."""
    try:
        return path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise refuse(option, f"{shown(str(path))} is no possible path: {why}") from error


def _is_empty(folder: Path) -> bool:
    try:
        return not any(folder.iterdir())
    except OSError:
        return False
