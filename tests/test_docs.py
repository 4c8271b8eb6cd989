"""The documentation: its examples run, its lists are complete, its references exist.

``python -m tests.test_docs`` writes the generated tables into it again.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import yaml

from pytest_istio_mc import names
from pytest_istio_mc.checks.catalogue import AREAS, Profile, known_checks
from pytest_istio_mc.checks.precheck import RULES
from pytest_istio_mc.cli import main
from pytest_istio_mc.offered import OPTIONS
from pytest_istio_mc.spec_file import CLUSTER_KEYS, TOP_LEVEL_KEYS, spec_of
from pytest_istio_mc.topologies import known as known_topologies
from tests.checks.services.mistakes import MISTAKES

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = (*sorted(ROOT.glob("*.md")), *sorted(DOCS.glob("*.md")))
RECORDED = ROOT / "tests" / "recorded"

CHECK_ID = re.compile(r"\bMC-[A-Z]+(?:-\d{3})?\b")
OWN = re.compile(r"MC-[A-Z]+-9\d\d")
"""Ids that are left to users; examples have some."""


def blocks(page: Path, language: str) -> list[str]:
    """The fenced examples of a page in one language."""
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```$", page.read_text())


def option_table() -> str:
    """The table of options in docs/options.md."""
    rows = [
        f"| `{option.flag}{'=' + option.metavar if option.metavar else ''}` | {option.help} |"
        for option in OPTIONS
        if option.help
    ]
    return "\n".join(["| option | meaning |", "|---|---|", *rows])


def check_table() -> str:
    """The table of checks in docs/checks.md."""
    lines: list[str] = []
    for area, described in AREAS.items():
        head = ["| id | kind | what must hold |", "|---|---|---|"]
        lines += ["", f"## {described.title}", "", *head]
        for check in known_checks().values():
            if check.area == area:
                kind = check.kind.value
                kind += "" if check.profile is Profile.CORE else f", {check.profile.value}"
                kind += " (quick)" if check.quick else ""
                lines.append(f"| {check.id} | {kind} | {_cell(check.title)} |")
    return "\n".join(lines[1:])


def area_table() -> str:
    """The README's table of areas."""
    rows = [f"| `MC-{area}` | {described.summary} |" for area, described in AREAS.items()]
    return "\n".join(["| area | what is certified |", "|---|---|", *rows])


def topology_table() -> str:
    """The README's table of topologies, with their sections and pages on istio.io."""
    rows = [
        f"| [`{one.name}`](docs/topologies.md#{one.name}) | {one.summary} "
        f"| [Istio]({one.documentation}) |"
        for one in known_topologies().values()
    ]
    return "\n".join(["| topology | what it is | documented by |", "|---|---|---|", *rows])


def name_table() -> str:
    """The table of names in docs/files.md."""
    forms = [form for form in vars(names).values() if isinstance(form, names.Form)]
    rows = [f"| {_cell(form.of)} | {_cell(form.words)} | {form.longest} |" for form in forms]
    return "\n".join(["| names of | are | characters |", "|---|---|---|", *rows])


def mistake_table() -> str:
    """The table of seeded mistakes in docs/services.md."""
    rows = [
        f"| {case.seed.__name__.replace('_', ' ')} | `{case.fault}` | {case.check} "
        f"| {case.weight.value} |"
        for case in MISTAKES
    ]
    return "\n".join(["| mistake | told as | by | weight |", "|---|---|---|---|", *rows])


def rule_table() -> str:
    """The table of the precheck's rules in docs/precheck.md."""
    rows = []
    for rule in RULES:
        sources = " ".join(f"[{n}]({one})" for n, one in enumerate(rule.sources, 1))
        words = map(_cell, (rule.versions, f"{rule.title} Effect: {rule.effect}."))
        rows.append(f"| `{rule.id}` | {rule.weight.value} | {' | '.join(words)} | {sources} |")
    head = ["| rule | weight | versions | what and why | sources |", "|---|---|---|---|---|"]
    return "\n".join([*head, *rows])


GENERATED: Mapping[str, tuple[Path, Callable[[], str]]] = {
    "options": (DOCS / "options.md", option_table),
    "checks": (DOCS / "checks.md", check_table),
    "areas": (ROOT / "README.md", area_table),
    "mistakes": (DOCS / "services.md", mistake_table),
    "names": (DOCS / "files.md", name_table),
    "rules": (DOCS / "precheck.md", rule_table),
    "topologies": (ROOT / "README.md", topology_table),
}


def _cell(text: str) -> str:
    return text.replace("<", "&lt;").replace("|", "\\|")


def _between(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?ms)(?<=<!-- {name} -->\n)(.*?)(?=^<!-- /{name} -->$)")


@pytest.mark.parametrize("name", GENERATED)
def test_the_generated_tables_are_as_the_program_says(name: str) -> None:
    page, make = GENERATED[name]
    (shown,) = _between(name).findall(page.read_text())

    assert shown.strip() == make(), "run: python -m tests.test_docs"


def test_the_mesh_spec_example_is_one_and_names_every_key() -> None:
    page = DOCS / "mesh-spec.md"
    (example,) = blocks(page, "yaml")

    spec = spec_of(yaml.safe_load(example), page.name)

    known_topologies()[spec.topology].check(spec)
    for key in TOP_LEVEL_KEYS | CLUSTER_KEYS:
        assert re.search(rf"`(clusters\[\]\.)?{key}`", page.read_text()), key


