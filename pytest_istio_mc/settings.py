"""Settings: what one run was asked to do, as a frozen value."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .checks.catalogue import Check, Kind, Profile
from .eventually import Timeouts
from .spec import MeshSpec

DEFAULT_PROVIDER = "lab"
ATTACH = "attach"
DEFAULT_REPORT = "mesh-report.yaml"
REPORT_SUFFIXES = (".yaml", ".yml", ".json")
REPLAY = "replay"
"""The provider name of a run on a recorded snapshot."""

SWITCHES = ("disruptive", "keep", "self_test", "list", "plan")
"""The options that are given without a value."""


@dataclass(frozen=True)
class Given:
    """One option as the user gave it: its text, and where it came from (``command line``, ``environment`` or ``ini``)."""

    text: str
    source: str
    folder: Path

    @property
    def path(self) -> Path:
        """The text as a path: relative ones count from the ini file's folder for ini settings, else from where pytest was started."""
        return self.folder / Path(self.text).expanduser()


@dataclass(frozen=True)
class Settings:
    """The effective settings of one run. ``spec`` names the clusters, with contexts where the provider attaches to them."""

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
    checks: tuple[str, ...] = ()
    given: Mapping[str, Given] = field(default_factory=dict)

    @property
    def timeouts(self) -> Timeouts:
        """Every wait, scaled."""
        return Timeouts().scaled(self.timeout_factor)

    def to_dict(self) -> dict[str, Any]:
        """The effective options for the certificate: plain JSON, no credentials, no folder of the machine it ran on."""
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
            "checks": ",".join(self.checks),
        }
        return document | {key: value for key, value in optional.items() if value}

    @property
    def overrides(self) -> tuple[str, ...]:
        """What makes this certificate differ from one with the stated budgets, a sentence each."""
        if self.timeout_factor == 1.0:
            return ()
        return (
            f"every time budget was multiplied by {self.timeout_factor:g} (--mesh-timeout-factor)",
        )

    def reproduce(self, *, checks: str = "") -> str:
        """The command that repeats this run, or only ``checks`` of it (and writes no file over this run's), where it is installed."""
        if not checks:
            return _command(self.given)
        kept = {
            name: entry
            for name, entry in self.given.items()
            if name not in ("checks", "report", "snapshot", "baseline")
        }
        return _command(kept, f"--mesh-checks={checks}")

    def standing(self, check: Check) -> Standing:
        """Whether ``check`` is claimed and whether it can run, with the reason where it cannot."""
        missing = [feature.value for feature in check.requires if feature not in self.spec.features]
        if missing:
            return Standing(False, f"this mesh has not: {', '.join(missing)}")
        if check.profile is Profile.EXTENDED and self.profile is not Profile.EXTENDED:
            return Standing(
                False, "not claimed: it belongs to the extended profile (--mesh-profile=extended)"
            )
        if self.replay and check.kind is not Kind.STATIC:
            return Standing(
                True,
                f"needs a mesh: a {check.kind.value} check cannot run on a recorded snapshot (leave --mesh-replay out)",
            )
        if check.alone and not self.may_disrupt:
            what = (
                "breaks things"
                if check.kind is Kind.FAULT
                else "changes settings of the whole mesh for some seconds"
            )
            return Standing(
                True,
                f"{what}: on clusters that are not the lab's it runs only with --mesh-disruptive",
            )
        return Standing(True)

    @property
    def may_disrupt(self) -> bool:
        """Whether checks may touch more than namespaces of their own: always in the lab, elsewhere with ``--mesh-disruptive``."""
        return self.provider == DEFAULT_PROVIDER or self.disruptive

    def selects(self, check_id: str) -> bool:
        """Whether ``--mesh-checks`` leaves this check in: it names the id or an area of it (``MC-TRUST``)."""
        return not self.checks or any(
            check_id == chosen or check_id.startswith(chosen + "-") for chosen in self.checks
        )


@dataclass(frozen=True)
class Assignment:
    """What one session was asked to certify: a run for each topology, in order. ``overall`` is where the result of all of them goes;
    None where there is only one, whose certificate is the result."""

    runs: tuple[Settings, ...]
    overall: Path | None = None
    given: Mapping[str, Given] = field(default_factory=dict)

    def reproduce(self) -> str:
        """The command that repeats the session where it is installed."""
        return _command(self.given)


@dataclass(frozen=True)
class Standing:
    """How a check stands in a run: a claimed check that does not run makes the certificate partial.

    ``obstacle`` says why it cannot run and what would enable it; empty where it can.
    """

    claimed: bool
    obstacle: str = ""


def _command(given: Mapping[str, Given], *more: str) -> str:
    words = ["pytest", "--pyargs", "pytest_istio_mc.suites"]
    for name, entry in given.items():
        flag = "--mesh-" + name.replace("_", "-")
        words.append(flag if name in SWITCHES else f"{flag}={entry.text}")
    return shlex.join([*words, *more])
