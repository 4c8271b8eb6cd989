"""The documentation: what it shows is run, what it lists is complete, and what it refers to exists.

``python -m tests.test_readme`` writes the generated tables (options, checks) into it again.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml

from pytest_istio_mc.checks.catalogue import AREAS, Profile, known_checks
from pytest_istio_mc.options import OPTIONS
from pytest_istio_mc.spec import MeshSpec
from pytest_istio_mc.topologies import known as known_topologies

ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md")))
RECORDED = ROOT / "tests" / "recorded"

CHECK_ID = re.compile(r"\bMC-[A-Z]+(?:-\d{3})?\b")
OWN = re.compile(r"MC-[A-Z]+-9\d\d")
"""Ids that are left to users; the README's example has one."""


def blocks(page: Path, language: str) -> list[str]:
    """The fenced examples of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def option_table() -> str:
    """The README's table of options."""
    rows = [
        f"| `{option.flag}{'=' + option.metavar if option.metavar else ''}` | {option.help} |"
        for option in OPTIONS
    ]
    return "\n".join(["| option | meaning |", "|---|---|", *rows])


def check_table() -> str:
    """The table of checks in docs/checks.md."""
    lines: list[str] = []
    for area, name in AREAS.items():
        lines += ["", f"## {name}", "", "| id | kind | what must hold |", "|---|---|---|"]
        for check in known_checks().values():
            if check.area == area:
                extended = ", extended" if check.profile is Profile.EXTENDED else ""
                lines.append(
                    f"| {check.id} | {check.kind.value}{extended} | {_cell(check.title)} |"
                )
    return "\n".join(lines[1:])


GENERATED: Mapping[str, Path] = {
    "options": ROOT / "README.md",
    "checks": ROOT / "docs" / "checks.md",
}


def generated(name: str) -> str:
    """One of the generated tables."""
    return {"options": option_table, "checks": check_table}[name]()


def _cell(text: str) -> str:
    return text.replace("<", "&lt;").replace("|", "\\|")


def _between(name: str) -> re.Pattern[str]:
    return re.compile(
        rf"(?<=<!-- {name} -->\n)(.*?)(?=^<!-- /{name} -->$)", re.MULTILINE | re.DOTALL
    )


@pytest.mark.parametrize("name", GENERATED)
def test_the_generated_tables_are_as_the_program_says(name: str) -> None:
    (shown,) = _between(name).findall(GENERATED[name].read_text())

    assert shown.strip() == generated(name), "run: python -m tests.test_readme"


def test_the_mesh_spec_example_is_one_and_names_every_key() -> None:
    (example,) = blocks(ROOT / "README.md", "yaml")

    spec = MeshSpec.from_dict(yaml.safe_load(example), "README.md")

    known_topologies()[spec.topology].check(spec)
    text = (ROOT / "README.md").read_text()
    section = text.partition("## The mesh spec file")[2].partition("\n## ")[0]
    from pytest_istio_mc import spec as module

    for key in module._TOP_LEVEL | module._CLUSTER_KEYS:
        assert re.search(rf"`(clusters\[\]\.)?{key}`", section), (
            f"{key} is not in the section 'The mesh spec file'"
        )


def test_the_example_of_an_own_check_judges_and_is_certified(pytester: pytest.Pytester) -> None:
    for source in blocks(ROOT / "README.md", "python"):
        place = re.match(r"# (mine/\S+)", source)
        if place:
            path = pytester.path / place[1]
            path.parent.mkdir(exist_ok=True)
            path.write_text(source)

    result = pytester.runpytest_subprocess("mine", f"--mesh-replay={RECORDED / 'healthy'}", "-v")

    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["*test_every_cluster_has_a_region CONFORMANT*"])
    report = yaml.safe_load((pytester.path / "mesh-report.yaml").read_text())
    (entry,) = [entry for entry in report["checks"] if entry["id"] == "MC-CONTROL-901"]
    assert entry["verdict"] == "conformant"
    assert entry["reason"] == "2 clusters say in which region they are"


def test_the_example_of_a_provider_is_taken(pytester: pytest.Pytester) -> None:
    (source,) = [
        source
        for source in blocks(ROOT / "README.md", "python")
        if "pytest_mesh_providers" in source
    ]
    pytester.makeconftest(source)

    result = pytester.runpytest_subprocess(
        "--mesh-topology=multi-network-multi-primary", "--mesh-provider=inventory", "--mesh-plan"
    )

    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["provider  inventory: clusters as our inventory lists them"])


