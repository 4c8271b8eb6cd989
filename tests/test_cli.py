"""The command line: wrong usage is told, and starts nothing."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
import yaml

from pytest_istio_mc import cli
from pytest_istio_mc.lab import leftovers

BOMB = "\n".join(
    ["a0: &a0 x", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10))]
)
"""Aliases of aliases, as YAML: 9 to the power of 9 values."""


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ISTIO_MC_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".lock", "../x", "a/b", "a b", "ä", "x" * 64, "-x", "Lab"]
)
def test_a_lab_cannot_be_called_everything(
    name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert cli.main(["lab", "up", f"--name={name}"]) == cli.USAGE

    assert "cannot be called so\n  next: use up to 63 lower-case letters" in capsys.readouterr().err
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--clusters=0"], "refused"),
        (["--clusters=1"], "refused"),
        (["--topology=flat-primary-remote", "--clusters=0"], "no cluster is a primary"),
        (
            ["--istio=1.29"],
            '--istio: no lab can be made of version "1.29"\n  next: valid are: 1.31',
        ),
        (["--kubernetes=1.34"], 'version "1.34"\n  next: valid are: 1.36, 1.35; nothing was'),
        (["--topology=nonsense"], 'no topology is called "nonsense"'),
        (["--spec=nowhere.yaml"], "nowhere.yaml: cannot be read"),
        (["--spec=nowhere.yaml", "--clusters=0"], "exclude each other"),
    ],
    ids=[
        "no-cluster",
        "one-cluster",
        "no-primary",
        "istio",
        "kubernetes",
        "topology",
        "no-spec",
        "two-ways",
    ],
)
def test_a_mesh_that_cannot_be_is_refused(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["lab", "up", "--name=x", *arguments]) == cli.USAGE

    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    ["", "- 1", "kind: Something", "{", "kind: ConformanceReport"],
    ids=["empty", "list", "other", "broken", "bare"],
)
def test_only_certificates_are_compared(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "report.yaml"
    file.write_text(text)

    assert cli.main(["compare", str(file), str(file)]) == cli.USAGE

    assert capsys.readouterr().err.startswith("istio-mc: certificate")


@pytest.mark.parametrize(
    "text", ["", "- 1", "contexts: 5", "{"], ids=["empty", "list", "number", "broken"]
)
def test_a_sweep_of_clusters_takes_a_kubeconfig(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text(text)

    assert cli.main(["sweep", "--dry-run", f"--kubeconfig={file}"]) == cli.USAGE

    assert str(file) in capsys.readouterr().err


def test_a_cluster_that_does_not_answer_is_told_and_the_rest_is_swept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "kubeconfig"
    context = "context: {cluster: c, user: u}"
    file.write_text(
        "{apiVersion: v1, kind: Config, users: [{name: u, user: {token: t}}], "
        "clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}], "
        f"contexts: [{{name: one, {context}}}, {{name: two, {context}}}]}}"
    )

    assert cli.main(["sweep", f"--kubeconfig={file}"]) == cli.UNKNOWN

    said = capsys.readouterr()
    assert 'cluster "one"' in said.err
    assert 'cluster "two"' in said.err
    assert "nothing is left behind" not in said.out


def test_a_cache_that_cannot_be_written_to_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ISTIO_MC_CACHE", str(tmp_path / "file"))

    assert cli.main(["sweep"]) == cli.UNKNOWN

    assert f"labs: {tmp_path}/file/labs cannot be written to" in capsys.readouterr().err


def test_a_full_disk_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(**_: object) -> None:
        raise OSError(28, os.strerror(28), "/cache")

    monkeypatch.setattr(leftovers, "sweep", full)

    assert cli.main(["sweep"]) == cli.UNKNOWN
    told = "istio-mc: cannot go on: [Errno 28] No space left on device: '/cache'\n"
    assert capsys.readouterr().err == told


def test_documentation_is_listed_and_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["docs"]) == 0
    listed = capsys.readouterr().out
    assert re.search(r"^attach.md +Certify your own clusters$", listed, re.MULTILINE)

    assert cli.main(["docs", "attach.md"]) == 0
    assert capsys.readouterr().out.startswith("# Certify your own clusters\n")

    assert cli.main(["docs", "../README.md"]) == 2
    assert "one of README.md, " in capsys.readouterr().err


def sparse(file: Path) -> None:
    """A file of many gigabytes that takes no room."""
    with file.open("w") as stream:
        stream.truncate(2**36)


@pytest.mark.parametrize(
    "arguments",
    [
        ["compare", "FILE", "FILE"],
        ["sweep", "--dry-run", "--kubeconfig=FILE"],
        ["lab", "up", "--name=x", "--spec=FILE"],
    ],
    ids=lambda arguments: arguments[0],
)
@pytest.mark.parametrize(
    "make",
    [
        lambda file: file.write_text("".join(f"{' ' * n}a:\n" for n in range(2000))),
        lambda file: file.write_text("[" * 100_000),
        lambda file: file.write_text('{"a":' * 3000),
        lambda file: file.write_text(BOMB),
        lambda file: file.write_text("&a [*a]"),
        lambda file: file.write_text("date: 2026-99-99"),
        lambda file: file.write_bytes(b"\xff\xfe"),
        sparse,
        os.mkfifo,
        lambda file: file.mkdir(),
        lambda file: file.symlink_to("/dev/zero"),
        lambda file: file.symlink_to(file.name),
    ],
    ids=["yaml", "brackets", "json", "bomb", "loop", "date", "latin", "huge", "pipe", "folder",
         "device", "link"],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_told_in_two_lines(
    make: Callable[[Path], object],
    arguments: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "f.yaml"
    make(file)

    code = cli.main([argument.replace("FILE", str(file)) for argument in arguments])

    told = capsys.readouterr().err.splitlines()
    assert code == cli.USAGE
    assert len(told) == 2
    assert f"{file}: cannot be read (" in told[0]
    assert told[1].startswith("  next: give a ")


def test_a_certificate_of_a_newer_version_is_told_by_its_version(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "report.yaml"
    tool = {"name": "pytest-istio-mc", "version": "99.1"}
    file.write_text(yaml.safe_dump({"kind": "ConformanceReport", "tool": tool, "more": 1}))

    assert cli.main(["compare", str(file), str(file)]) == cli.USAGE

    told = capsys.readouterr().err
    assert "was written by 99.1, this is " in told
    assert "next: pip install 'pytest-istio-mc>=99.1'" in told


@pytest.mark.parametrize("name", ["mesh-spec", "certificate", "summary"])
def test_the_schema_of_each_format_is_printed(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["schema", name]) == cli.GOOD

    jsonschema.Draft202012Validator.check_schema(schema := json.loads(capsys.readouterr().out))
    assert schema["title"] in ("MeshSpec", "ConformanceReport", "ConformanceSummary")
