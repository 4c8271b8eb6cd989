"""Snapshots of strangers: refused with the file and the place, or judged; never a crash."""

from __future__ import annotations

import gzip
import json
import os
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_istio_mc.checks.catalogue import known_checks
from pytest_istio_mc.checks.diagnosis import diagnose
from pytest_istio_mc.errors import UsageProblem
from pytest_istio_mc.evidence.exhibits import exhibits
from pytest_istio_mc.files import LARGEST
from pytest_istio_mc.snapshot import Snapshot
from pytest_istio_mc.tool import TOOL, tool_version
from tests.fake_clusters import FakeMesh
from tests.mutations import mutated
from tests.static_checks import STATIC, judge_all

RECORDED = Path(__file__).parent / "recorded"
PYTHON = re.compile(
    r"Traceback|\b(Key|Value|Type|Attribute|Index|Name|Overflow|Recursion|Assertion|Runtime|Unicode"
    r"|Decode|Validation|Arithmetic|ZeroDivision|Memory|EOF|OS)\w*Error\b|StopIteration|__init__"
)
"""What no user is to read in a verdict; pods may well tell of a ConnectionRefusedError."""

CLUSTER1 = "clusters/cluster1"


def content(file: Path) -> Any:
    """The document in a recorded file."""
    return json.loads(gzip.decompress(file.read_bytes()))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A healthy snapshot whose files may be spoilt."""
    return shutil.copytree(RECORDED / "healthy", tmp_path / "snapshot")


def change(folder: Path, name: str, edit: Callable[[Any], None]) -> None:
    """Change one document of a snapshot."""
    file = folder / f"{name}.gz"
    document = content(file)
    edit(document)
    file.write_bytes(gzip.compress(json.dumps(document).encode()))


def refusal(folder: Path) -> str:
    """How a snapshot is refused."""
    with pytest.raises(UsageProblem) as caught:
        Snapshot.load(folder)
    return str(caught.value)


def pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda file: file.write_bytes(file.read_bytes()[:-20]), "is cut off"),
        (lambda file: file.write_bytes(b""), "is empty"),
        (lambda file: file.write_bytes(b"no gzip"), "is damaged"),
        (lambda file: file.write_bytes(gzip.compress(b'{"Service": [')), "is not JSON, or damaged"),
        (lambda file: file.write_bytes(gzip.compress(b"[" * 5000)), "is not JSON, or damaged"),
        (lambda file: file.write_bytes(gzip.compress(b"[]")), "expected an object, found a list"),
        (lambda file: file.write_bytes(gzip.compress(b"null")), "expected an object"),
        (lambda file: file.write_bytes(gzip.compress(bytes(LARGEST + 1))), "holds more than"),
        (lambda file: file.unlink(), "No such file"),
        (lambda file: (file.unlink(), file.mkdir()), "is a folder"),
        (pipe, "is a pipe"),
        (lambda file: (file.unlink(), file.symlink_to("/dev/zero")), "is a symbolic link"),
        (lambda file: (file.unlink(), file.symlink_to("/nowhere")), "is a symbolic link"),
    ],
    ids=["truncated", "empty", "no-gzip", "half", "deep", "list", "null", "bomb", "absent",
         "folder", "pipe", "device", "dangling"],
)  # fmt: skip
def test_a_file_that_is_damaged_is_refused_by_its_name(
    folder: Path, spoil: Callable[[Path], object], told: str
) -> None:
    file = folder / CLUSTER1 / "objects.json.gz"
    spoil(file)

    text = refusal(folder)

    assert told in text
    assert f"snapshot file {folder / CLUSTER1}/objects.json" in text
    assert "next: name a folder that --mesh-snapshot wrote" in text


def test_folders_behind_links_are_refused(folder: Path) -> None:
    real = folder / CLUSTER1
    real.rename(folder / "elsewhere")
    real.symlink_to("../elsewhere")

    assert f"lies behind the symbolic link {real}" in refusal(folder)


@pytest.mark.parametrize(
    ("name", "edit", "told"),
    [
        ("objects.json", lambda it: it["Service"][0]["metadata"].pop("name"),
         "Service[0].metadata.name: is missing"),
        ("objects.json", lambda it: it["Service"][0].pop("metadata"),
         "Service[0].metadata: is missing"),
        ("objects.json", lambda it: it["Service"][0]["metadata"].update(name="a;b"),
         "Service[0].metadata.name: 'a;b' is not a DNS label"),
        ("objects.json", lambda it: it.update(Service="abc"),
         "Service: expected a list, found 'abc'"),
        ("objects.json", lambda it: it.update(Widget=[]), "Widget: is not known"),
        ("objects.json", lambda it: it["Gateway.networking.istio.io"][0]["spec"].update(servers=5),
         "[Gateway.networking.istio.io][0].spec.servers: expected a list, found the number 5"),
        ("objects.json",
         lambda it: it.update({"Gateway.gateway.networking.k8s.io": [{"metadata": {"name": "a"}}]}),
         "[Gateway.gateway.networking.k8s.io][0].spec: is missing"),
        ("objects.json", lambda it: it["Node"][0].update(status={"addresses": [{}]}),
         "Node[0].status.addresses[0].address: is missing"),
        ("proxies.json", lambda it: it[1].update(pod=["a"]),
         "[1].pod: expected text, found a list"),
        ("proxies.json", lambda it: it[0].update(podd="a"), "[0].podd: is not known"),
        ("cluster.json", lambda it: it.update(secrets={}),
         "secrets: expected a list, found an object"),
        ("cluster.json", lambda it: it["secrets"][0].update(namespace="../.."),
         "secrets[0].namespace: '../..' is not a DNS label"),
        ("istiods.json", lambda it: it[0]["debug"].update(syncz=[{}]),
         "[0].debug.syncz[0].proxy: is missing"),
        ("istiods.json", lambda it: it[0].update(ready="yes"),
         "[0].ready: expected true or false, found 'yes'"),
    ],
)  # fmt: skip
def test_the_place_of_what_does_not_fit_is_told(
    folder: Path, name: str, edit: Callable[[Any], None], told: str
) -> None:
    change(folder, f"{CLUSTER1}/{name}", edit)

    assert f"{name}.gz: does not fit ({told}" in refusal(folder)


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (lambda it: it.pop("spec"), "spec: is missing"),
        (lambda it: it.pop("runId"), "runId: is missing"),
        (lambda it: it.update(runId="a b"), "runId: 'a b' is not a label's value"),
        (lambda it: it.update(recordedAt="2026-01-31T12:00:00"), "recordedAt: expected a date"),
        (lambda it: it.update(recordedAt="0001-01-01T00:00:00Z"), "recordedAt: expected a date"),
        (lambda it: it.update(probes=7), "probes: expected an object, found the number 7"),
        (lambda it: it["probes"].update(service="a b"), "probes.service: 'a b' is not a DNS label"),
        (lambda it: it["spec"]["clusters"][0].update(name="../../etc"), "clusters[0].name: "),
        (lambda it: it["spec"]["clusters"][0].update(context="\x1b[2J"), "clusters[0].context: "),
        (lambda it: it.update(apiVersion="istio-mc.dev/v9"), "is not of a snapshot"),
    ],
)
def test_the_head_of_a_snapshot_is_held_to_its_form(
    folder: Path, edit: Callable[[Any], None], told: str
) -> None:
    change(folder, "snapshot.json", edit)

    assert told in refusal(folder)


@pytest.mark.parametrize(
    "claim", [1e18, 1.7e12, -5, 0, 10**30, None], ids=["1e18", "ms", "negative", "0", "huge", "no"]
)
def test_a_token_may_name_any_date(folder: Path, claim: float | None) -> None:
    def edit(document: Any) -> None:
        for secret in document["secrets"]:
            for kubeconfig in secret.get("kubeconfigs", {}).values():
                kubeconfig["token"] |= {"expires_at": claim, "issued_at": claim}

    change(folder, f"{CLUSTER1}/cluster.json", edit)

    verdicts = judge_all(Snapshot.load(folder))

    expired = claim is not None and claim <= 0
    assert (verdicts["MC-TRUST-005"].outcome.value == "non-conformant") == expired


def test_what_a_newer_version_recorded_is_refused_by_its_version(folder: Path) -> None:
    change(folder, "snapshot.json", lambda it: it.update(tool={"name": TOOL, "version": "99.1"}))
    assert Snapshot.load(folder).run_id

    change(folder, f"{CLUSTER1}/proxies.json", lambda it: it[0].update(wasm="x"))
    text = refusal(folder)

    assert f"was recorded by 99.1, this is {tool_version()} ([0].wasm: is not known)" in text
    assert f"next: pip install '{TOOL}>=99.1'" in text


def test_a_newer_version_is_told_even_where_the_head_is_of_another_form(folder: Path) -> None:
    def edit(document: Any) -> None:
        document.update(tool={"name": TOOL, "version": "99.1", "build": "x"}, more=[1])

    change(folder, "snapshot.json", edit)

    assert "was recorded by 99.1" in refusal(folder)


def test_a_snapshot_says_which_version_recorded_it_and_which_kinds_it_holds(
    tmp_path: Path,
) -> None:
    mesh = FakeMesh()
    mesh[1].objects["Node"] = []
    mesh.record().save(tmp_path)

    head = json.loads((tmp_path / "snapshot.json").read_text())
    objects = json.loads((tmp_path / CLUSTER1 / "objects.json").read_text())

    assert head["tool"] == {"name": TOOL, "version": tool_version()}
    assert objects["Node"] == []


def test_all_files_together_have_a_bound(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_istio_mc.snapshot.LARGEST_SNAPSHOT", 50_000)

    assert "is one too many: together they hold more than" in refusal(folder)
    assert Snapshot.load(folder, ours=True)


def test_what_this_run_wrote_itself_may_be_of_any_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeMesh().record().save(tmp_path)
    monkeypatch.setattr("pytest_istio_mc.snapshot.LARGEST", 100)

    assert Snapshot.load(tmp_path, ours=True).run_id == "test"
    assert "has more than 100 bytes" in refusal(tmp_path)


@pytest.mark.parametrize("seed", range(20))
def test_any_damage_is_refused_or_judged(tmp_path: Path, seed: int) -> None:
    """One place of one file of a recorded mesh is spoilt; what is judged is judged in our words."""
    rng = random.Random(seed)
    recorded = rng.choice(sorted(RECORDED.iterdir()))
    folder = shutil.copytree(recorded, tmp_path / "snapshot")
    files = sorted(folder.rglob("*.gz"))
    for _ in range(8):
        file = rng.choice(files)
        whole = file.read_bytes()
        text, place = mutated(content(file), rng)
        file.write_bytes(gzip.compress(text.encode(), compresslevel=1))
        loaded = load(folder)
        if isinstance(loaded, Snapshot):
            assert_judged(loaded, f"{recorded.name} {file.relative_to(folder)} {place}")
        else:
            assert not PYTHON.search(loaded)
            assert len(loaded) < 1200
        file.write_bytes(whole)


def load(folder: Path) -> Snapshot | str:
    """A snapshot, or why it is refused."""
    try:
        return Snapshot.load(folder)
    except UsageProblem as problem:
        return str(problem)


def assert_judged(snapshot: Snapshot, where: str) -> None:
    """Every static check comes to a verdict that a user can read."""
    verdicts = judge_all(snapshot)
    for verdict in verdicts.values():
        assert not PYTHON.search(verdict.reason), f"{where}: {verdict.check}: {verdict.reason}"
    diagnose(verdicts, known_checks())
    for area in {check.area for check in STATIC.values()}:
        exhibits(snapshot, area)


def test_pytest_ends_with_its_usage_code_and_one_sentence(
    pytester: pytest.Pytester, folder: Path
) -> None:
    change(folder, f"{CLUSTER1}/proxies.json", lambda it: it[0].update(pod=5))

    result = pytester.runpytest("--pyargs", "pytest_istio_mc.suites", f"--mesh-replay={folder}")

    told = result.stderr.lines
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert len([line for line in told if line]) == 2
    assert "[0].pod: expected text, found the number 5" in told[0]


def test_kubeconfigs_and_baselines_of_pytest_are_read_within_bounds(
    pytester: pytest.Pytester, tmp_path: Path
) -> None:
    deep = tmp_path / "deep.yaml"
    deep.write_text("".join(f"{' ' * n}a:\n" for n in range(2000)))
    topology = ("--pyargs", "pytest_istio_mc.suites", "--mesh-topology=flat-multi-primary")

    for options in (
        [f"--mesh-spec={deep}"],
        [f"--mesh-baseline={deep}"],
        ["--mesh-provider=attach", "--mesh-contexts=a=x,b=y", f"--mesh-kubeconfig={deep}"],
    ):
        result = pytester.runpytest(*topology, *options)

        assert result.ret == pytest.ExitCode.USAGE_ERROR
        assert any("nests more than 100" in line for line in result.stderr.lines)
        assert len(result.stderr.lines) < 6
