"""Options: where they come from, and how nonsense is refused."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_istio_mc.checks.catalogue import Check, Kind, Profile, known_checks
from pytest_istio_mc.errors import UsageProblem
from pytest_istio_mc.mesh import Wishes
from pytest_istio_mc.offered import OPTIONS
from pytest_istio_mc.providers import known as known_providers
from pytest_istio_mc.rights import Permission
from pytest_istio_mc.settings import Given, Settings
from pytest_istio_mc.spec import Feature
from pytest_istio_mc.topologies import known as known_topologies
from pytest_istio_mc.validation import assignment_from
from tests.certifying import CERTIFY, report_of, write_suite
from tests.fake_mesh import SPEC_URL, FakeLab, FakeProvider, fake_topology

pytestmark = pytest.mark.usefixtures("clean_environment")

NAME = "fake-topology"
TOPOLOGY = fake_topology(NAME)
PROVIDERS = known_providers() | {"fake": FakeProvider(), "fake-lab": FakeLab()}
NO_SENSE_WITH = "makes no sense together with the provider"
CONTEXTS_FOR_BOTH = "cluster1=CONTEXT,cluster2=CONTEXT"


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Path:
    """A kubeconfig with three contexts."""
    path = tmp_path / "kubeconfig"
    contexts = [{"name": name} for name in ("prod-a", "prod-b", "other")]
    path.write_text(yaml.safe_dump({"kind": "Config", "contexts": contexts}))
    return path


@pytest.fixture
def spec_file(tmp_path: Path) -> Path:
    """A mesh spec file with contexts."""
    path = tmp_path / "mesh.yaml"
    clusters = [
        {"name": name, "network": f"net-{name}", "context": f"prod-{name[0]}"}
        for name in ("alpha", "beta")
    ]
    path.write_text(yaml.safe_dump({"topology": "fake-topology", "clusters": clusters}))
    return path


def read(folder: Path, environment: dict[str, str] | None = None, **texts: object) -> Settings:
    """The settings of these options, all from the command line."""
    wanted = {"topology": "fake-topology", "report": "r.yaml", **texts}
    given = {name: Given(str(text), "command line", folder) for name, text in wanted.items()}
    known = {NAME: TOPOLOGY}
    assignment = assignment_from(given, environment or {}, providers=PROVIDERS, topologies=known)
    (settings,) = assignment.runs
    return settings


def test_the_lab_is_the_default_and_needs_nothing_but_a_topology(tmp_path: Path) -> None:
    settings = read(tmp_path)

    assert (settings.topology, settings.known_topology) == ("fake-topology", TOPOLOGY)
    assert (settings.provider, settings.profile) == ("lab", Profile.CORE)
    assert [cluster.name for cluster in settings.spec] == ["cluster1", "cluster2"]
    assert settings.overrides == ()


def test_all_is_the_one_topology_there_is(tmp_path: Path) -> None:
    assert read(tmp_path, topology="all").topology == "fake-topology"
    assert read(tmp_path, topology="fake-topology,fake-topology").topology == "fake-topology"


def test_contexts_name_the_clusters(tmp_path: Path, kubeconfig: Path) -> None:
    contexts = "east=prod-a, west=prod-b"

    settings = read(tmp_path, provider="attach", contexts=contexts, kubeconfig=kubeconfig)

    found = [(cluster.name, cluster.context) for cluster in settings.spec]
    assert found == [("east", "prod-a"), ("west", "prod-b")]
    assert settings.spec.kubeconfig == str(kubeconfig)


def test_the_kubeconfig_comes_from_the_environment_where_none_is_given(
    tmp_path: Path, kubeconfig: Path
) -> None:
    environment = {"KUBECONFIG": f"{kubeconfig}:{kubeconfig}"}

    settings = read(tmp_path, environment, provider="attach", contexts="east=prod-a,west=prod-b")

    assert settings.spec.kubeconfig == f"{kubeconfig}:{kubeconfig}"


@pytest.mark.parametrize("given", ["{name}", "./{name}:sub/../{name}", "{name}:"])
@pytest.mark.parametrize("way", ["option", "environment"])
def test_every_path_of_a_kubeconfig_is_absolute_wherever_it_comes_from(
    tmp_path: Path, kubeconfig: Path, way: str, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(kubeconfig.parent)
    (kubeconfig.parent / "sub").mkdir(exist_ok=True)
    text = given.format(name=kubeconfig.name)
    options: dict[str, Any] = {"kubeconfig": text} if way == "option" else {}
    environment = {"KUBECONFIG": text} if way == "environment" else {}

    settings = read(
        tmp_path, environment, provider="attach", contexts="east=prod-a,west=prod-b", **options
    )

    parts = settings.spec.kubeconfig.split(":")
    assert len(parts) == len([part for part in text.split(":") if part])
    assert all(Path(part).is_absolute() and Path(part).is_file() for part in parts)


def test_a_spec_file_has_contexts_of_its_own_and_the_command_line_overrules_them(
    tmp_path: Path, spec_file: Path, kubeconfig: Path
) -> None:
    options: dict[str, Any] = {"provider": "attach", "spec": spec_file, "kubeconfig": kubeconfig}
    own, overruled = read(tmp_path, **options), read(tmp_path, **options, contexts="beta=other")

    assert [cluster.context for cluster in own.spec] == ["prod-a", "prod-b"]
    assert [cluster.context for cluster in overruled.spec] == ["prod-a", "other"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"topology": "ring"}, 'no topology is called "ring".*valid are: fake-topology, all'),
        ({"topology": "fake-topology,ring,star"}, 'no topology is called "ring, star"'),
        ({"topology": ","}, 'no topology is called ","'),
        ({"provider": "kind"}, 'provider is called "kind".*valid are: attach, fake, fake-lab, lab'),
        ({"contexts": "a=b"}, f"--mesh-contexts: {NO_SENSE_WITH} lab.*--mesh-provider=attach"),
        ({"kubeconfig": "x"}, f"--mesh-kubeconfig: {NO_SENSE_WITH} lab"),
        ({"provider": "fake-lab", "contexts": "a=b"}, f"--mesh-contexts: {NO_SENSE_WITH} fake-lab"),
        (
            {"provider": "attach"},
            f"no context for cluster cluster1, cluster2.*--mesh-contexts={CONTEXTS_FOR_BOTH}",
        ),
        (
            {"provider": "attach", "contexts": "east"},
            '"east" is not cluster=context.*write east=prod-a,west=prod-b',
        ),
        ({"provider": "attach", "contexts": "east=a,east=b"}, 'cluster "east" is given twice'),
        (
            {"provider": "attach", "contexts": "east=a,west=a", "kubeconfig": "kubeconfig"},
            'context "a" is given for 2 clusters',
        ),
        (
            {"provider": "attach", "contexts": "a=b,c=d", "kubeconfig": "absent"},
            "--mesh-kubeconfig: .*absent cannot be read",
        ),
        (
            {"provider": "attach", "contexts": "a=x,c=y", "kubeconfig": "kubeconfig"},
            "no context x, y.*valid are: other, prod-a, prod-b",
        ),
        (
            {"provider": "attach", "contexts": "a=x,c=y", "kubeconfig": "list.yaml"},
            "is not a kubeconfig",
        ),
        (
            {"provider": "attach", "contexts": "gamma=other", "spec": "mesh.yaml"},
            '"gamma" is not in the mesh.*valid are: alpha, beta',
        ),
        ({"spec": "absent.yaml"}, "--mesh-spec: .*absent.yaml cannot be read"),
        (
            {"spec": "broken.yaml"},
            "--mesh-spec: .*broken.yaml cannot be read: is neither YAML nor JSON: line 2",
        ),
        (
            {"spec": "list.yaml"},
            "--mesh-spec .*list.yaml: malformed: the document: expected an object, found a list",
        ),
        (
            {"spec": "ring.yaml"},
            f'ring.yaml describes "ring", --mesh-topology says "{NAME}".*--mesh-topology=ring',
        ),
        ({"spec": "flat.yaml"}, "fake-topology needs two networks"),
        ({"profile": "gold"}, 'no profile is called "gold".*valid are: core, extended, disruptive'),
        ({"timeout_factor": "0"}, '"0" is not a number above 0'),
        ({"timeout_factor": "-1"}, "is not a number above 0"),
        ({"timeout_factor": "nan"}, "is not a number above 0"),
        ({"timeout_factor": "inf"}, "is not a number above 0"),
        ({"timeout_factor": "twice"}, '"twice" is not a number'),
        ({"report": "r.html"}, "r.html does not say its format.*valid are: .yaml, .yml, .json"),
        ({"report": "no/such/r.yaml"}, "the folder .*no/such does not exist.*mkdir -p"),
        ({"report": "folder.yaml"}, "folder.yaml is a folder"),
        ({"baseline": "absent.yaml"}, "--mesh-baseline: .*absent.yaml is not a readable file"),
        ({"snapshot": "full"}, "--mesh-snapshot: .*full exists already and is not an empty folder"),
        ({"snapshot": "mesh.yaml"}, "exists already and is not an empty folder"),
        ({"istio": "1.29"}, '--mesh-istio: no lab is made of Istio "1.29".*valid are: 1.31, 1.30'),
        ({"istio": "1.30.4"}, 'no lab is made of Istio "1.30.4"'),
        ({"istio": ""}, 'no lab is made of Istio ""'),
        ({"kubernetes": "v1.35"}, 'of Kubernetes "v1.35".*valid are: 1.36, 1.35'),
        (
            {"provider": "attach", "contexts": "a=x,c=y", "istio": "1.30"},
            "--mesh-istio: makes no sense together with the provider attach, whose clusters have",
        ),
        ({"provider": "fake", "kubernetes": "1.35"}, "with the provider fake, whose clusters have"),
        ({"probe_image": "python 3"}, '"python 3" is not an image reference'),
        (
            {"namespace": "probes"},
            "--mesh-namespace: makes no sense together with the provider lab",
        ),
        ({"provider": "fake", "namespace": "Probes"}, '"Probes" is not the name of a namespace'),
        ({"provider": "fake", "namespace": "probes,"}, '"" is not the name of a namespace'),
        ({"provider": "fake", "namespace": "a,b,a"}, '"a" is given twice'),
        ({"probe_patch": "absent.yaml"}, "--mesh-probe-patch: .*absent.yaml cannot be read"),
        ({"probe_patch": "broken.yaml"}, "broken.yaml cannot be read: is neither YAML nor JSON"),
        ({"probe_patch": "list.yaml"}, "list.yaml is not a patch of probes: the file: .*mapping"),
        (
            {"probe_patch": "patch.yaml"},
            "pod.spec.containers: cannot be patched; .*sections are namespace, pod, container",
        ),
        ({"checks": "MC-NONE"}, '"MC-NONE" is no check and no area.*MC-TRUST'),
        ({"checks": ","}, "is no check and no area"),
        ({"wait": "0", "provider": "fake"}, '--mesh-wait: "0" is not a number above 0'),
        ({"wait": "5", "replay": "absent"}, "--mesh-wait: makes no sense"),
        ({"self_test": "true"}, "--mesh-self-test: no check of this version"),
        ({"replay": "absent"}, "--mesh-replay: .*absent is not a folder"),
        ({"replay": "full"}, "full"),
    ],
)
def test_nonsense_is_refused_with_what_would_have_been_valid(
    tmp_path: Path, kubeconfig: Path, spec_file: Path, options: dict[str, Any], message: str
) -> None:
    (tmp_path / "broken.yaml").write_text("a: [")
    (tmp_path / "list.yaml").write_text("[]")
    (tmp_path / "patch.yaml").write_text("pod: {spec: {containers: []}}")
    for name, topology, network in (("ring", "ring", "two"), ("flat", "fake-topology", "one")):
        clusters = [{"name": "a", "network": "one"}, {"name": "b", "network": network}]
        text = yaml.safe_dump({"topology": topology, "clusters": clusters})
        (tmp_path / f"{name}.yaml").write_text(text)
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "something").touch()

    with pytest.raises(UsageProblem) as caught:
        read(tmp_path, **options)

    text = " ".join(str(caught.value).split())
    assert re.search(message, text), text
    assert "\n  next: " in str(caught.value)


def test_a_folder_that_takes_no_files_is_refused(tmp_path: Path) -> None:
    """Root may write everywhere, and no file can be made in /proc all the same."""
    with pytest.raises(UsageProblem, match="--mesh-report: the folder /proc is not writable"):
        read(tmp_path, report="/proc/r.yaml")


@pytest.mark.parametrize("option", ["report", "baseline", "snapshot", "spec", "replay"])
@pytest.mark.parametrize(
    "name", [f"{'x' * 300}.yaml", "a\0b.yaml", "~no-such-user/r.yaml", "pipe.yaml"]
)
def test_a_path_that_cannot_be_is_refused_before_anything_starts(
    tmp_path: Path, option: str, name: str
) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")

    with pytest.raises(UsageProblem) as caught:
        read(tmp_path, None, **{option: name})

    assert re.search(rf"--mesh-{option}|path '~no-such-user", str(caught.value))


def test_a_name_that_grows_with_the_topology_is_refused_where_it_grows_too_long(
    tmp_path: Path,
) -> None:
    long = f"{'x' * 249}.yaml"
    wanted = {"topology": "one,two", "report": long}
    given = {name: Given(text, "command line", tmp_path) for name, text in wanted.items()}
    known = {name: fake_topology(name) for name in ("one", "two")}

    with pytest.raises(UsageProblem, match=r"--mesh-report: .*File name too long"):
        assignment_from(given, {}, providers=PROVIDERS, topologies=known)


def test_the_command_to_reproduce_has_every_option_that_was_given(tmp_path: Path) -> None:
    settings = read(tmp_path, keep="true", timeout_factor="2", checks="MC-TRUST")

    suites = "pytest --mesh-topology=fake-topology"
    doubled = "--mesh-keep --mesh-timeout-factor=2"
    whole = f"{suites} --mesh-report=r.yaml {doubled} --mesh-checks=MC-TRUST"
    assert settings.reproduce() == whole
    one = f"{suites} {doubled} --mesh-checks=MC-TRUST-001"
    assert settings.reproduce(checks="MC-TRUST-001") == one
    assert settings.overrides == ("every time budget was multiplied by 2 (--mesh-timeout-factor)",)
    assert settings.timeouts.request == 10.0


def test_versions_of_the_lab_are_in_the_settings_the_certificate_and_the_command(
    tmp_path: Path,
) -> None:
    settings = read(tmp_path, istio="1.30", kubernetes="1.35")

    assert (settings.istio, settings.kubernetes) == ("1.30", "1.35")
    assert settings.to_dict()["istio"] == "1.30"
    assert settings.to_dict()["kubernetes"] == "1.35"
    assert "--mesh-istio=1.30 --mesh-kubernetes=1.35" in settings.reproduce()
    assert "istio" not in read(tmp_path).to_dict()


def test_versions_in_the_ini_file_do_not_bar_clusters_that_exist(
    tmp_path: Path, kubeconfig: Path
) -> None:
    typed = {"topology": NAME, "provider": "attach", "contexts": "a=prod-a,b=prod-b"}
    typed |= {"kubeconfig": str(kubeconfig), "report": "r.yaml"}
    given = {name: Given(text, "command line", tmp_path) for name, text in typed.items()}
    given["istio"] = Given("1.30", "ini", tmp_path)

    (settings,) = assignment_from(given, {}, providers=PROVIDERS, topologies={NAME: TOPOLOGY}).runs

    assert settings.istio == ""


def check(kind: Kind = Kind.STATIC, profile: Profile = Profile.CORE, *requires: Feature) -> Check:
    """A check of that kind."""
    return Check("MC-TRUST-999", "a check", kind, SPEC_URL, profile, requires)


FAULT = check(Kind.FAULT, Profile.DISRUPTIVE)
QUICK = replace(check(Kind.LIVE, Profile.DISRUPTIVE), exclusive=True, quick=True)


def test_what_is_wished_of_probes_is_in_the_certificate(tmp_path: Path) -> None:
    (tmp_path / "patch.yaml").write_text("namespace: {labels: {team: mesh}}")

    settings = read(
        tmp_path, provider="fake", namespace="probes, more", probe_patch="patch.yaml",
        probe_image="registry.example/python@sha256:" + "0" * 64,
    )  # fmt: skip

    assert settings.wishes == Wishes(
        ("probes", "more"), {"namespace": {"labels": {"team": "mesh"}}}
    )
    document = settings.to_dict()
    assert (document["namespaces"], document["probePatch"]) == ("probes,more", "patch.yaml")
    assert document["probeImage"].endswith("0" * 64)


def test_how_checks_stand(tmp_path: Path) -> None:
    lab, other = read(tmp_path), read(tmp_path, provider="fake", profile="extended")

    assert lab.standing(check()) == other.standing(check())
    assert (lab.standing(check()).claimed, lab.standing(check()).obstacle) == (True, "")
    assert not lab.standing(check(Kind.STATIC, Profile.EXTENDED)).claimed
    assert other.standing(check(Kind.STATIC, Profile.EXTENDED)).obstacle == ""
    flat = lab.standing(check(Kind.STATIC, Profile.CORE, Feature.FLAT))
    assert flat.obstacle == "this mesh has not: two or more clusters on one network"


EVERYTHING: dict[str, Any] = {"disruptive": "true", "profile": "disruptive"}
ASKED: list[tuple[dict[str, Any], str, str, bool]] = [
    ({"provider": "lab"}, "", "quick", True),
    ({"provider": "fake-lab"}, "", "quick", True),
    ({"provider": "lab", "profile": "core"}, "", "", False),
    ({"provider": "lab", "profile": "extended"}, "", "", False),
    ({"provider": "lab", "profile": "disruptive"}, "disruptive", "disruptive", True),
    ({"provider": "fake"}, "", "", False),
    ({"provider": "fake", "profile": "core"}, "", "", False),
    ({"provider": "fake", "profile": "extended"}, "", "", False),
    ({"provider": "fake", "disruptive": "true"}, "", "quick", True),
    ({"provider": "fake", **EVERYTHING}, "disruptive", "disruptive", True),
]
"""What was asked for, by what a fault and a quick disruptive check are claimed, and whether checks
may touch more than their own namespaces."""


@pytest.mark.parametrize(("options", "fault", "quick", "may_disrupt"), ASKED)
def test_who_claims_what_changes_the_mesh(
    tmp_path: Path, options: dict[str, Any], fault: str, quick: str, may_disrupt: bool
) -> None:
    settings = read(tmp_path, **options)

    assert (settings.standing(FAULT).by, settings.standing(QUICK).by) == (fault, quick)
    assert settings.may_disrupt is may_disrupt
    for one in (FAULT, QUICK):
        assert bool(settings.standing(one).obstacle) is not settings.standing(one).claimed
    assert settings.standing(check()).by == "core"


@pytest.mark.parametrize(
    ("options", "fault", "quick"),
    [
        ({"provider": "lab"}, "(--mesh-profile=disruptive)", ""),
        ({"profile": "core"}, "(--mesh-profile=disruptive)", "(--mesh-profile=disruptive)"),
        (
            {"provider": "fake"},
            "(--mesh-disruptive --mesh-profile=disruptive)",
            "(--mesh-disruptive)",
        ),
        (
            {"provider": "fake", "profile": "extended"},
            "(--mesh-disruptive --mesh-profile=disruptive)",
            "(--mesh-disruptive --mesh-profile=disruptive)",
        ),
    ],
)
def test_what_would_claim_a_check_is_said(
    tmp_path: Path, options: dict[str, Any], fault: str, quick: str
) -> None:
    settings = read(tmp_path, **options)

    assert settings.standing(FAULT).obstacle.endswith(fault)
    assert settings.standing(QUICK).obstacle.endswith(quick)


@pytest.mark.parametrize("permission", Permission)
def test_what_touches_traffic_of_others_wants_a_permission_of_its_own(
    tmp_path: Path, permission: Permission
) -> None:
    fault = replace(FAULT, permissions=(permission,))
    lab = read(tmp_path, profile="disruptive")
    refused = read(tmp_path, provider="fake", **EVERYTHING)
    allowed = read(tmp_path, provider="fake", **EVERYTHING, allow=f" {permission.value} ")

    assert (lab.standing(fault).obstacle, allowed.standing(fault).obstacle) == ("", "")
    assert refused.standing(fault).claimed
    obstacle = refused.standing(fault).obstacle
    assert obstacle == f"{permission.effect}; add --mesh-allow={permission.value} where that may be"
    assert refused.standing(FAULT).obstacle == ""


def test_a_run_that_is_asked_for_nothing_claims_core_and_in_the_lab_the_quick_ones(
    tmp_path: Path,
) -> None:
    checks = known_checks().values()
    lab, other = read(tmp_path), read(tmp_path, provider="fake")

    core = {one.id for one in checks if one.profile is Profile.CORE and not one.watches}
    quick = {one.id for one in checks if one.quick}
    spec = known_topologies()["multi-network-multi-primary"].default_spec()
    can = {one.id for one in checks if set(one.requires) <= set(spec.features)}
    for settings, wanted in ((lab, core | quick), (other, core)):
        mine = replace(settings, spec=spec)
        assert {one.id for one in checks if mine.standing(one).claimed} == wanted & can
        assert [
            one.id for one in checks if mine.standing(one).claimed and mine.standing(one).obstacle
        ] == []


@pytest.mark.parametrize("text", ["static", "STATIC", " static , MC-TRUST-001"])
def test_static_is_every_check_that_only_reads(tmp_path: Path, text: str) -> None:
    checks = known_checks().values()
    settings = read(tmp_path, provider="fake", checks=text)

    assert {one.id for one in checks if settings.selects(one)} == {
        one.id for one in checks if one.kind is Kind.STATIC and not one.probed
    }
    assert settings.reads_only(checks)
    assert not read(tmp_path, provider="fake").reads_only(checks)
    assert not read(tmp_path, provider="fake", checks="static,MC-SUBSET").reads_only(checks)
    assert not read(tmp_path, provider="fake", checks="MC-ACCESS-002").reads_only(checks)


def test_a_permission_that_lacks_is_asked_for_beside_those_that_were_given(tmp_path: Path) -> None:
    settings = read(tmp_path, provider="fake", **EVERYTHING, allow="remote-secrets")
    every = replace(FAULT, permissions=(Permission.EVERY_SERVICE,))

    assert "--mesh-allow=remote-secrets,every-service" in settings.standing(every).obstacle


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"profile": "disruptive"}, "nothing allows it.*add --mesh-disruptive"),
        ({"allow": "every-service"}, "--mesh-allow: allows nothing without --mesh-disruptive"),
        (
            {"disruptive": "true", "allow": "everything"},
            'no permission is called "everything".*every-service, remote-secrets, single-gateways',
        ),
        ({"disruptive": "true", "allow": ","}, 'no permission is called ","'),
        ({"disruptive": "true", "profile": "core"}, "no sense together with --mesh-profile=core"),
        ({"disruptive": "true", "profile": "extended"}, "which disrupts nothing"),
        ({"provider": "lab", "allow": "every-service"}, "the provider lab, which allows everyth"),
    ],
)
def test_profiles_and_permissions_that_contradict_each_other_are_refused(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageProblem) as caught:
        read(tmp_path, **{"provider": "fake", **options})

    assert re.search(message, " ".join(str(caught.value).split())), str(caught.value)


@pytest.mark.parametrize(
    ("options", "ini", "environment", "told"),
    [
        ((), "mesh_disruptive = true", {}, "--mesh-disruptive: comes from the ini file"),
        ((), "", {"MESH_DISRUPTIVE": "1"}, "--mesh-disruptive: comes from the environment"),
        ((), "addopts = --mesh-disruptive", {}, "--mesh-disruptive: comes from addopts"),
        ((), "", {"PYTEST_ADDOPTS": "--mesh-disruptive"}, "comes from addopts"),
        (
            ("--mesh-disruptive",),
            "mesh_allow = every-service",
            {},
            "--mesh-allow: comes from the ini file",
        ),
        (
            ("--mesh-disruptive",),
            "",
            {"MESH_ALLOW": "every-service"},
            "--mesh-allow: comes from the environment",
        ),
        (
            ("--mesh-disruptive",),
            "addopts = --mesh-allow=every-service",
            {},
            "--mesh-allow: comes from addopts",
        ),
    ],
)
def test_what_hurts_others_must_be_typed(
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    ini: str,
    environment: dict[str, str],
    told: str,
) -> None:
    write_suite(pytester)
    pytester.makeini(f"[pytest]\n{ini}\n")
    for name, text in environment.items():
        monkeypatch.setenv(name, text)

    result = pytester.runpytest_subprocess(*CERTIFY, *options)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{told}*"])
    assert "must be typed on the command line" in result.stderr.str()


def test_a_lab_may_be_disrupted_by_any_file(pytester: pytest.Pytester) -> None:
    write_suite(pytester)
    pytester.makeini("[pytest]\nmesh_disruptive = true\nmesh_profile = disruptive\n")

    pytester.runpytest_subprocess(*CERTIFY, "--mesh-provider=fake-lab")

    assert report_of(pytester)["result"] == "success"


def test_what_is_typed_reaches_workers_too(pytester: pytest.Pytester) -> None:
    write_suite(pytester)

    pytester.runpytest_subprocess(*CERTIFY, "-n2", *_typed())

    assert report_of(pytester)["claim"]["permissions"] == ["every-service"]
    assert report_of(pytester)["result"] == "success"


def _typed() -> tuple[str, ...]:
    return ("--mesh-disruptive", "--mesh-profile=disruptive", "--mesh-allow", "every-service")


def test_the_command_line_comes_before_the_environment_before_the_ini_file(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_suite(pytester)
    pytester.makeini(
        "[pytest]\nmesh_topology = fake-topology\nmesh_provider = fake\n"
        "mesh_timeout_factor = 2\nmesh_keep = true\n"
    )
    arguments = ("-p", "tests.fake_mesh")

    pytester.runpytest(*arguments)
    assert report_of(pytester)["options"]["timeoutFactor"] == 2
    assert report_of(pytester)["options"]["keep"] is True

    monkeypatch.setenv("MESH_TIMEOUT_FACTOR", "3")
    monkeypatch.setenv("MESH_KEEP", "no")
    pytester.runpytest(*arguments)
    assert report_of(pytester)["options"]["timeoutFactor"] == 3
    assert report_of(pytester)["options"]["keep"] is False

    pytester.runpytest(*arguments, "--mesh-timeout-factor=4", "--mesh-keep")
    report = report_of(pytester)
    assert (report["options"]["timeoutFactor"], report["options"]["keep"]) == (4, True)
    assert report["overrides"] == ["every time budget was multiplied by 4 (--mesh-timeout-factor)"]


def test_paths_in_the_ini_file_count_from_there(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_suite(pytester)
    pytester.makeini("[pytest]\nmesh_report = certificates/mine.json\n")
    pytester.mkdir("certificates")
    monkeypatch.chdir(pytester.mkdir("deeper"))

    result = pytester.runpytest_subprocess(
        *CERTIFY, "--rootdir=..", "../test_suite.py", "-c", "../tox.ini"
    )

    assert result.ret == 0
    assert (pytester.path / "certificates" / "mine.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--mesh-provider=attach", "*--mesh-provider: nothing to do without --mesh-topology=NAME*"),
        ("--mesh-topology=ring", '*no topology is called "ring"*'),
        ("--mesh-topology=fake-topology --mesh-timeout-factor=x", "*is not a number above 0*"),
        (
            "--mesh-topology=fake-topology --mesh-provider=fake --mesh-baseline=baseline.yaml",
            "*is not a ConformanceReport*",
        ),
    ],
)
def test_pytest_says_so_and_ends_with_its_usage_code(
    pytester: pytest.Pytester, arguments: str, message: str
) -> None:
    write_suite(pytester)
    (pytester.path / "baseline.yaml").write_text("kind: Other")

    result = pytester.runpytest("-p", "tests.fake_mesh", *arguments.split())

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])


def test_a_switch_in_the_environment_must_be_yes_or_no(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MESH_LIST", "perhaps")

    result = pytester.runpytest("-p", "tests.fake_mesh")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*MESH_LIST=perhaps: is a switch; valid are: 1, true, yes*"])


def test_every_option_has_a_help_text_a_variable_and_an_ini_twin(pytester: pytest.Pytester) -> None:
    text = " ".join(pytester.runpytest("--help").stdout.str().split())

    for option in OPTIONS:
        assert (option.flag in text) == bool(option.help)
        if not option.help:
            continue
        assert f"[{option.variable}, ini {option.setting}]" in text.replace(
            f"[{option.variable}, ini\n", f"[{option.variable}, ini "
        )
        kind = "bool" if option.is_switch else option.kind
        assert f"{option.setting} ({kind})" in text


def test_help_is_ascii_and_its_lines_stay_lines_on_any_terminal(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")

    lines = pytester.runpytest_subprocess("--help").outlines

    assert len(lines) > 200
    assert max(map(len, lines)) < 200


def test_a_variable_with_the_tools_own_name_goes_before_the_one_that_others_use_too(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_suite(pytester)
    monkeypatch.setenv("MESH_TOPOLOGY", "ring")
    monkeypatch.setenv("ISTIO_MC_TOPOLOGY", "fake-topology")
    monkeypatch.setenv("MESH_PROVIDER", "fake")

    assert pytester.runpytest("-p", "tests.fake_mesh").ret == pytest.ExitCode.OK

    assert report_of(pytester)["topology"] == "fake-topology"


def test_a_misspelt_variable_is_told(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makepyfile("def test_it(): pass")
    monkeypatch.setenv("ISTIO_MC_TOPOLGY", "federated")
    monkeypatch.setenv("ISTIO_MC_CACHE", str(pytester.path))

    result = pytester.runpytest()

    result.stdout.fnmatch_lines(["*ISTIO_MC_TOPOLGY is no option*did you mean ISTIO_MC_TOPOLOGY?*"])
    result.stdout.no_fnmatch_line("*ISTIO_MC_CACHE*")


@pytest.mark.parametrize("option", ["--mesh-replay=", "--mesh-topology=", "--mesh-report= "])
def test_an_option_without_a_value_is_refused(pytester: pytest.Pytester, option: str) -> None:
    result = pytester.runpytest(*CERTIFY, option)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    name = option.partition("=")[0]
    result.stderr.fnmatch_lines([f"*{name}: was given without a value*"])


def test_native_toml_has_native_values(pytester: pytest.Pytester) -> None:
    write_suite(pytester)
    ours = 'mesh_topology = "fake-topology"\nmesh_provider = "fake"\n'
    more = "mesh_timeout_factor = 2\nmesh_keep = true\n"
    pytester.path.joinpath("pytest.toml").write_text(f"[pytest]\n{ours}{more}")

    result = pytester.runpytest("-p", "tests.fake_mesh")

    if int(pytest.__version__.partition(".")[0]) < 9:  # it does not know this file
        assert result.ret == pytest.ExitCode.OK
        return
    assert report_of(pytester)["options"]["timeoutFactor"] == 2
    assert report_of(pytester)["options"]["keep"] is True


def test_a_factor_that_is_none_in_the_ini_file_is_one_message(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nmesh_topology = fake-topology\nmesh_timeout_factor = fast\n")

    result = pytester.runpytest("-p", "tests.fake_mesh")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "INTERNALERROR" not in result.stdout.str()


def test_a_spec_file_says_of_which_topology_it_is(pytester: pytest.Pytester) -> None:
    write_suite(pytester)
    clusters = [{"name": name, "network": name} for name in ("east", "west")]
    text = yaml.safe_dump({"topology": "fake-topology", "clusters": clusters})
    pytester.path.joinpath("mesh.yaml").write_text(text)
    arguments = ("-p", "tests.fake_mesh", "--mesh-provider=fake", "--mesh-spec=mesh.yaml")

    assert pytester.runpytest(*arguments).ret == pytest.ExitCode.OK
    assert report_of(pytester)["topology"] == "fake-topology"

    pytester.path.joinpath("mesh.yaml").write_text(text.replace("fake-topology", "fake-topologie"))
    wrong = pytester.runpytest(*arguments)
    assert wrong.ret == pytest.ExitCode.USAGE_ERROR
    wrong.stderr.fnmatch_lines(['*mesh.yaml names the topology*did you mean "fake-topology"?*'])


@pytest.mark.parametrize("text", ["all,fake-topology", "fake-topology,all", "all"])
def test_all_may_stand_beside_others(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, topology=text).topology == "fake-topology"


def test_a_name_that_is_nearly_right_is_guessed(tmp_path: Path) -> None:
    with pytest.raises(UsageProblem, match='did you mean "fake-topology"'):
        read(tmp_path, topology="fake-topolgy")
