"""``istio-mc report``: a certificate again, in another format."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import MeshError, UsageProblem
from .shared import GOOD, say

FORMATS = ("html", "md", "text", "junit")


def add_parser(commands: Any) -> None:
    """Add the command."""
    told = "show certificates again, also old ones: as a page, Markdown, text or JUnit XML"
    command = commands.add_parser(
        "report",
        help=told,
        description="Show certificates of any version in another format. A summary shows every "
        "certificate that it names. This judges nothing: the exit code is 0 whatever they say.",
    )
    command.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="a certificate, or a summary of several"
    )
    command.add_argument("--format", choices=FORMATS, default="text", help="default: text")
    command.add_argument(
        "--output", type=Path, metavar="FILE", help="write into this file, not to standard output"
    )
    command.set_defaults(run=_report)


def _report(parsed: argparse.Namespace) -> int:
    from ..evidence.summary import certificates

    try:
        reports = [report for path in parsed.files for report in certificates(path).values()]
    except MeshError as error:
        raise UsageProblem(error.thing, error.step, error.detail, advice=error.advice) from error
    if parsed.output is not None and parsed.output.resolve() in map(Path.resolve, parsed.files):
        advice = "name another file with --output"
        raise UsageProblem(f"--output {parsed.output}", "is a certificate to show", advice=advice)
    if parsed.output is not None and parsed.format == "html":
        from ..evidence.page import write_page

        write_page(reports, parsed.output)
        say(f"written: {parsed.output}", error=True)
        return GOOD
    text = rendered(reports, parsed.format)
    if parsed.output is None:
        sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace"))
        sys.stdout.buffer.flush()
        return GOOD
    from ..evidence.writing import write_whole

    write_whole(parsed.output, text, "report", "make room, or name another --output")
    say(f"written: {parsed.output}", error=True)
    return GOOD


def rendered(reports: Sequence[Mapping[str, Any]], format: str) -> str:
    """Certificates in one of :data:`FORMATS`."""
    match format:
        case "html":
            from ..evidence.page import page

            return page(reports)
        case "md":
            from ..evidence.markdown import markdown

            return markdown(reports)
        case "junit":
            from ..evidence.junit import junit

            return junit(reports)
    from ..evidence.text import text

    return text(reports)
