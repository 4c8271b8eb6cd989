"""The page of a certificate: one HTML file that needs no network and no scripts.

Whatever a mesh calls its things arrives as text: Jinja2 escapes it, and what is not visible is
shown as an escape. A policy in the page keeps everything else out, and every script but ours.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..checks.catalogue import area_title
from ..checks.tracing.trace import MEDIA_TYPE
from ..errors import MeshError
from ..outlines import Outline
from ..visible import visible
from . import drawing, drawing_times
from .matrix import matrix_of
from .pictures import SVG
from .report import result_sentence
from .standing import standing_of
from .wording import MEANINGS, State, state_of
from .writing import write_whole

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).with_name("templates")

_GENERATOR = '<meta name="generator" content="pytest-istio-mc">'
"""What tells a page of ours from anybody else's, whose file is not to be replaced."""

MOST_FINDINGS, MOST_EVIDENCE = 40, 10
"""How many findings and texts the page shows of a check; it counts the others."""
MOST_CHARACTERS = 1500
"""Of what was expected or seen; all of it is in the certificate."""


def page(reports: Sequence[Mapping[str, Any]]) -> str:
    """The HTML of one certificate, or of several with an index."""
    several = len(reports) > 1
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8")
    style = (TEMPLATES / "page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    views = [
        _view(report, f"t{number}." if several else "") for number, report in enumerate(reports, 1)
    ]
    from markupsafe import Markup

    return (
        _templates()
        .get_template("page.html.jinja")
        .render(
            views=views,
            several=several,
            title=f"Mesh certificate: {', '.join(view['report']['topology'] for view in views)}",
            # our own files, and no text of anybody's
            script=Markup(script),  # noqa: S704
            style=Markup(style),  # noqa: S704
            policy="default-src 'none'; style-src 'unsafe-inline'; "
            f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'",
            State=State,
            generator=Markup(_GENERATOR),  # noqa: S704
        )
    )


def page_beside(certificate: Path) -> Path:
    """Where the page of a certificate lies: beside it, of the same name."""
    return certificate.with_suffix(".html")


