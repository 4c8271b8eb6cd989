"""``istio-mc gate``: what becomes of its words and options."""

from __future__ import annotations

import os
import sys

import pytest

from pytest_istio_mc.cli import USAGE, main


class Became(Exception):
    """This process has become another one."""


@pytest.fixture
def became(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The words of the program that this process would have become."""
    words: list[str] = []

    def become(program: str, arguments: list[str]) -> None:
        words.extend(arguments)
        raise Became

    monkeypatch.setattr(os, "execv", become)
    monkeypatch.delenv("MESH_TOPOLOGY", raising=False)
    return words


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["helm", "upgrade", "--wait", "istio"], "helm upgrade --wait istio"),
        (["echo", "a b", "$HOME", "--"], "echo 'a b' '$HOME' --"),
        (["helm upgrade istio && echo $HOME"], "helm upgrade istio && echo $HOME"),
        (["kubectl", "exec", "x", "--", "true"], "kubectl exec x -- true"),
        (["mark", "x"], "mark x"),
    ],
)
def test_the_words_behind_the_dashes_are_the_command(
    became: list[str], words: list[str], text: str
) -> None:
    with pytest.raises(Became):
        main(["gate", "--topology", "flat-multi-primary", "--", *words])

    assert became[-1] == f"--mesh-gate={text}"
    assert became[:3] == [sys.executable, "-m", "pytest"]


def test_options_are_those_of_pytest(became: list[str]) -> None:
    options = ["--topology=t", "--contexts=a=x,b=y", "--probe-image=i", "--control=true"]
    with pytest.raises(Became):
        main(["gate", *options, "--", "true"])

    assert became[-5:] == [
        "--mesh-topology=t",
        "--mesh-contexts=a=x,b=y",
        "--mesh-probe-image=i",
        "--mesh-control=true",
        "--mesh-gate=true",
    ]
    assert "--mesh-provider=attach" in became


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["gate"], "has no command to watch"),
        (["gate", "--topology=t"], "has no command to watch"),
        (["gate", "--", "helm"], "needs --topology"),
        (["gate", "mark"], "has no text"),
    ],
)
def test_what_lacks_is_said(
    became: list[str], capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(arguments) == USAGE
    assert words in capsys.readouterr().err
    assert became == []
