"""Settings: what one run was asked to do, as a frozen value."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .checks.catalogue import Check, Kind, Profile
from .errors import UsageProblem
from .eventually import Timeouts
from .mesh import Wishes
from .spec import MeshSpec

if TYPE_CHECKING:
    from .topologies import Topology

DEFAULT_PROVIDER, ATTACH = "lab", "attach"
REPLAY = "replay"
"""The provider name of a run on a recorded snapshot."""

DEFAULT_REPORT = "mesh-report.yaml"
REPORT_SUFFIXES = (".yaml", ".yml", ".json")

SWITCHES = ("disruptive", "keep", "self_test", "list", "plan")
"""The options that are given without a value."""


def expanded(text: str) -> Path:
    """A path with ``~`` filled in; :class:`UsageProblem` where ``~name`` is nobody's home."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        advice = "write the folder itself; nothing was started"
        raise UsageProblem(
            f"path {text!r}", "leads to no folder", str(error), advice=advice
        ) from error


@dataclass(frozen=True)
class Given:
    """One option as the user gave it.

    - ``source``: ``command line``, ``environment`` or ``ini``.
    - ``folder``: relative paths count from here, the ini file's folder for ini settings, else the
      one in which pytest was started.
    """

    text: str
    source: str
    folder: Path

    @property
    def path(self) -> Path:
        """The text as a path; :class:`UsageProblem` where ``~name`` is nobody's home."""
        return self.folder / expanded(self.text)


@dataclass(frozen=True)
class Settings:
    """The effective settings of one run.

    - ``spec`` names the clusters, with contexts where the provider attaches to them.
    - ``disposable``: the provider's clusters end with the run.
    - ``known_topology`` is the topology itself; None where nobody knows it, as of a recorded mesh.
    """

    topology: str
    provider: str
    spec: MeshSpec
    profile: Profile = Profile.CORE
    spec_file: Path | None = None
    report: Path = Path(DEFAULT_REPORT)
    baseline: Path | None = None
    snapshot: Path | None = None
    replay: Path | None = None
    disruptive: bool = False
    keep: bool = False
    timeout_factor: float = 1.0
    probe_image: str = ""
    wishes: Wishes = field(default_factory=Wishes)
    checks: tuple[str, ...] = ()
    given: Mapping[str, Given] = field(default_factory=dict)
    disposable: bool = False
    known_topology: Topology | None = None

    @property
    def timeouts(self) -> Timeouts:
        """Every wait, scaled."""
        return Timeouts().scaled(self.timeout_factor)

    def to_dict(self) -> dict[str, Any]:
        """The effective options for the certificate, as plain JSON.

        Without credentials, and without folders of the machine.
        """
        document: dict[str, Any] = {
            "topology": self.topology,
            "provider": self.provider,
            "profile": self.profile.value,
            "timeoutFactor": self.timeout_factor,
            "disruptive": self.disruptive,
            "keep": self.keep,
        }
        optional = {
            "spec": self.spec_file.name if self.spec_file else "",
            "replay": self.replay.name if self.replay else "",
            "baseline": self.baseline.name if self.baseline else "",
            "probeImage": self.probe_image,
            "probePatch": self.given["probe_patch"].path.name
            if "probe_patch" in self.given
            else "",
            "namespaces": ",".join(self.wishes.namespaces),
            "checks": ",".join(self.checks),
        }
        return document | {key: value for key, value in optional.items() if value}

    @property
    def overrides(self) -> tuple[str, ...]:
        """How this certificate differs from one with the stated budgets, in sentences."""
        if self.timeout_factor == 1.0:
            return ()
        by = f"{self.timeout_factor:g} (--mesh-timeout-factor)"
        return (f"every time budget was multiplied by {by}",)

    def reproduce(self, *, checks: str = "") -> str:
        """The command that repeats this run, where it is installed.

        With ``checks`` it repeats only these, and overwrites no file of this run.
        """
        if not checks:
            return _command(self.given)
        dropped = ("checks", "report", "snapshot", "baseline")
        kept = {name: entry for name, entry in self.given.items() if name not in dropped}
        return _command(kept, f"--mesh-checks={checks}")

    def standing(self, check: Check) -> Standing:
        """Whether ``check`` is claimed, and why it cannot run, if so."""
        missing = [feature.value for feature in check.requires if feature not in self.spec.features]
        if missing:
            return Standing(False, f"this mesh has not: {', '.join(missing)}")
        if check.profile is Profile.EXTENDED and self.profile is not Profile.EXTENDED:
            elsewhere = "it belongs to the extended profile (--mesh-profile=extended)"
            return Standing(False, f"not claimed: {elsewhere}")
        if self.replay and check.kind is not Kind.STATIC:
            what = f"a {check.kind.value} check cannot run on a recorded snapshot"
            return Standing(True, f"needs a mesh: {what} (leave --mesh-replay out)")
        if check.alone and not self.may_disrupt:
            changes = "changes settings of the whole mesh for some seconds"
            what = "breaks things" if check.kind is Kind.FAULT else changes
            only = "on clusters that are not the lab's it runs only with --mesh-disruptive"
            return Standing(True, f"{what}: {only}")
        return Standing(True)

    @property
    def may_disrupt(self) -> bool:
        """Whether checks may touch more than namespaces of their own.

        Always on disposable clusters, elsewhere with ``--mesh-disruptive``.
        """
        return self.disposable or self.disruptive

    def selects(self, check_id: str) -> bool:
        """Whether ``--mesh-checks`` has this check: by id, or by area (``MC-TRUST``)."""
        return not self.checks or any(f"{check_id}-".startswith(f"{one}-") for one in self.checks)


@dataclass(frozen=True)
class Assignment:
    """What a session was asked to certify: a run for each topology.

    ``overall`` is the file for the result of all; None where one run's certificate is the result.
    """

    runs: tuple[Settings, ...]
    overall: Path | None = None
    given: Mapping[str, Given] = field(default_factory=dict)

    def reproduce(self) -> str:
        """The command that repeats the session where it is installed."""
        return _command(self.given)


@dataclass(frozen=True)
class Standing:
    """How a check stands in a run.

    - A claimed check that does not run makes the certificate partial.
    - ``obstacle`` says why it cannot run and what would enable it; empty where it can.
    """

    claimed: bool
    obstacle: str = ""


def _command(given: Mapping[str, Given], *more: str) -> str:
    words = ["pytest", "--pyargs", "pytest_istio_mc.suites"]
    for name, entry in given.items():
        flag = "--mesh-" + name.replace("_", "-")
        words.append(flag if name in SWITCHES else f"{flag}={entry.text}")
    return shlex.join([*words, *more])
