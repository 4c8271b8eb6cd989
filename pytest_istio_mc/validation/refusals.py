"""Refusals: what makes no sense, with what would have been valid."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import documents
from ..errors import UsageProblem
from ..files import Unreadable
from ..settings import Given


def refuse(option: str, detail: str, valid: Sequence[str] = (), advice: str = "") -> UsageProblem:
    """The error for an option."""
    known = f"valid are: {', '.join(valid)}" if valid else ""
    advices = (known, advice, "nothing was started")
    return UsageProblem(option, detail, advice="; ".join(part for part in advices if part))


def meant(word: str, known: Iterable[str]) -> str:
    """``; did you mean "federated"?`` where a known word is close, else nothing."""
    from difflib import get_close_matches

    # a word may be as long as a file
    close = get_close_matches(word[:100], list(known), n=1, cutoff=0.7)
    return f'; did you mean "{close[0]}"?' if close else ""


def refuse_with(given: Mapping[str, Given], what: str, *names: str) -> None:
    """Raise :class:`UsageProblem` where one of these options was given together with ``what``.

    In the ini file, which serves several runs, they are no mistake.
    """
    for name in names:
        entry = given.get(name)
        if entry and entry.source != "ini":
            takes_clusters = "--mesh-provider=attach is the one that takes clusters of yours"
            advice = takes_clusters if name in ("contexts", "kubeconfig", "namespace") else ""
            option = f"--mesh-{name.replace('_', '-')}"
            raise refuse(option, f"makes no sense together with {what}", advice=advice)


def read_document(path: Path, option: str) -> Any:
    """The content of a YAML or JSON file; refused where it cannot be read."""
    try:
        return documents.read_document(path)
    except Unreadable as error:
        raise refuse(option, f"{path} cannot be read: {error}") from error


def is_folder(path: Path) -> bool:
    """Whether there is a folder; no name is too strange to ask."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False
