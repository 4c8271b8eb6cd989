"""``istio-mc precheck``: what it prints, what it refuses, how it ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_istio_mc import cli
from pytest_istio_mc.checks.precheck import RULES
from pytest_istio_mc.rights import PRECHECK, SNAPSHOT
from pytest_istio_mc.snapshot import Snapshot
from tests.checks.precheck.judging import budget, entry, rule_for, run
from tests.fake_clusters import SYSTEM, FakeMesh, meta

HEALTHY = str(Path(__file__).parents[1] / "recorded" / "healthy")


def saved(mesh: FakeMesh, folder: Path) -> str:
    """The mesh as a snapshot of a precheck in a folder."""
    mesh.record_for_upgrade().save(folder)
    return str(folder)


@pytest.fixture(name="robust")
def _robust() -> FakeMesh:
    """A mesh of 1.30.4 to which nothing applies that blocks."""
    mesh = FakeMesh()
    run(mesh, "1.30.4")
    budget(mesh, {"app": "istiod"})
    budget(mesh, {"istio": "eastwestgateway"})
    return mesh


def test_nothing_that_blocks_ends_with_0_and_says_the_risks(
    robust: FakeMesh, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["precheck", "--to", "1.31", "--replay", saved(robust, tmp_path)]) == cli.GOOD

    told = capsys.readouterr().out
    assert "for Istio 1.31, its newest patch release" in told
    assert "RISK  single-point" in told
    assert f"0 of {len(RULES)} rules block the upgrade, 1 are risks or notes, 0 could not" in told


def test_what_blocks_ends_with_1_and_is_told_with_remedy_and_source(
    robust: FakeMesh, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entry(robust)
    rule_for(robust)

    assert cli.main(["precheck", "--to=1.31", "--replay", saved(robust, tmp_path)]) == cli.WORSE

    told = capsys.readouterr().out
    assert "BLOCKS  dns-failover-crash" in told
    assert "remedy:  kubectl --context=ctx-1 -n shop get serviceentry/api -o yaml" in told
    assert "source:  https://github.com/istio/istio/issues/61857" in told
    assert told.index("BLOCKS") < told.index("RISK")


def test_a_rule_that_could_not_find_out_ends_with_3(
    robust: FakeMesh, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    robust[2].refused = ("PodDisruptionBudget.policy",)

    assert cli.main(["precheck", "--to=1.31", "--replay", saved(robust, tmp_path)]) == cli.UNKNOWN

    assert "COULD NOT FIND OUT  no-disruption-budget" in capsys.readouterr().out


def test_what_blocks_counts_more_than_what_is_not_known(robust: FakeMesh, tmp_path: Path) -> None:
    entry(robust)
    rule_for(robust)
    robust[2].refused = ("PodDisruptionBudget.policy", "Secret")

    assert cli.main(["precheck", "--to=1.31", "--replay", saved(robust, tmp_path)]) == cli.WORSE


def test_a_recording_of_a_run_says_what_it_lacks(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["precheck", "--to=1.31", "--replay", HEALTHY]) == cli.UNKNOWN

    told = capsys.readouterr().out
    assert "it was not recorded" in told
    assert "BLOCKS" not in told


def test_json_has_every_rule(
    robust: FakeMesh, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.main(["precheck", "--to=1.31", "--json", "--replay", saved(robust, tmp_path)])

    told = json.loads(capsys.readouterr().out)
    assert (told["to"], told["exitCode"]) == ("1.31", 0)
    assert set(told["running"]) == {"cluster1", "cluster2"}
    assert [one["id"] for one in told["rules"]] == [rule.id for rule in RULES]
    applying = [one for one in told["rules"] if one["standing"] == "applies"]
    assert [one["id"] for one in applying] == ["single-point"]
    assert all(finding["remedy"] for one in applying for finding in one["findings"])


def test_the_list_needs_no_mesh(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["precheck", "--list"]) == cli.GOOD
    told = capsys.readouterr().out
    assert cli.main(["precheck", "--list", "--json"]) == cli.GOOD
    rows = json.loads(capsys.readouterr().out)

    assert [row["id"] for row in rows] == [rule.id for rule in RULES]
    for rule in RULES:
        assert rule.id in told
        assert all(source in told for source in rule.sources)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "needs --to=VERSION"),
        (["--to="], "needs --to=VERSION"),
        (["--to=latest", "--replay", HEALTHY], "is no version of Istio"),
        (["--to=1.31"], "does not know which mesh"),
        (["--to=1.31", "--replay=absent"], "is not a folder"),
        (["--to=1.31", "--replay="], "is not a folder"),
        (["--to=1.31", "--replay", HEALTHY, "--contexts=a=b"], "--contexts makes no sense"),
        (["--to=1.31", "--topology=flat"], 'no topology is called "flat"'),
        (
            ["--to=1.31", "--topology=flat-multi-primary", "--contexts=a"],
            '--contexts: "a" is not cluster=context',
        ),
        (
            ["--to=1.31", "--topology=flat-multi-primary", "--kubeconfig=absent"],
            "--contexts: no context for cluster",
        ),
        (["--list", "--to=1.31"], "--to makes no sense"),
        (
            ["--to=1.31", "--topology=flat-multi-primary", f"--snapshot={HEALTHY}"],
            "is not an empty folder",
        ),
    ],
)
def test_wrong_usage_is_one_clear_error(
    arguments: list[str],
    says: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)

    assert cli.main(["precheck", *arguments]) == cli.USAGE

    told = capsys.readouterr().err
    assert says in told
    assert "--mesh-" not in told.replace("--mesh-snapshot", "")
    assert len(told.splitlines()) < 4


def _deployment(name: str) -> dict[str, Any]:
    variable = {"name": "CLUSTER_ID", "value": name}
    image = "docker.io/istio/pilot:1.30.4"
    container = {"name": "discovery", "image": image, "env": [variable]}
    metadata = meta("istiod", SYSTEM) | {"labels": {"app": "istiod"}}
    return {"metadata": metadata, "spec": {"template": {"spec": {"containers": [container]}}}}


def test_clusters_are_read_and_nothing_is_written_to_them(
    robust: FakeMesh,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for cluster in robust.clusters.values():
        cluster.objects["Deployment"] = [_deployment(cluster.name)]

    @contextmanager
    def connected(*_: Any) -> Iterator[dict[str, Any]]:
        yield dict(robust.clusters)

    monkeypatch.setattr("pytest_istio_mc.kube.connecting.connected", connected)
    contexts: list[dict[str, object]] = [{"name": name, "context": {}} for name in ("a", "b")]
    kubeconfig, folder = tmp_path / "kubeconfig", tmp_path / "recorded"
    kubeconfig.write_text(yaml.safe_dump({"kind": "Config", "contexts": contexts}))

    code = cli.main(
        [
            "precheck",
            "--to=1.31",
            "--topology=multi-network-multi-primary",
            "--contexts=cluster1=a,cluster2=b",
            f"--kubeconfig={kubeconfig}",
            f"--snapshot={folder}",
        ]
    )

    told = capsys.readouterr()
    assert code == cli.GOOD, told
    again = cli.main(["precheck", "--to=1.31", f"--replay={folder}"])
    assert (again, capsys.readouterr().out) == (code, told.out)
    assert [one.context for one in Snapshot.load(folder).spec] == ["a", "b"]


def test_the_rights_that_are_printed_are_those_of_what_is_read(
    robust: FakeMesh, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every list and read by itself; the fakes have no way to write."""
    robust.record_for_upgrade()
    kinds = {kind.partition(".")[0].lower() for kind, *_ in robust[1].lists}
    whole = {kind.partition(".")[0].lower() for kind, *_ in robust[1].reads}
    granted = {(verb, right.resource) for right in (*SNAPSHOT, *PRECHECK) for verb in right.verbs}

    def plural(kind: str) -> str:
        return f"{kind[:-1]}ies" if kind.endswith("y") and kind != "gateway" else f"{kind}s"

    assert {("list", plural(kind)) for kind in kinds} <= granted
    assert {("get", plural(kind)) for kind in whole} <= granted
    assert cli.main(["rbac", "--precheck"]) == cli.GOOD
    roles = list(yaml.safe_load_all(capsys.readouterr().out))
    rules = [rule for role in roles for rule in role.get("rules") or ()]
    assert any("poddisruptionbudgets" in rule["resources"] for rule in rules)
    # to ask a pod's own port is a POST, which changes nothing
    asking = [rule for rule in rules if rule["resources"] == ["pods/portforward"]]
    assert {verb for rule in rules if rule not in asking for verb in rule["verbs"]} <= {
        "get",
        "list",
    }
