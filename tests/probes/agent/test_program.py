"""The one file that runs in pods is whole, readable and quick to start."""

from __future__ import annotations

import ast
import subprocess
import sys

from pytest_istio_mc.probes import manifests
from pytest_istio_mc.probes.agent import bundle, program
from tests.probes.conftest import Agent


def test_the_file_is_python_3_8_and_standard_library_only() -> None:
    for text in (program.program(), *map(program.source, program.MODULES)):
        for node in ast.walk(ast.parse(text, feature_version=(3, 8))):
            if isinstance(node, ast.Import):
                imported = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported = [node.module or ""]
            else:
                continue
            assert {module.partition(".")[0] for module in imported} <= {
                *sys.stdlib_module_names,
                "probe",
            }


def test_it_holds_every_module_unchanged_in_lines_that_can_be_read() -> None:
    nodes = ast.walk(ast.parse(program.program()))
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    call = next(node for node in calls if ast.unparse(node.func) == "install")

    sources = {name: program.source(name) for name in program.MODULES}
    assert ast.literal_eval(call.args[1]) == sources
    assert max(map(len, program.program().splitlines())) <= 200


def test_every_module_that_its_modules_import_is_inside() -> None:
    for name in program.MODULES:
        for node in ast.walk(ast.parse(program.source(name))):
            if isinstance(node, ast.ImportFrom) and node.level:
                named = [node.module] if node.module else [alias.name for alias in node.names]
                assert set(named) <= set(program.MODULES), name


def test_what_serves_starts_without_slow_imports(agent: Agent) -> None:
    unwanted = {"ssl", "asyncio", "typing", "http.client", "email", "logging"}
    unwanted |= {"probe.operations", "probe.handshakes"}
    tell = f"print(*sorted({unwanted!r} & set(sys.modules)))\n"
    text = program.program().replace("main()\n", tell)

    done = subprocess.run(
        [*agent.command[:-1], "-c", text],
        env=agent.environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )

    assert done.stdout.strip() == ""


def test_an_error_names_the_module_and_the_line(agent: Agent) -> None:
    done = subprocess.run(
        [*agent.command, "serve", "x=http"],
        env=agent.environment,
        capture_output=True,
        text=True,
        timeout=20,
    )

    assert done.returncode == 1
    assert 'File "probe.main", line' in done.stderr


def test_a_text_that_cannot_be_written_plainly_is_written_all_the_same() -> None:
    for text in ("a = '''b'''\n", "no newline at the end \\", "r = r'\\'\n"):
        assert ast.literal_eval(program._literal(text)) == text


def test_the_bundle_leaves_other_modules_alone() -> None:
    found = bundle.Bundle("probe", {"agent": ""})

    assert found.find_spec("json") is None
    assert found.find_spec("probe.operations") is None


def test_pods_are_given_that_file_and_no_other() -> None:
    made = manifests.workloads("east", "v1", manifests.Form("0123abcd", "python", "key"), [])
    mapped = next(item for item in made if item["kind"] == "ConfigMap")

    assert mapped["data"] == {"probe.py": program.program(), "key": "key"}
    for one in (item for item in made if item["kind"] == "Deployment"):
        (volume, *_) = one["spec"]["template"]["spec"]["volumes"]
        assert volume["configMap"]["items"] == [{"key": "probe.py", "path": "probe.py"}]
    assert manifests.AGENT[-1] == "/istio-mc/probe.py"