@pytest.mark.parametrize(
    ("name", "result", "code"),
    [("healthy", "PARTIAL", 0), ("ew-passthrough-missing", "FAILURE", 1)],
)
def test_the_recorded_meshes_of_the_readme_can_be_judged(
    pytester: pytest.Pytester, name: str, result: str, code: int
) -> None:
    assert f"--mesh-replay=tests/recorded/{name}\n" in (ROOT / "README.md").read_text()

    run = pytester.runpytest_subprocess(
        "--pyargs", "pytest_istio_mc.suites", f"--mesh-replay={RECORDED / name}"
    )

    assert run.ret == code
    run.stdout.fnmatch_lines([f"result      {result}: *"])


def test_the_broken_mesh_of_the_readme_reads_as_it_is_shown(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    (shown,) = blocks(ROOT / "README.md", "text")

    run = pytester.runpytest_subprocess(
        "--pyargs", "pytest_istio_mc.suites", f"--mesh-replay={RECORDED / 'ew-passthrough-missing'}"
    )

    told = [
        line
        for line in shown.splitlines()
        if line and not re.search(r"explain|^ +MC-|checks\)", line)
    ]  # live checks are not replayed
    assert [line for line in told if line not in run.outlines] == []


def commands() -> Iterator[str]:
    """Every command line of ours that a page shows, without its prompt and comments."""
    for page in PAGES:
        for language in ("console", "sh"):
            for block in blocks(page, language):
                for line in block.replace("\\\n", " ").splitlines():
                    if line.startswith(("$ ", "# ")):
                        yield line[2:].partition("  #")[0].strip()
        yield from re.findall(r"`((?:istio-mc|pytest) [^`]*)`", page.read_text())


def test_every_command_and_option_that_is_shown_exists() -> None:
    shown = sorted(set(commands()))
    assert any(command.startswith("istio-mc lab up") for command in shown)
    known = {option.flag for option in OPTIONS}
    for command in shown:
        for flag in re.findall(r"--mesh-[a-z-]+", command):
            assert flag in known, f"{flag} in: {command}"
        words = re.findall(r"^istio-mc ((?:lab )?[a-z]+)", command)
        if words:
            flags = set(re.findall(r"(?<= )--[a-z-]+", command))
            helped = subprocess.run(
                [sys.executable, "-m", "pytest_istio_mc.cli", *words[0].split(), "--help"],
                capture_output=True,
                text=True,
                check=False,
            )
            assert helped.returncode == 0, f"{command}: {helped.stderr}"
            assert all(flag in helped.stdout for flag in flags), command


def test_every_make_target_that_is_shown_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for page in PAGES:
        for target in re.findall(r"(?:^[#$] |`)make ([\w./-]+)", page.read_text(), re.MULTILINE):
            assert re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE), (
                f"make {target} in {page.name}"
            )


def test_the_list_of_checks_needs_no_lab(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_subprocess("--mesh-list")

    assert result.ret == 0
    assert all(id in result.stdout.str() for id in known_checks())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_check_that_is_mentioned_exists(page: Path) -> None:
    ids = set(known_checks())
    known = ids | {id.rpartition("-")[0] for id in ids}

    assert {name for name in CHECK_ID.findall(page.read_text()) if not OWN.fullmatch(name)} <= known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_inside_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{target} in {page.name}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", linked.read_text(), re.MULTILINE)
            assert anchor in {
                re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings
            }, f"{target} in {page.name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_names_a_folder_of_the_machine_it_was_written_on(page: Path) -> None:
    assert not re.search(r"/root/|/work/|/tmp/", page.read_text())


def test_errors_that_name_a_section_name_one_that_exists() -> None:
    sources = "\n".join(path.read_text() for path in (ROOT / "pytest_istio_mc").rglob("*.py"))
    for section in re.findall(r"README, section '([^']+)'", sources):
        assert f"\n## {section}\n" in (ROOT / "README.md").read_text()


def main() -> None:
    """Write the generated tables into the pages."""
    for name, page in GENERATED.items():
        text = page.read_text()
        (shown,) = _between(name).finditer(text)
        page.write_text(f"{text[: shown.start()]}{generated(name)}\n{text[shown.end() :]}")


if __name__ == "__main__":
    main()
