"""The plan of the house: which folder or module may import which."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import pytest_istio_mc

PACKAGE = "pytest_istio_mc"
ROOT = Path(pytest_istio_mc.__file__).parent

FLOORS: tuple[frozenset[str], ...] = tuple(
    frozenset(floor.split())
    for floor in (
        "shell visible",
        "dates errors files istio_names names private progress redact rights roles scratch",
        "selectors together tool",
        "documents plain shape_forms rule_shapes shapes",
        "eventually spec observations machine certificates",
        "counted gate_marks mesh outlines samples timelines verdicts",
        "statistics spec_file certificate_chains",
        "kube lab snapshot recorded network_gateways",
        "topologies collect",
        "probes",
        "faults",
        "checks",
        "settings",
        "evidence providers",
        "validation hookspecs absent",
        "options offered",
        "session",
        "fixtures suites plugin cli",
        "__main__",
    )
)
"""From the ground up: a folder or module imports those of its own floor and of floors below."""


def floor_of(module: str) -> int:
    """The floor of a dotted module inside the package."""
    top = module.partition(".")[0]
    return next(number for number, floor in enumerate(FLOORS) if top in floor)


@cache
def modules() -> dict[str, Path]:
    """The modules of the package, suites and fixtures included, by dotted name inside it."""
    found = {}
    for folder in (ROOT, ROOT / "suites", ROOT / "fixtures"):
        for file in folder.resolve().rglob("*.py"):
            inside = file.relative_to(folder.resolve())
            below = folder.name if folder != ROOT else ""
            parts = [part for part in (below, *inside.with_suffix("").parts) if part]
            if parts[-1] == "__init__":
                parts.pop()
            if parts:
                found[".".join(parts)] = file
    return found


@cache
def imports(module: str) -> frozenset[str]:
    """The modules of the package that a module imports anywhere, also for types."""
    return frozenset(_imports(module))


def _imports(module: str) -> Iterator[str]:
    known, file = modules(), modules()[module]
    package = module.split(".") if file.name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            parts = [*base, *(node.module or "").split(".")] if node.module else base
            if not node.level:
                if parts[0] != PACKAGE:
                    continue
                parts = parts[1:]
            for alias in node.names:
                inside = ".".join([*parts, alias.name])
                if inside in known:
                    yield inside
                elif ".".join(parts) in known:
                    yield ".".join(parts)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                inside = alias.name.removeprefix(f"{PACKAGE}.")
                if inside != alias.name and inside in known:
                    yield inside


def test_every_module_has_a_floor() -> None:
    tops = {module.partition(".")[0] for module in modules()}

    assert tops == frozenset.union(*FLOORS)


@pytest.mark.parametrize("top", sorted(frozenset.union(*FLOORS)))
def test_imports_go_down(top: str) -> None:
    up = [
        f"{module} imports {other}"
        for module in modules()
        if module.partition(".")[0] == top
        for other in imports(module)
        if floor_of(other) > floor_of(module)
    ]

    assert sorted(up) == []


def test_no_module_imports_another_in_a_circle() -> None:
    graph = {module: imports(module) - {module} for module in modules()}

    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail("circle: " + " -> ".join(error.args[1]))


def test_in_an_area_only_observers_touch_clusters() -> None:
    touching = ("probes", "faults", "kube", "collect", "lab", "providers")
    wrong = [
        f"{module} imports {other}"
        for module in modules()
        if module.startswith("checks.") and not module.rpartition(".")[2].startswith("observe")
        if module != "checks.site"  # it names the types that observers get
        for other in imports(module)
        if other.partition(".")[0] in touching
    ]

    assert sorted(wrong) == []


def test_the_agent_imports_nothing_from_outside_its_folder() -> None:
    inside = [module for module in modules() if module.startswith("probes.agent.")]
    wrong = [
        f"{module} imports {other}"
        for module in inside
        for other in imports(module)
        if not other.startswith("probes.agent")
    ]

    assert inside
    assert wrong == []


def test_only_the_pytest_layer_imports_pytest() -> None:
    layer = (
        "session",
        "fixtures",
        "suites",
        "plugin",
        "options",
        "hookspecs",
        "absent",
        "evidence.allure",
    )
    wrong = [
        module
        for module, file in modules().items()
        if not module.startswith(layer)
        and any(
            isinstance(node, ast.Import) and any(alias.name == "pytest" for alias in node.names)
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        )
    ]

    assert wrong == []


def test_no_module_is_longer_than_a_head_can_hold() -> None:
    long = {
        module: lines
        for module, file in modules().items()
        if (lines := len(file.read_text(encoding="utf-8").splitlines())) > 400
    }

    assert long == {}


def test_docstrings_begin_with_one_short_line() -> None:
    long = [
        f"{module}.{getattr(node, 'name', '')}: {first}"
        for module, file in modules().items()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and (first := (ast.get_docstring(node) or "").partition("\n\n")[0])
        and (len(first.split()) > 16 or "\n" in first)
    ]

    assert long == []
