"""Console: lines of a session on the terminal that pytest writes to."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import nullcontext

import pytest

from ..redact import scrub_text


class Console:
    """Prints between pytest's own lines."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def line(self, text: str) -> None:
        """Print a line at once, also while pytest captures output; any thread may call it."""
        text = scrub_text(text)
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
            reporter.section(title)
            for text in lines:
                reporter.write_line(scrub_text(text))

    def _begin_line(self, reporter: pytest.TerminalReporter) -> None:
        """End a line of dots, also one of pytest-xdist, of which the reporter does not know."""
        reporter.ensure_newline()
        if self._config.get_terminal_writer().width_of_current_line:
            reporter.write_line("")
