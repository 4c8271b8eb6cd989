"""Shell: commands to be pasted, in which every word arrives as it is, whatever it contains.

Names come from clusters and from recorded snapshots of strangers. Nothing of them is ever shell:

- each word is quoted here, and nowhere else;
- a document that a command reads is one quoted word, too, of ``printf``;
- notes behind commands hold nothing that a shell without comments (an interactive zsh) would run.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from typing import Any, NewType

from .visible import is_visible, visible

Remedy = NewType("Remedy", str)
"""What can be pasted into a shell: commands and notes, or notes alone."""

Command = NewType("Command", Remedy)
"""One or more commands without a note, so that others can be joined to them."""

NO_REMEDY = Remedy("")

_IN_NOTES = str.maketrans("`'\"$&|<>()\\!", "’’”＄+/‹›[]/.") | {ord(";"): " –"}
"""What acts in shells, and what stands for it in notes."""


def command(what: str, *words: str) -> Command:
    """A command: ``what`` is of our own, split at blanks; each of ``words`` stays whole."""
    return Command(Remedy(" ".join(map(quoted, (*what.split(), *words)))))


def kubectl(context: str, what: str, *words: str, namespace: str = "", file: str = "") -> Command:
    """A kubectl command; ``file`` is a kubeconfig, in place of the usual one."""
    where = [f"--kubeconfig={file}"] if file else []
    inside = ["-n", namespace] if namespace else []
    return command("kubectl", *where, f"--context={context}", *inside, *what.split(), *words)


def istioctl(context: str, what: str, *words: str) -> Command:
    """An istioctl command."""
    return command("istioctl", f"--context={context}", *what.split(), *words)


def operand(name: str) -> tuple[str, ...]:
    """The last words of a command: a name, which never becomes an option."""
    return ("--", name) if name.startswith("-") else (name,)


def then(*commands: Command) -> Command:
    """The commands one after the other, each only where those before it went well."""
    return _joined(" && ", commands)


def beside(*commands: Command) -> Command:
    """The commands one after the other, however those before them ended."""
    return _joined("; ", commands)


def piped(*commands: Command) -> Command:
    """The commands, each reading what the one before it writes."""
    return _joined(" | ", commands)


def reading(document: Mapping[str, Any] | str, reader: Command) -> Command:
    """A command that reads a document: a text, or what becomes JSON."""
    text = document if isinstance(document, str) else json.dumps(document)
    return piped(command("printf %s", text), reader)


def matching(text: str, source: Command) -> Command:
    """The lines with a text of what a command writes."""
    return piped(source, command("grep -F -e", text))


def note(text: str) -> Remedy:
    """What a person has to do or know, where no command does it."""
    return Remedy(f"# {noted(text)}")


def noted(text: str) -> str:
    """A text fit for a note: one line, in which nothing acts."""
    return " ".join(visible(text).translate(_IN_NOTES).split())


def with_note(commands: Command, text: str) -> Remedy:
    """The commands, and behind them what to know of them."""
    return Remedy(f"{commands}  {note(text)}")


def after(first: Command, remedy: Remedy) -> Remedy:
    """A remedy, which may have a note, behind another command, however that ended."""
    return Remedy(f"{first}; {remedy}")


def left_to_people(look: Command, decision: str, commands: Command) -> Remedy:
    """A command that shows something, and as a comment what is done once people have decided.

    For everything that takes away what somebody may need: pasted as it is, it changes nothing.
    """
    return Remedy(f"{with_note(look, decision)}\n# {commands}")


def quoted(word: str) -> str:
    """A word as shells take it: on one line, visible, whole."""
    word = word.replace("\0", "\N{REPLACEMENT CHARACTER}")  # which no argument can hold
    if is_visible(word):
        return shlex.quote(word)
    return f"$'{''.join(map(_ansi, word))}'"


def _ansi(character: str) -> str:
    if character in "\\'":
        return f"\\{character}"
    if is_visible(character) and character != "!":  # by which interactive shells recall commands
        return character
    return "".join(f"\\{byte:03o}" for byte in character.encode("utf-8", "surrogatepass"))


def _joined(by: str, commands: Iterable[Command]) -> Command:
    return Command(Remedy(by.join(filter(None, commands))))
