"""Objects of checks carry the label of their run, by one way in."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest_istio_mc

CHECKS = Path(pytest_istio_mc.__file__).parent / "checks"


def test_checks_make_and_remove_objects_by_one_way_only() -> None:
    """Past it they would not be labelled, nor asked whose they are."""
    past = [
        f"{file.relative_to(CHECKS)}:{node.lineno}"
        for file in sorted(CHECKS.rglob("observe*.py"))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("apply", "create", "delete", "apply_one")
        and ast.unparse(node.func.value) not in ("objects", "services")
        and not any(keyword.arg == "dry_run" for keyword in node.keywords)
    ]

    assert past == []