def example(holds: str) -> str:
    """The one Python example of docs/extend.md that holds some text."""
    (found,) = [source for source in blocks(DOCS / "extend.md", "python") if holds in source]
    return found


def run_mine(
    pytester: pytest.Pytester, holds: str, *options: str
) -> tuple[pytest.RunResult, Mapping[str, Mapping[str, str]]]:
    """Run an example in a file of its own, on a recorded mesh.

    Returns the result, and the entries of the certificate by check id.
    """
    source = example(holds)
    path = pytester.mkdir("mine") / source.splitlines()[0].removeprefix("# mine/")
    path.write_text(source)
    replay = f"--mesh-replay={RECORDED / 'healthy'}"
    result = pytester.runpytest_subprocess("mine", replay, "-v", *options)
    report = yaml.safe_load((pytester.path / "mesh-report.yaml").read_text())
    return result, {entry["id"]: entry for entry in report["checks"]}


def test_the_example_of_an_own_check_judges_and_is_certified(pytester: pytest.Pytester) -> None:
    result, entries = run_mine(pytester, "MC-CONTROL-901")

    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["*[[]MC-CONTROL-901-every-cluster-has-a-region] CONFORMANT*"])
    result.stdout.fnmatch_lines(["*collected 1 item"])  # the suites were not asked for
    assert entries["MC-CONTROL-901"]["verdict"] == "conformant"
    assert entries["MC-CONTROL-901"]["reason"] == "2 clusters say in which region they are"


def test_the_example_of_a_live_check_of_an_own_area_is_known_and_not_run_on_a_recording(
    pytester: pytest.Pytester,
) -> None:
    result, entries = run_mine(pytester, "MC-ACME-901")

    assert result.ret == 3
    result.stdout.fnmatch_lines(["*[[]MC-ACME-901-answered-within-a-second] NOT RUN*"])
    assert "needs a mesh" in entries["MC-ACME-901"]["reason"]


def test_the_example_of_a_topology_is_taken(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(example("pytest_mesh_topologies"))

    result = pytester.runpytest_subprocess("--mesh-topology=three-regions", "--mesh-plan")

    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(
        ["*cluster3  primary, network network3", "*as in https://example.com/our-mesh"]
    )


def test_the_example_of_a_provider_is_taken(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(example("pytest_mesh_providers"))

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

    live = re.compile(r"explain|^ +MC-|checks\)")  # live checks are not replayed
    told = [line for line in shown.splitlines() if line and not live.search(line)]
    assert [line for line in told if line not in run.outlines] == []


def commands() -> Iterator[str]:
    """The command lines that the pages show, without prompts and comments."""
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
        words = re.findall(r"^istio-mc ((?:lab )?[a-z-]+)", command)
        if words:
            flags = set(re.findall(r"(?<= )--[a-z-]+", command))
            helping = [sys.executable, "-m", "pytest_istio_mc.cli", *words[0].split(), "--help"]
            helped = subprocess.run(helping, capture_output=True, text=True, check=False)
            assert helped.returncode == 0, f"{command}: {helped.stderr}"
            assert all(flag in helped.stdout for flag in flags), command


def test_every_make_target_that_is_shown_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for page in PAGES:
        for target in re.findall(r"(?:^[#$] |`)make ([\w./-]+)", page.read_text(), re.MULTILINE):
            known = re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE)
            assert known, f"make {target} in {page.name}"


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
            plain = [re.sub(r"[^\w -]", "", heading.lower()) for heading in headings]
            anchors = {heading.replace(" ", "-") for heading in plain}
            assert anchor in anchors, f"{target} in {page.name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_names_a_folder_of_the_machine_it_was_written_on(page: Path) -> None:
    assert not re.search(r"/root/|/work/|/tmp/", page.read_text())


def test_pages_that_texts_name_exist(capsys: pytest.CaptureFixture[str]) -> None:
    sources = "\n".join(path.read_text() for path in (ROOT / "pytest_istio_mc").rglob("*.py"))
    named = set(re.findall(r"`istio-mc docs ([\w.-]+)`", sources))

    assert named
    for page in named:
        assert main(["docs", page]) == 0
        assert capsys.readouterr().out == (DOCS / page).read_text()


def test_every_page_is_in_the_index() -> None:
    index = (DOCS / "README.md").read_text()

    left_out = [page.name for page in DOCS.glob("*.md") if f"({page.name})" not in index]
    assert left_out == ["README.md"]


@pytest.mark.parametrize("name", known_topologies())
def test_every_topology_has_its_section(name: str) -> None:
    assert re.search(rf"^## {name}$", (DOCS / "topologies.md").read_text(), re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_prose_is_within_100_columns(page: Path) -> None:
    text = re.sub(r"(?ms)^```.*?^```$", "", page.read_text())
    unbreakable = re.compile(r"\||!\[|    |.*\S{60}")
    long = [line for line in text.splitlines() if len(line) > 100 and not unbreakable.match(line)]

    assert long == []


def write_tables() -> None:
    """Write the generated tables into the pages."""
    for name, (page, make) in GENERATED.items():
        text = page.read_text()
        (shown,) = _between(name).finditer(text)
        page.write_text(f"{text[: shown.start()]}{make()}\n{text[shown.end() :]}")


if __name__ == "__main__":
    write_tables()
