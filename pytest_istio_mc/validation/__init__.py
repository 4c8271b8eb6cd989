"""Validation: reads what was given into :class:`Settings`, and refuses nonsense."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from ..checks.catalogue import Profile
from ..providers import VERSIONED, is_disposable, versions_of
from ..settings import ATTACH, DEFAULT_PROVIDER, REPLAY, TYPED, Assignment, Given, Settings
from . import meshes, values
from .refusals import meant, refuse, refuse_with

if TYPE_CHECKING:
    from ..providers import Provider
    from ..topologies import Topology


def assignment_from(
    given: Mapping[str, Given],
    environment: Mapping[str, str],
    *,
    providers: Mapping[str, Provider],
    topologies: Mapping[str, Topology],
) -> Assignment:
    """Read and validate everything that was given.

    - Reads files (spec, kubeconfig, snapshot, baseline) and starts nothing.
    - Of several topologies each has a certificate and a snapshot of its own, named after it.
    - Raises :class:`UsageProblem`, which says what would have been valid.
    """
    asked = {name: entry for name, entry in given.items() if name not in ("list", "plan")}

    def settings_of(topology: str) -> Settings:
        mine = {**given, "topology": replace(given["topology"], text=topology)}
        return _settings_from(mine, environment, providers, topologies)

    if "replay" in given or "topology" not in given:
        return Assignment((_settings_from(given, environment, providers, topologies),), given=asked)
    names = _topology_names(given, topologies)
    if len(names) == 1:
        return Assignment((settings_of(names[0]),), given=asked)
    several = f"{len(names)} topologies: they describe one mesh"
    refuse_with(given, several, "spec", "contexts", "kubeconfig")
    refuse_with(given, f"{len(names)} topologies: a command changes one mesh", "gate", "control")
    if "provider" in given and given["provider"].text == ATTACH:
        advice = "name that one with --mesh-topology"
        raise refuse("--mesh-provider", "clusters that exist are of one topology", advice=advice)
    runs = []
    for name in names:
        settings = settings_of(name)
        report = settings.report.with_stem(f"{settings.report.stem}-{name}")
        values.require_report(report)
        snapshot = settings.snapshot and settings.snapshot / name
        runs.append(replace(settings, report=report, snapshot=snapshot))
    return Assignment(tuple(runs), overall=values.report(given), given=asked)


def _settings_from(
    given: Mapping[str, Given],
    environment: Mapping[str, str],
    providers: Mapping[str, Provider],
    topologies: Mapping[str, Topology],
) -> Settings:
    replay = given.get("replay")
    provider = REPLAY if replay else _provider(given, providers)
    disposable = not replay and is_disposable(providers[provider])
    takes_contexts = not (replay or disposable)
    if disposable:
        refuse_with(given, f"the provider {provider}, which builds until it is ready", "wait")
    chosen = {name: _version(given, name, provider, providers) for name in VERSIONED}
    if not takes_contexts:
        refuse_with(given, f"the provider {provider}", "contexts", "kubeconfig", "namespace")
    if replay:
        others = ("provider", "keep", "disruptive", "allow", "snapshot", "probe_image", "spec")
        refuse_with(given, "--mesh-replay", *others, "probe_patch", "namespace", "wait")
        spec = meshes.replayed(replay, given)
    else:
        spec = meshes.wanted(given, topologies)
    if provider == ATTACH or (takes_contexts and "contexts" in given):
        spec = meshes.located(spec, given, environment)
    if "self_test" in given:
        raise refuse(
            "--mesh-self-test",
            "no check of this version ships its own sabotage yet",
            advice="leave it out",
        )
    profile, permissions = values.profile(given), values.permissions(given)
    disruptive = "disruptive" in given
    if not replay:
        _demand_typed(given, provider, disposable=disposable)
        _demand_sense(given, profile, disposable=disposable)
    _demand_gate(given, provider, takes_contexts=takes_contexts)
    return Settings(
        topology=spec.topology,
        provider=provider,
        spec=spec,
        profile=profile or Profile.CORE,
        quick=profile is None and not replay and (disposable or disruptive),
        spec_file=given["spec"].path if "spec" in given and not replay else None,
        report=values.report(given),
        page="no_page" not in given,
        baseline=values.existing_file(given, "baseline"),
        snapshot=values.new_folder(given, "snapshot"),
        replay=replay.path if replay else None,
        strict="strict" in given,
        disruptive=disruptive,
        permissions=permissions,
        keep="keep" in given,
        timeout_factor=values.timeout_factor(given),
        wait_seconds=0.0 if replay or disposable else values.wait_seconds(given),
        probe_image=values.probe_image(given),
        istio=chosen["istio"],
        kubernetes=chosen["kubernetes"],
        wishes=values.wishes(given),
        checks=values.checks(given),
        given={name: entry for name, entry in given.items() if name not in ("list", "plan")},
        disposable=disposable,
        gate=given["gate"].text if "gate" in given else "",
        control=given["control"].text if "control" in given else "",
        known_topology=topologies.get(spec.topology),
    )


def _demand_typed(given: Mapping[str, Given], provider: str, *, disposable: bool) -> None:
    """Refuse what hurts others where nobody typed it for this very run."""
    if disposable:
        refuse_with(given, f"the provider {provider}, which allows everything", "allow")
        return
    for name in ("disruptive", "allow"):
        if name in given and given[name].source != TYPED:
            option, source = f"--mesh-{name}", given[name].source
            raise refuse(
                option,
                f"comes from {_SOURCES[source].format(name=name, upper=name.upper())}; on clusters "
                "that outlive the run it must be typed on the command line",
                advice=f"take it away there, and type {option} where it may be",
            )


def _demand_gate(given: Mapping[str, Given], provider: str, *, takes_contexts: bool) -> None:
    """Refuse to watch a command that makes no sense, or that nobody typed."""
    for name in ("gate", "control"):
        if name in given and given[name].source != TYPED:
            raise refuse(
                f"--mesh-{name}",
                "is a command that changes clusters, and comes from "
                + _SOURCES[given[name].source].format(name=name, upper=name.upper()),
                advice="type it on the command line",
            )
    if "gate" not in given:
        if "control" in given:
            raise refuse("--mesh-control", "controls nothing without --mesh-gate")
        return
    if not takes_contexts:
        advice = "name clusters that exist: --mesh-provider=attach"
        detail = f"changes a mesh that stays; the provider {provider} has none"
        raise refuse("--mesh-gate", detail, advice=advice)
    refuse_with(given, "--mesh-gate, which changes nothing itself", "disruptive", "allow", "keep")
    refuse_with(given, "--mesh-gate, whose baseline is its own certificate before", "baseline")


_SOURCES = {
    "environment": "the environment (ISTIO_MC_{upper} or MESH_{upper})",
    "ini": "the ini file (mesh_{name})",
    "addopts": "addopts (of the ini file, or PYTEST_ADDOPTS)",
}


def _demand_sense(given: Mapping[str, Given], profile: Profile | None, *, disposable: bool) -> None:
    """Refuse a profile and permissions that contradict each other."""
    disruptive = "disruptive" in given
    contradict = profile is not None and profile is not Profile.DISRUPTIVE
    if disruptive and contradict and (not disposable or given["disruptive"].source != "ini"):
        assert profile is not None
        advice = "leave one of them out, or give --mesh-profile=disruptive"
        detail = f"makes no sense together with --mesh-profile={profile.value}"
        raise refuse("--mesh-disruptive", f"{detail}, which disrupts nothing", advice=advice)
    if disposable or disruptive:
        return
    if profile is Profile.DISRUPTIVE:
        raise refuse(
            "--mesh-profile",
            "the disruptive profile changes clusters that outlive the run, and nothing allows it",
            advice="add --mesh-disruptive (--mesh-plan then tells what is done to whom), or give "
            "--mesh-profile=core",
        )
    if "allow" in given:
        advice = "add --mesh-disruptive, or leave it out"
        raise refuse("--mesh-allow", "allows nothing without --mesh-disruptive", advice=advice)


def _provider(given: Mapping[str, Given], known: Mapping[str, Provider]) -> str:
    name = given["provider"].text if "provider" in given else DEFAULT_PROVIDER
    if name not in known:
        detail = f'no provider is called "{name}"{meant(name, known)}'
        raise refuse("--mesh-provider", detail, sorted(known))
    return name


def _version(
    given: Mapping[str, Given], project: str, provider: str, providers: Mapping[str, Provider]
) -> str:
    """The minor version of a project that the provider is to build; empty where it chooses."""
    valid = versions_of(providers[provider], project) if provider in providers else ()
    if not valid:
        refuse_with(given, f"the provider {provider}, whose clusters have their versions", project)
    if not valid or project not in given:
        return ""
    return values.version(given, project, valid)


def _topology_names(given: Mapping[str, Given], known: Mapping[str, Topology]) -> list[str]:
    text = given["topology"].text
    names = [name for part in text.split(",") if (name := part.strip())]
    if "all" in names:
        names = list(known)  # of which whatever else is named is a part
    names = list(dict.fromkeys(names))
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        called = ", ".join(unknown) or text
        valid = [*sorted(known), "all"]
        hint = meant(unknown[0], valid) if unknown else ""
        raise refuse("--mesh-topology", f'no topology is called "{called}"{hint}', valid)
    return names
