"""The gate: what tests report and what anybody logs passes it, and leaves its secrets there.

Certificates, progress and the console scrub their own texts; errors of ours do when they are shown.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from typing import Any

import pytest

from ..redact import scrub, scrub_text


class Gate:
    """Scrubs reports before anybody sees them: the terminal, JUnit, Allure, xdist's controller."""

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Scrub the error itself, of which Allure tells, and then what pytest says of it."""
        if call.excinfo is not None:
            error = call.excinfo.value
            error.args = scrub(error.args)
            if isinstance(error, pytest.skip.Exception | pytest.fail.Exception):
                error.msg = scrub(error.msg)
        report = yield
        report.sections = scrub(report.sections)
        item.user_properties[:] = scrub(item.user_properties)
        report.user_properties = list(item.user_properties)
        if isinstance(report.longrepr, tuple):
            report.longrepr = scrub(report.longrepr)
        elif report.longrepr is not None:
            text = str(report.longrepr)
            scrubbed = scrub_text(text)
            if scrubbed != text:
                report.longrepr = scrubbed
        return report


def scrub_log_records() -> Callable[[], None]:
    """Scrub every log record of this process; call the answer to stop that."""
    make = logging.getLogRecordFactory()

    def scrubbing(*arguments: Any, **named: Any) -> logging.LogRecord:
        record = make(*arguments, **named)
        try:
            text = record.getMessage()
        except Exception:
            # the logging module complains of such a record, and shows what it was made of
            record.msg, record.args = scrub(record.msg), scrub(record.args)
            return record
        scrubbed = scrub_text(text)
        if scrubbed != text:
            record.msg, record.args = scrubbed, ()
        return record

    logging.setLogRecordFactory(scrubbing)
    return lambda: logging.setLogRecordFactory(make)