def write_page(reports: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write the page, whole or not at all.

    :class:`MeshError` where the disk refuses it, or a file of that name is no page of ours.
    """
    if not _is_ours(path):
        advice = "move it away, name the certificate otherwise, or give --mesh-no-page"
        detail = "a file of that name is there, and no page of a certificate"
        raise MeshError(f"page {path}", "is not written over another file", detail, advice=advice)
    write_whole(path, page(reports), "page")


def try_to_write(reports: Sequence[Mapping[str, Any]], path: Path) -> str:
    """Write the page of a run, whose certificate is what counts; why that failed, else empty."""
    try:
        write_page(reports, path)
    except MeshError as error:
        return str(error)
    except Exception as error:
        return f"page {path} could not be made ({error!r}); report this as a defect"
    return ""


def _is_ours(path: Path) -> bool:
    """Whether nothing is there, or a page that this module made."""
    try:
        with path.open("rb") as stream:
            return _GENERATOR.encode() in stream.read(4096)
    except FileNotFoundError:
        return True
    except OSError:
        return False


@cache
def _templates() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    def finalize(value: Any) -> Any:
        if isinstance(value, str) and not isinstance(value, Markup):
            return "\n".join(map(visible, value.split("\n")))
        return value

    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _view(report: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """All that the template shows of one certificate, in the order of the page."""
    from markupsafe import Markup

    standing = standing_of(report)
    matrix = matrix_of(report)

    def anchor(check: str) -> str:
        return f"{prefix}{check}"

    # what is made of texts there is escaped there
    svg = Markup(drawing.mesh_svg(standing, f"{prefix}mesh", anchor))  # noqa: S704
    checks = [_check(entry, prefix) for entry in report["checks"]]
    order = list(State)
    return {
        "prefix": prefix,
        "report": report,
        "meaning": MEANINGS[report["result"]],
        "sentence": result_sentence(report),
        "standing": standing,
        "svg": svg,
        "described": drawing.described(standing),
        "most_drawn": drawing.MOST_DRAWN,
        "matrix": matrix,
        "timelines": [{"check": check, **one} for check in checks for one in check["timelines"]],
        "checks": checks,
        "areas": _areas(checks),
        "wrong": [check for check in checks if check["state"] is State.FAILS],
        "counts": [
            (state, sum(check["state"] is state for check in checks))
            for state in order
            if any(check["state"] is state for check in checks)
        ],
        "unlooked": _unlooked(checks),
        "claims": _claims(report),
    }


def _check(entry: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    from markupsafe import Markup

    outlines = [Outline.from_dict(one) for one in entry.get("timelines", ())]
    drawn = [
        {
            "title": outline.title,
            "described": drawing_times.described(outline),
            "svg": Markup(  # noqa: S704
                drawing_times.outline_svg(outline, f"{prefix}{entry['id']}-time{number}")
            ),
        }
        for number, outline in enumerate(outlines, 1)
    ]
    return {
        **entry,
        "anchor": f"{prefix}{entry['id']}",
        "state": state_of(entry),
        "url": entry["specUrl"] if _is_web(entry["specUrl"]) else "",
        "groups": _grouped(entry["findings"][:MOST_FINDINGS]),
        "more_findings": max(0, len(entry["findings"]) - MOST_FINDINGS),
        "texts": list(_texts(entry["evidence"], bool(drawn))),
        "timelines": drawn,
    }


def _grouped(findings: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Findings by remedy, so that each remedy is shown once."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for finding in findings:
        shortened = {
            **finding,
            "expected": _cut(finding["expected"]),
            "seen": _cut(finding["seen"]),
        }
        groups.setdefault(finding["remedy"], []).append(shortened)
    return [{"remedy": remedy, "findings": found} for remedy, found in groups.items()]


def _texts(evidence: Iterable[Mapping[str, Any]], drawn: bool) -> Iterable[dict[str, Any]]:
    """The quoted evidence: hops as a list, the rest as text; no halves of drawings."""
    shown = 0
    for item in evidence:
        if item["mediaType"] == SVG or (drawn and item["mediaType"] == "application/json"):
            continue
        text = item.get("text", "")
        quoted = bool(text) and shown < MOST_EVIDENCE
        shown += quoted
        hops = _hops(text) if quoted and item["mediaType"] == MEDIA_TYPE else []
        yield {
            "name": item["name"],
            "characters": item["characters"],
            "text": text if quoted and not hops else "",
            "cut": quoted and not hops and item["characters"] > len(text),
            "hops": hops,
        }


def _hops(text: str) -> list[dict[str, str]]:
    """The hops in a piece of evidence; none where its end was cut off."""
    try:
        found = json.loads(text)["hops"]
        keys = ("name", "state", "expected", "seen")
        return [{key: str(hop.get(key, "")) for key in keys} for hop in found]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []


def _areas(checks: Iterable[Mapping[str, Any]]) -> list[tuple[str, str, list[Mapping[str, Any]]]]:
    """Area, title and checks of each area."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for check in checks:
        found.setdefault(check["id"].split("-")[1], []).append(check)
    return [(area, area_title(area), mine) for area, mine in found.items()]


def _unlooked(
    checks: Iterable[Mapping[str, Any]],
) -> list[tuple[State, list[tuple[str, list[Mapping[str, Any]]]]]]:
    """What was not looked at: by state, and by reason."""
    found: dict[State, dict[str, list[Mapping[str, Any]]]] = {}
    for check in checks:
        if check["state"] not in (State.CONFORMANT, State.FAILS):
            reason = check["reason"].removeprefix("not run: ")
            found.setdefault(check["state"], {}).setdefault(reason, []).append(check)
    return [(state, list(found[state].items())) for state in State if state in found]


def _claims(report: Mapping[str, Any]) -> str:
    """What the run claimed and was allowed, in words."""
    claim = report.get("claim")
    if claim is None:
        return ", ".join(report["profiles"])
    quick = " and quick disruptive checks" if claim["quickDisruptive"] else ""
    allowed = ", ".join(claim["permissions"])
    return f"{claim['profile']}{quick}" + (f"; allowed besides: {allowed}" if allowed else "")


def _is_web(url: str) -> bool:
    """Whether a link leads to the web: a certificate may come from anywhere."""
    return re.match(r"https?://[^\s]+\Z", url) is not None


def _cut(text: str) -> str:
    if len(text) <= MOST_CHARACTERS:
        return text
    return f"{text[:MOST_CHARACTERS]}… ({len(text)} characters, all in the certificate)"
