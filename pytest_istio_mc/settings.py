"""Settings: what one run was asked to do, as a frozen value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .checks.catalogue import Check, Kind, Profile
from .checks.upgrade.facts import NO_CHANGE
from .errors import UsageProblem
from .eventually import Timeouts
from .mesh import Wishes
from .rights import Permission
from .shell import quoted
from .spec import MeshSpec

if TYPE_CHECKING:
    from .topologies import Topology

DEFAULT_PROVIDER, ATTACH = "lab", "attach"
REPLAY = "replay"
"""The provider name of a run on a recorded snapshot."""

DEFAULT_REPORT = "mesh-report.yaml"
REPORT_SUFFIXES = (".yaml", ".yml", ".json")

TYPED = "command line"
"""The source of what somebody typed for this very run."""

QUICK = "quick"
"""By what a quick disruptive check is claimed where no profile was given."""

SWITCHES = ("strict", "disruptive", "keep", "no_page", "self_test", "list", "plan")
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

    - ``source``: :data:`TYPED`, ``addopts`` (which pytest reads from files and the environment),
      ``environment`` or ``ini``.
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
class Selection:
    """Which tests pytest was asked for: what a command to repeat must say besides our options.

    ``paths`` are the arguments as typed, empty where none was; ``plugins`` those of ``-p``.
    """

    plugins: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    keyword: str = ""
    markers: str = ""
    deselected: tuple[str, ...] = ()
    pyargs: bool = False

    def words(self, *, one_check: bool = False) -> list[str]:
        """As arguments; for ``one_check`` the files alone, in which it is."""
        paths = self.paths
        if one_check:
            paths = tuple(dict.fromkeys(path.partition("::")[0] for path in paths))
        words = [word for plugin in self.plugins for word in ("-p", plugin)]
        words += ["--pyargs", *paths] if self.pyargs and paths else paths
        if one_check:
            return words
        words += [f"--deselect={one}" for one in self.deselected]
        words += ["-k", self.keyword] if self.keyword else []
        return [*words, "-m", self.markers] if self.markers else words


@dataclass(frozen=True)
class Settings:
    """The effective settings of one run.

    - ``spec`` names the clusters, with contexts where the provider attaches to them.
    - ``page``: whether a page is written beside the certificate.
    - ``quick``: besides the profile, quick disruptive checks are claimed.
    - ``strict``: risks fail, too.
    - ``disruptive``: --mesh-disruptive, and ``permissions``: --mesh-allow.
    - ``disposable``: the provider's clusters end with the run.
    - ``gate``: the command that is to be watched, and ``control`` the one that restarts the same.
    - ``istio`` and ``kubernetes`` are the minor versions that the provider is to build; empty
      where it chooses.
    - ``known_topology`` is the topology itself; None where nobody knows it, as of a recorded mesh.
    """

    topology: str
    provider: str
    spec: MeshSpec
    profile: Profile = Profile.CORE
    quick: bool = False
    spec_file: Path | None = None
    report: Path = Path(DEFAULT_REPORT)
    page: bool = True
    baseline: Path | None = None
    snapshot: Path | None = None
    replay: Path | None = None
    strict: bool = False
    disruptive: bool = False
    permissions: tuple[Permission, ...] = ()
    keep: bool = False
    timeout_factor: float = 1.0
    wait_seconds: float = 0.0
    probe_image: str = ""
    istio: str = ""
    kubernetes: str = ""
    wishes: Wishes = field(default_factory=Wishes)
    checks: tuple[str, ...] = ()
    given: Mapping[str, Given] = field(default_factory=dict)
    disposable: bool = False
    gate: str = ""
    control: str = ""
    known_topology: Topology | None = None
    selection: Selection = Selection()

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
        optional: dict[str, Any] = {
            "spec": self.spec_file.name if self.spec_file else "",
            "replay": self.replay.name if self.replay else "",
            "baseline": self.baseline.name if self.baseline else "",
            "probeImage": self.probe_image,
            "istio": self.istio,
            "kubernetes": self.kubernetes,
            "probePatch": self.given["probe_patch"].path.name
            if "probe_patch" in self.given
            else "",
            "namespaces": ",".join(self.wishes.namespaces),
            "checks": ",".join(self.checks),
            "allow": ",".join(permission.value for permission in self.permissions),
            "strict": self.strict,
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
        """The command that repeats this run, typed in the same folder.

        With ``checks`` it repeats only these, and overwrites no file of this run.
        """
        if not checks:
            return _command(self.selection.words(), self.given)
        dropped = ("checks", "report", "snapshot", "baseline", "gate", "control")
        kept = {name: entry for name, entry in self.given.items() if name not in dropped}
        words = self.selection.words(one_check=True)
        return _command(words, kept, f"--mesh-checks={checks}")

    def standing(self, check: Check) -> Standing:
        """Whether ``check`` is claimed, and why it cannot run, if so."""
        missing = [feature.value for feature in check.requires if feature not in self.spec.features]
        if missing:
            return Standing("", f"this mesh has not: {', '.join(missing)}")
        if check.watches and not self.gate:
            return Standing("", NO_CHANGE)
        by = self._claimed_by(check)
        if not by:
            profile = check.profile.value
            return Standing("", f"not claimed: {profile} profile ({self._claiming(check)})")
        if self.replay and check.kind is not Kind.STATIC:
            what = f"a {check.kind.value} check cannot run on a recorded snapshot"
            return Standing(by, f"needs a mesh: {what} (leave --mesh-replay out)")
        if check.profile is Profile.DISRUPTIVE and not self.may_disrupt and not self.replay:
            only = "on clusters that outlive the run it runs only with --mesh-disruptive"
            return Standing(by, f"{check.effect or 'it changes the mesh'}: {only}")
        if lacking := [one for one in check.permissions if not self.allows(one)]:
            effects = "; ".join(permission.effect for permission in lacking)
            names = ",".join(permission.value for permission in (*self.permissions, *lacking))
            return Standing(by, f"{effects}; add --mesh-allow={names} where that may be")
        return Standing(by)

    def _claimed_by(self, check: Check) -> str:
        if self.profile.includes(check.profile):
            return check.profile.value
        return QUICK if self.quick and check.quick else ""

    def _claiming(self, check: Check) -> str:
        """The options with which a check would be claimed."""
        profile = f"--mesh-profile={check.profile.value}"
        if check.profile is not Profile.DISRUPTIVE or self.disposable or self.replay:
            return profile
        if check.quick and self.profile is Profile.CORE:
            return "--mesh-disruptive"
        return f"--mesh-disruptive {profile}"

    @property
    def claim(self) -> str:
        """The profile as claimed, in words."""
        quick = " + quick disruptive" if self.quick else ""
        return f"{self.profile.value}{quick}"

    @property
    def claimed_profiles(self) -> tuple[Profile, ...]:
        """The profiles of which checks are claimed."""
        also = (Profile.DISRUPTIVE,) if self.quick else ()
        return tuple(one for one in Profile if self.profile.includes(one) or one in also)

    @property
    def may_disrupt(self) -> bool:
        """Whether checks may touch more than namespaces of their own.

        Only where disruptive checks are claimed: on clusters that outlive the run, with
        ``--mesh-disruptive``.
        """
        permitted = self.disposable or self.disruptive
        return permitted and Profile.DISRUPTIVE in self.claimed_profiles

    def allows(self, permission: Permission) -> bool:
        """Whether this may be done to the traffic of others; a lab has no others."""
        return self.disposable or permission in self.permissions

    def selects(self, check: Check) -> bool:
        """Whether ``--mesh-checks`` has this check: by id, area (``MC-TRUST``) or ``static``.

        What judges a watched change is judged wherever there is one.
        """
        return (check.watches and bool(self.gate)) or check.among(self.checks)

    def reads_only(self, checks: Iterable[Check]) -> bool:
        """Whether ``--mesh-checks`` has none of these but what judges the snapshot alone.

        Such a run writes nothing to any cluster: it has no probes.
        """
        wanted = [one for one in checks if self.selects(one)]
        return bool(self.checks) and all(one.reads_only or one.watches for one in wanted)


@dataclass(frozen=True)
class Assignment:
    """What a session was asked to certify: a run for each topology.

    ``overall`` is the file for the result of all; None where one run's certificate is the result.
    """

    runs: tuple[Settings, ...]
    overall: Path | None = None
    given: Mapping[str, Given] = field(default_factory=dict)
    selection: Selection = Selection()

    def reproduce(self) -> str:
        """The command that repeats the session, typed in the same folder."""
        return _command(self.selection.words(), self.given)

    def selecting(self, selection: Selection) -> Assignment:
        """The same, of these tests."""
        runs = tuple(replace(run, selection=selection) for run in self.runs)
        return replace(self, runs=runs, selection=selection)


@dataclass(frozen=True)
class Standing:
    """How a check stands in a run.

    - ``by``: the profile by which it is claimed, or :data:`QUICK`; empty where it is not.
    - A claimed check that does not run makes the certificate partial.
    - ``obstacle`` says why it cannot run and what would enable it; empty where it can.
    """

    by: str
    obstacle: str = ""

    @property
    def claimed(self) -> bool:
        """Whether the mesh claims to pass it."""
        return bool(self.by)


def _command(selected: Iterable[str], given: Mapping[str, Given], *more: str) -> str:
    words = ["pytest", *selected]
    for name, entry in given.items():
        flag = "--mesh-" + name.replace("_", "-")
        words.append(flag if name in SWITCHES else f"{flag}={entry.text}")
    return " ".join(map(quoted, (*words, *more)))
