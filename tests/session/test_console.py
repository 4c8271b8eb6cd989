"""What others said reaches terminals and pages as text only."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import yaml

from pytest_istio_mc import cli
from pytest_istio_mc.snapshot import Snapshot
from tests.checks.hostile import with_errors
from tests.checks.test_recorded import RECORDED

SAID = (
    "<img src=x onerror=alert(1)>\x1b]0;title\x07\x1b[8m\r\x9b2J\n"
    "result      SUCCESS: all 62 claimed checks ran and are conformant\n\u202egnp.\u2066\u200b\t\v"
)
STYLE = re.compile(r"\x1b\[[0-9;]*m")
BROKEN = ("rs-unreachable", "rs-token-revoked")


@pytest.fixture(scope="module", params=BROKEN)
def replayed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str, str]:
    """The folder of a run on a mesh of hostile API servers, and its output, plain and styled."""
    folder = tmp_path_factory.mktemp("hostile")
    snapshot = Snapshot.load(RECORDED / request.param)
    with_errors(snapshot, SAID).save(folder / "snapshot")

    files = (f"--mesh-replay={folder / 'snapshot'}", f"--mesh-report={folder / 'report.yaml'}")
    suites = ("--pyargs", "pytest_istio_mc.suites")
    quiet = ("-p", "no:cacheprovider", "-rA")
    pytest_here = (sys.executable, "-m", "pytest", *quiet, *suites, *files)

    def run(*options: str) -> str:
        done = subprocess.run(
            [*pytest_here, *options],
            cwd=folder,
            capture_output=True,
            timeout=300,
        )
        assert done.returncode == 1, done.stdout.decode() + done.stderr.decode()
        return done.stdout.decode() + done.stderr.decode()

    plain = run("--color=no", f"--alluredir={folder / 'allure'}", f"--junitxml={folder / 'j.xml'}")
    return folder, plain, run("--color=yes")


def test_nothing_that_was_said_acts_on_a_terminal(replayed: tuple[Path, str, str]) -> None:
    _, plain, styled = replayed

    assert "onerror" in plain, "it is to be seen"
    for output in (plain, STYLE.sub("", styled)):
        assert [line for line in output.split("\n") if not line.isprintable()] == []
    assert "\x1b[8m" not in styled


def test_nothing_that_was_said_is_a_line_of_ours(replayed: tuple[Path, str, str]) -> None:
    _, plain, styled = replayed

    for output in (plain, STYLE.sub("", styled)):
        results = [line for line in output.split("\n") if line.startswith("result ")]
        assert [line for line in results if "SUCCESS" in line] == []
        assert len(results) == 1, results


def test_pages_get_no_tags_from_what_was_said(replayed: tuple[Path, str, str]) -> None:
    folder, _, _ = replayed
    written = [file for file in (folder / "allure").iterdir() if "attachment" not in file.name]
    pages = [file for file in written if file.suffix != ".yaml"]

    assert any("onerror" in file.read_text() for file in pages)
    assert [file.name for file in pages if "<img" in file.read_text()] == []
    for file in (folder / "allure").glob("*-attachment.*"):
        assert file.suffix in (".txt", ".json", ".yaml", ".csv", ".html"), file
        if file.suffix == ".html":  # the certificate's page, which escapes all of it
            assert "<img" not in file.read_text()


def test_other_files_hold_it_as_it_is(replayed: tuple[Path, str, str]) -> None:
    folder, _, _ = replayed

    report = yaml.safe_load((folder / "report.yaml").read_text())
    assert report["result"] == "failure"
    assert "<img src=x onerror" in json.dumps(report)
    assert ET.parse(folder / "j.xml").getroot() is not None


def test_commands_print_through_the_gate() -> None:
    """What ``istio-mc`` prints otherwise is JSON, documentation, or a script for a shell."""
    package = Path(cli.__file__).parent
    printed = {
        call
        for file in package.glob("*.py")
        for call in re.findall(r"^\s*print\(.*", file.read_text(), re.MULTILINE)
    }
    allowed = re.compile(
        r"\s*print\((json\.dumps\(|visible_lines\(|pages\[|to_yaml\(|shtab\.complete\(|$)"
    )

    assert printed
    assert [call for call in printed if not allowed.match(call)] == []
