"""Console: lines of a session on the terminal that pytest writes to."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from contextlib import nullcontext

import pytest

from ..redact import scrub_text
from ..visible import as_written, visible_lines


class Console:
    """Prints between pytest's own lines."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def line(self, text: str) -> None:
        """Print a line at once, also while pytest captures output; any thread may call it."""
        text = visible_lines(scrub_text(text))
        capture = self._config.pluginmanager.get_plugin("capturemanager")
        with capture.global_and_fixture_disabled() if capture is not None else nullcontext():
            reporter = self._config.pluginmanager.get_plugin("terminalreporter")
            if reporter is None:
                print(text, file=sys.stderr, flush=True)
            else:
                self._begin_line(reporter)
                reporter.write_line(text, flush=True)

    def section(self, title: str, lines: Iterable[str]) -> None:
        """Print lines under a heading, where there is a terminal reporter."""
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            self._begin_line(reporter)
            reporter.section(visible_lines(scrub_text(title)))
            for text in lines:
                reporter.write_line(visible_lines(scrub_text(text)), **style(text))

    @property
    def is_quiet(self) -> bool:
        """Whether ``-q`` asks for the result alone."""
        return bool(self._config.option.verbose < 0)

    def _begin_line(self, reporter: pytest.TerminalReporter) -> None:
        """End a line of dots, also one of pytest-xdist, of which the reporter does not know."""
        reporter.ensure_newline()
        if self._config.get_terminal_writer().width_of_current_line:
            reporter.write_line("")


_STYLES: tuple[tuple[re.Pattern[str], dict[str, bool]], ...] = (
    (re.compile(r"result +SUCCESS:"), {"green": True, "bold": True}),
    (re.compile(r"result +FAILURE:"), {"red": True, "bold": True}),
    (re.compile(r"result +(PARTIAL|INCONCLUSIVE):"), {"yellow": True, "bold": True}),
    (re.compile(r"[0-9]+\. [A-Z]"), {"red": True, "bold": True}),
    (re.compile(r" {3}remedy: "), {"cyan": True}),
    (re.compile(r"[0-9]+ checks? could not find out:"), {"yellow": True}),
)


def style(line: str) -> dict[str, bool]:
    """How a line of a section is marked up; pytest heeds ``--color`` and ``NO_COLOR``."""
    return next((markup for pattern, markup in _STYLES if pattern.match(line)), {})


def guard(config: pytest.Config) -> None:
    """Let nothing reach the terminal that acts on it, whoever writes it.

    pytest, too, prints what comes from clusters: errors, reasons, captured logs. Its own colours
    stay, and so do line ends.
    """
    if not config.pluginmanager.hasplugin("terminalreporter"):
        return
    writer = config.get_terminal_writer()
    write = writer.write

    def guarded(msg: str, *, flush: bool = False, **markup: bool) -> None:
        write(as_written(scrub_text(msg), styled=writer.hasmarkup), flush=flush, **markup)

    writer.write = guarded  # type: ignore[method-assign]
