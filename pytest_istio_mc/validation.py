"""Validation: reads what was given into :class:`Settings`, and refuses nonsense with what would have been valid."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .checks.catalogue import Profile
from .errors import UsageProblem
from .settings import (
    ATTACH,
    DEFAULT_PROVIDER,
    DEFAULT_REPORT,
    REPLAY,
    REPORT_SUFFIXES,
    Assignment,
    Given,
    Settings,
)
from .spec import ClusterSpec, MeshSpec, with_contexts

if TYPE_CHECKING:
    from .providers import Provider
    from .topologies import Topology

_NOTHING_STARTED = "nothing was started"


def assignment_from(
    given: Mapping[str, Given],
    environment: Mapping[str, str],
    *,
    providers: Mapping[str, Provider],
    topologies: Mapping[str, Topology],
) -> Assignment:
    """Read and validate everything that was given; :class:`UsageProblem` with what would have been valid.

    Reads files (spec, kubeconfig, snapshot, baseline) and starts nothing. With several topologies each has a certificate and a snapshot
    of its own, named after it.
    """
    asked = {name: entry for name, entry in given.items() if name not in ("list", "plan")}
    names = (
        () if "replay" in given or "topology" not in given else _topology_names(given, topologies)
    )
    if len(names) < 2:
        one = {**given, "topology": replace(given["topology"], text=names[0])} if names else given
        return Assignment(
            (_settings_from(one, environment, providers=providers, topologies=topologies),),
            given=asked,
        )
    _refuse_with(
        given, f"{len(names)} topologies: they describe one mesh", "spec", "contexts", "kubeconfig"
    )
    if "provider" in given and given["provider"].text == ATTACH:
        raise _refuse(
            "--mesh-provider",
            "clusters that exist are of one topology",
            advice="name that one with --mesh-topology",
        )
    runs = []
    for name in names:
        mine = {**given, "topology": replace(given["topology"], text=name)}
        settings = _settings_from(mine, environment, providers=providers, topologies=topologies)
        report = settings.report.with_stem(f"{settings.report.stem}-{name}")
        runs.append(
            replace(
                settings, report=report, snapshot=settings.snapshot and settings.snapshot / name
            )
        )
    return Assignment(tuple(runs), overall=_report(given), given=asked)


def _settings_from(
    given: Mapping[str, Given],
    environment: Mapping[str, str],
    *,
    providers: Mapping[str, Provider],
    topologies: Mapping[str, Topology],
) -> Settings:
    replay = given.get("replay")
    provider = REPLAY if replay else _provider(given, providers)
    if provider in (DEFAULT_PROVIDER, REPLAY):
        _refuse_with(given, f"the provider {provider}", "contexts", "kubeconfig")
    if replay:
        _refuse_with(
            given,
            "--mesh-replay",
            "provider",
            "keep",
            "disruptive",
            "snapshot",
            "probe_image",
            "spec",
        )
    spec, spec_file = _replayed_spec(replay, given) if replay else _wanted_spec(given, topologies)
    if provider == ATTACH or (provider not in (DEFAULT_PROVIDER, REPLAY) and "contexts" in given):
        spec = _with_contexts(spec, given, environment)
    if "self_test" in given:
        raise UsageProblem(
            "--mesh-self-test",
            "no check of this version ships its own sabotage yet",
            advice=f"leave it out; {_NOTHING_STARTED}",
        )
    return Settings(
        topology=spec.topology,
        provider=provider,
        spec=spec,
        profile=_profile(given),
        spec_file=spec_file,
        report=_report(given),
        baseline=_existing_file(given, "baseline"),
        snapshot=_snapshot_folder(given),
        replay=replay.path if replay else None,
        disruptive="disruptive" in given,
        keep="keep" in given,
        timeout_factor=_factor(given),
        probe_image=_image(given),
        checks=_checks(given),
        given={name: entry for name, entry in given.items() if name not in ("list", "plan")},
    )


def _refuse(option: str, detail: str, valid: Sequence[str] = (), advice: str = "") -> UsageProblem:
    known = f"valid are: {', '.join(valid)}" if valid else ""
    return UsageProblem(
        option, detail, advice="; ".join(part for part in (known, advice, _NOTHING_STARTED) if part)
    )


def _refuse_with(given: Mapping[str, Given], what: str, *names: str) -> None:
    for name in names:
        entry = given.get(name)
        if entry and entry.source != "ini":
            raise _refuse(
                f"--mesh-{name.replace('_', '-')}",
                f"makes no sense together with {what}",
                advice="--mesh-provider=attach is the one that takes clusters of yours"
                if name in ("contexts", "kubeconfig")
                else "",
            )


def _provider(given: Mapping[str, Given], known: Mapping[str, Provider]) -> str:
    name = given["provider"].text if "provider" in given else DEFAULT_PROVIDER
    if name not in known:
        raise _refuse("--mesh-provider", f'no provider is called "{name}"', sorted(known))
    return name


def _topology_names(given: Mapping[str, Given], known: Mapping[str, Topology]) -> list[str]:
    text = given["topology"].text
    names = (
        list(known)
        if text == "all"
        else list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    )
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise _refuse(
            "--mesh-topology",
            f'no topology is called "{", ".join(unknown) or text}"',
            [*sorted(known), "all"],
        )
    return names


def _wanted_spec(
    given: Mapping[str, Given], known: Mapping[str, Topology]
) -> tuple[MeshSpec, Path | None]:
    if "topology" not in given:
        raise _refuse("--mesh-topology", "is missing", [*sorted(known), "all"])
    name = given["topology"].text
    topology = known[name]
    if "spec" not in given:
        contexts = _contexts(given)
        spec = topology.default_spec(len(contexts)) if contexts else topology.default_spec()
        return (_renamed(spec, tuple(contexts)) if contexts else spec), None
    path = given["spec"].path
    spec = MeshSpec.from_dict(_document(path, "--mesh-spec"), f"--mesh-spec {path}")
    if spec.topology != name:
        raise _refuse(
            "--mesh-spec",
            f'{path.name} describes "{spec.topology}", --mesh-topology says "{name}"',
            advice=f"give --mesh-topology={spec.topology} or another file",
        )
    topology.check(spec)
    return spec, path


def _renamed(spec: MeshSpec, names: Sequence[str]) -> MeshSpec:
    new = dict(zip((cluster.name for cluster in spec), names, strict=True))

    def rename(cluster: ClusterSpec) -> ClusterSpec:
        plane = new.get(cluster.control_plane, cluster.control_plane)
        return replace(cluster, name=new[cluster.name], control_plane=plane)

    return replace(spec, clusters=tuple(rename(cluster) for cluster in spec)).validated()


def _replayed_spec(replay: Given, given: Mapping[str, Given]) -> tuple[MeshSpec, Path | None]:
    from .snapshot import Snapshot

    if not replay.path.is_dir():
        raise _refuse(
            "--mesh-replay",
            f"{replay.path} is not a folder",
            advice="give one that --mesh-snapshot wrote",
        )
    try:
        spec = Snapshot.load(replay.path).spec
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _refuse(
            "--mesh-replay",
            f"{replay.path} holds no readable snapshot: {error!r}",
            advice="give one that --mesh-snapshot wrote",
        ) from error
    if "topology" in given and given["topology"].text not in (spec.topology, "all"):
        raise _refuse(
            "--mesh-replay",
            f'the snapshot is of "{spec.topology}", --mesh-topology says "{given["topology"].text}"',
            advice="leave --mesh-topology out",
        )
    return spec, None


def _contexts(given: Mapping[str, Given]) -> dict[str, str]:
    if "contexts" not in given:
        return {}
    contexts: dict[str, str] = {}
    for part in given["contexts"].text.split(","):
        name, equals, context = (piece.strip() for piece in part.partition("="))
        if not (name and equals and context):
            raise _refuse(
                "--mesh-contexts",
                f'"{part.strip()}" is not cluster=context',
                advice="write east=prod-a,west=prod-b",
            )
        if name in contexts:
            raise _refuse("--mesh-contexts", f'cluster "{name}" is given twice')
        contexts[name] = context
    return contexts


def _with_contexts(
    spec: MeshSpec, given: Mapping[str, Given], environment: Mapping[str, str]
) -> MeshSpec:
    contexts = _contexts(given)
    names = [cluster.name for cluster in spec]
    strangers = [name for name in contexts if name not in names]
    if strangers:
        raise _refuse("--mesh-contexts", f'"{", ".join(strangers)}" is not in the mesh', names)
    without = [
        cluster.name for cluster in spec if not (contexts.get(cluster.name) or cluster.context)
    ]
    if without:
        raise _refuse(
            "--mesh-contexts",
            f"no context for cluster {', '.join(without)}",
            advice="write --mesh-contexts="
            + ",".join(f"{name}=CONTEXT" for name in names)
            + " or put contexts into the --mesh-spec file",
        )
    kubeconfig = _kubeconfig(spec, given, environment)
    spec = with_contexts(spec, contexts, kubeconfig).validated()
    known = _known_contexts(kubeconfig)
    missing = sorted(cluster.context for cluster in spec if cluster.context not in known)
    if missing:
        raise _refuse(
            "--mesh-contexts",
            f"the kubeconfig {kubeconfig} has no context {', '.join(missing)}",
            sorted(known) or ["none"],
        )
    return spec


def _kubeconfig(spec: MeshSpec, given: Mapping[str, Given], environment: Mapping[str, str]) -> str:
    if "kubeconfig" in given:
        return os.pathsep.join(
            str(given["kubeconfig"].folder / part)
            for part in given["kubeconfig"].text.split(os.pathsep)
            if part
        )
    if spec.kubeconfig:
        folder = given["spec"].path.parent if "spec" in given else Path.cwd()
        return str(folder / Path(spec.kubeconfig).expanduser())
    return environment.get("KUBECONFIG") or str(Path("~/.kube/config").expanduser())


def _known_contexts(kubeconfig: str) -> set[str]:
    found: set[str] = set()
    for part in kubeconfig.split(os.pathsep):
        if part:
            document = _document(Path(part), "--mesh-kubeconfig")
            entries = document.get("contexts") if isinstance(document, Mapping) else None
            if not isinstance(entries, list):
                raise _refuse(
                    "--mesh-kubeconfig", f"{part} is not a kubeconfig: it has no list of contexts"
                )
            found |= {
                str(entry["name"])
                for entry in entries
                if isinstance(entry, Mapping) and "name" in entry
            }
    return found


def _document(path: Path, option: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise _refuse(option, f"{path} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise _refuse(option, f"{path} is neither YAML nor JSON: {error}") from error


def _profile(given: Mapping[str, Given]) -> Profile:
    text = given["profile"].text if "profile" in given else Profile.CORE.value
    if text not in [profile.value for profile in Profile]:
        raise _refuse(
            "--mesh-profile",
            f'no profile is called "{text}"',
            [profile.value for profile in Profile],
        )
    return Profile(text)


def _factor(given: Mapping[str, Given]) -> float:
    if "timeout_factor" not in given:
        return 1.0
    text = given["timeout_factor"].text
    try:
        factor = float(text)
    except ValueError:
        factor = math.nan
    if not (math.isfinite(factor) and factor > 0):
        raise _refuse(
            "--mesh-timeout-factor",
            f'"{text}" is not a number above 0',
            advice="2 doubles every wait",
        )
    return factor


def _image(given: Mapping[str, Given]) -> str:
    text = given["probe_image"].text if "probe_image" in given else ""
    if any(character.isspace() for character in text):
        raise _refuse(
            "--mesh-probe-image",
            f'"{text}" is not an image reference',
            advice="write registry/python:3.13-slim",
        )
    return text


def _checks(given: Mapping[str, Given]) -> tuple[str, ...]:
    if "checks" not in given:
        return ()
    from .checks import catalogue

    chosen = tuple(
        dict.fromkeys(
            part.strip().upper() for part in given["checks"].text.split(",") if part.strip()
        )
    )
    known = catalogue.known_checks()
    for text in chosen or ("",):
        if not any(id == text or id.startswith(text + "-") for id in known):
            areas = sorted({id.rpartition("-")[0] for id in known})
            raise _refuse(
                "--mesh-checks",
                f'"{text}" is no check and no area',
                areas,
                "--mesh-list prints every id",
            )
    return chosen


def _existing_file(given: Mapping[str, Given], name: str) -> Path | None:
    if name not in given:
        return None
    path = given[name].path
    if not (path.is_file() and os.access(path, os.R_OK)):
        raise _refuse(f"--mesh-{name}", f"{path} is not a readable file")
    return path


def _report(given: Mapping[str, Given]) -> Path:
    path = given["report"].path if "report" in given else Path.cwd() / DEFAULT_REPORT
    if path.suffix not in REPORT_SUFFIXES:
        raise _refuse("--mesh-report", f"{path.name} does not say its format", REPORT_SUFFIXES)
    _writable_parent(path, "--mesh-report")
    if path.is_dir():
        raise _refuse("--mesh-report", f"{path} is a folder")
    return path


def _snapshot_folder(given: Mapping[str, Given]) -> Path | None:
    if "snapshot" not in given:
        return None
    path = given["snapshot"].path
    _writable_parent(path, "--mesh-snapshot")
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise _refuse(
            "--mesh-snapshot",
            f"{path} exists already and is not an empty folder",
            advice="give a new folder",
        )
    return path


def _writable_parent(path: Path, option: str) -> None:
    folder = path.parent
    if not folder.is_dir():
        raise _refuse(option, f"the folder {folder} does not exist", advice=f"mkdir -p {folder}")
    if not os.access(folder, os.W_OK):
        raise _refuse(option, f"the folder {folder} is not writable")
