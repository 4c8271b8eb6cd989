"""Every word arrives in a real bash as it was given."""

from __future__ import annotations

import ast
import json
import re
import subprocess
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_istio_mc import shell
from pytest_istio_mc.shell import quoted
from pytest_istio_mc.visible import is_visible
from tests.test_layers import modules

WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
PIECES = st.lists(
    st.sampled_from(
        ["$(x)", "`x`", "'", '"', "\\", "\n", "EOF", ";", "#", " ", "!", "-", "~", "\x1b"]
    )
    | WORDS,
    max_size=6,
).map("".join)


def words_in_bash(text: str) -> list[str]:
    """The words that bash makes of a text."""
    program = f"printf '%s\\0' {text}"
    done = subprocess.run(["bash", "-c", program], capture_output=True, check=True, env={})
    return done.stdout.decode().split("\0")[:-1]


@settings(max_examples=60, deadline=None)
@given(st.lists(PIECES, min_size=1, max_size=8))
def test_words_arrive_as_they_were_given(words: list[str]) -> None:
    line = " ".join(map(quoted, words))

    assert is_visible(line)
    assert words_in_bash(line) == words


def test_what_no_word_can_hold_does_not_end_it() -> None:
    assert words_in_bash(quoted("a\0b")) == ["a\N{REPLACEMENT CHARACTER}b"]
    assert is_visible(quoted("\ud800"))


@settings(max_examples=40, deadline=None)
@given(PIECES)
def test_a_document_arrives_as_it_was_given(text: str) -> None:
    document = {"a": text, text: ["b"]}
    reader = shell.command("bash -c", "IFS= read -r -d '' all; printf %s \"$all\"")
    line = shell.reading(document, reader)

    done = subprocess.run(["bash", "-c", line], capture_output=True, check=False)

    assert json.loads(done.stdout) == document


@settings(max_examples=60, deadline=None)
@given(PIECES)
def test_a_note_runs_nothing_even_where_shells_know_no_comments(text: str) -> None:
    note = shell.note(text)

    assert is_visible(note)
    assert not set("`$;&|<>()\\!'\"") & set(note)


def test_commands_are_joined_and_notes_come_last() -> None:
    first, second = shell.command("a b", "c d"), shell.kubectl("x y", "get pods", namespace="n")

    assert shell.then(first, second) == "a b 'c d' && kubectl '--context=x y' -n n get pods"
    assert shell.beside(first, first) == "a b 'c d'; a b 'c d'"
    assert shell.piped(first, shell.command("e")) == "a b 'c d' | e"
    assert shell.with_note(first, "why (so)") == "a b 'c d'  # why [so]"
    assert shell.left_to_people(first, "if so", second) == (
        "a b 'c d'  # if so\n# kubectl '--context=x y' -n n get pods"
    )
    assert shell.matching("-x", first) == "a b 'c d' | grep -F -e -x"


def test_a_name_never_becomes_an_option() -> None:
    assert shell.command("kubectl get pod", *shell.operand("-A")) == "kubectl get pod -- -A"
    assert shell.command("kubectl get pod", *shell.operand("a")) == "kubectl get pod a"


PROGRAM = re.compile(r"\b(kubectl|istioctl)\s[^\n]*\{\}")
"""A program, and on its line something that is put in."""
OUR_WORDS = ("command", "kubectl", "istioctl", "istio")
"""The functions whose ``what`` is split at blanks, and so must be a text of our own."""


def _formatted(tree: ast.AST) -> Iterator[str]:
    """The texts of a module into which something is put: f-strings, ``%``, ``+``, ``format``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values
            )
        elif isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Mod)):
            for side in (node.left, node.right):
                if isinstance(side, ast.Constant) and isinstance(side.value, str):
                    yield f"{side.value}{{}}"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            of = node.func.value
            if node.func.attr in ("format", "join", "replace") and isinstance(of, ast.Constant):
                yield f"{of.value!s}{{}}"


@pytest.mark.parametrize("module", sorted(set(modules()) - {"shell"}))
def test_command_lines_are_made_in_one_place(module: str) -> None:
    tree = ast.parse(modules()[module].read_text(encoding="utf-8"))

    assert [text for text in _formatted(tree) if PROGRAM.search(text)] == []


@pytest.mark.parametrize("module", sorted(set(modules()) - {"shell", "checks.remedies"}))
def test_only_texts_of_our_own_are_split_into_words(module: str) -> None:
    tree = ast.parse(modules()[module].read_text(encoding="utf-8"))
    split = [
        ast.unparse(call)
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and _splits(call) and not _is_our_own(_what(call))
    ]

    assert split == []


def _splits(call: ast.Call) -> bool:
    of = call.func
    if not isinstance(of, ast.Attribute) or of.attr not in OUR_WORDS:
        return False
    return of.attr != "command" or ast.unparse(of.value) == "shell"


def _what(call: ast.Call) -> ast.expr:
    first = 0 if ast.unparse(call.func) == "shell.command" else 1
    return call.args[first]


def _is_our_own(what: ast.expr) -> bool:
    """A literal; or words handed on one by one, the first of which is one."""
    return isinstance(what, (ast.Constant, ast.Starred))


def test_words_are_quoted_in_one_place() -> None:
    """Words of the gate's command are for sh, which runs them at once; nobody pastes them."""
    quoting = {
        name for name, file in modules().items() if re.search(r"\bshlex\b", file.read_text())
    }

    assert quoting == {"shell", "cli.gate"}


def test_remedies_are_made_in_one_place() -> None:
    """mypy refuses any other text for one; only these modules may call something a remedy."""
    made = re.compile(r"(?<!\[)\b(Remedy|Command)\(")
    making = {name for name, file in modules().items() if made.search(file.read_text())}

    assert making <= {"shell"}, making
