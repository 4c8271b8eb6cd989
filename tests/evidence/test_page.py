"""The page of a certificate: whole, safe and readable without network, scripts and colours."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pytest_istio_mc.errors import MeshError
from pytest_istio_mc.evidence.page import TEMPLATES, page, page_beside, try_to_write, write_page
from tests.evidence import certificates
from tests.evidence.certificates import aged, hostile, of_many, recorded

VOID = {"meta", "br", "img", "link", "input", "hr", "base", "source", "area", "col", "embed"}
LOADING = ("src", "srcset", "action", "formaction", "data", "poster", "background", "ping")


class Document(HTMLParser):
    """What a browser would make of a page, as far as these tests ask."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"</{tag}> at {self.getpos()}")

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    def of(self, tag: str) -> list[dict[str, str]]:
        """The attributes of each element of that name."""
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def ids(self) -> list[str]:
        return [attributes["id"] for _, attributes in self.tags if "id" in attributes]

    @property
    def text(self) -> str:
        """What people read: no styles and no scripts."""
        return "".join(text for tag, text in self.texts if tag not in ("style", "script"))


PAGES = {
    "healthy": lambda: [recorded("healthy")],
    "secret-missing": lambda: [recorded("rs-missing")],
    "external": lambda: [recorded("external-control-plane-xc-local-secrets")],
    "unprobed": lambda: [recorded("ha-multi-primary-remote-pr-remote-address-wrong")],
    "federated": lambda: [recorded("federated-fed-remote-secret")],
    "traffic": lambda: [of_many(3)],
    "eight": lambda: [of_many(8)],
    "too-many-to-draw": lambda: [of_many(14)],
    "several": lambda: [recorded("healthy"), recorded("rs-missing"), of_many(2)],
    "old": lambda: [aged(recorded("rs-missing"))],
    "hostile": lambda: [hostile(recorded("rs-missing")), hostile(of_many(3))],
}


@pytest.fixture(params=PAGES, scope="module")
def reports(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    """The certificates of one page."""
    return PAGES[request.param]()


@pytest.fixture(scope="module")
def html(reports: list[dict[str, Any]]) -> str:
    """One page."""
    return page(reports)


@pytest.fixture(scope="module")
def document(html: str) -> Document:
    """One page, parsed."""
    return Document(html)


def test_every_element_is_closed_in_its_order(document: Document) -> None:
    assert document.wrong == []
    assert document.open == []


def test_nothing_is_loaded_from_anywhere(html: str, document: Document) -> None:
    loading = [
        (tag, key)
        for tag, attributes in document.tags
        for key in attributes
        if key in LOADING or (key in ("href", "xlink:href") and tag != "a")
    ]
    links = {attributes["href"] for attributes in document.of("a")}

    assert loading == []
    assert {tag for tag, _ in document.tags} & {"link", "img", "iframe", "object", "base"} == set()
    assert all(re.match(r"#|https://istio\.io/", link) for link in links), links
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)


def test_the_policy_allows_our_script_and_nothing_else(html: str, document: Document) -> None:
    (policy,) = (
        meta["content"]
        for meta in document.of("meta")
        if meta.get("http-equiv") == "Content-Security-Policy"
    )
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()

    assert policy.split("; ") == [
        "default-src 'none'",
        "style-src 'unsafe-inline'",
        f"script-src 'sha256-{digest}'",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    assert not [key for _, attributes in document.tags for key in attributes if key[:2] == "on"]
    assert not [attributes for _, attributes in document.tags if "style" in attributes]


def test_every_check_has_its_place_and_every_link_leads_somewhere(
    document: Document, reports: list[dict[str, Any]]
) -> None:
    ids = document.ids
    prefixes = (
        [f"t{number}." for number in range(1, len(reports) + 1)] if len(reports) > 1 else [""]
    )
    wanted = {
        f"{prefix}{entry['id']}"
        for prefix, report in zip(prefixes, reports, strict=True)
        for entry in report["checks"]
    }
    details = {one.get("id") for one in document.of("details")}
    inside = {one["href"][1:] for one in document.of("a") if one["href"].startswith("#")}
    labelled = {
        id
        for _, attributes in document.tags
        for id in attributes.get("aria-labelledby", "").split()
    }

    assert len(ids) == len(set(ids))
    assert wanted <= details
    assert inside | labelled <= {*ids}


def test_programs_that_read_aloud_find_their_way(document: Document) -> None:
    tags = [tag for tag, _ in document.tags]
    levels = [int(tag[1]) for tag in tags if re.fullmatch(r"h[1-6]", tag)]

    assert document.of("html")[0]["lang"] == "en"
    assert (tags.count("h1"), tags.count("main"), tags.count("title") > 0) == (1, 1, True)
    assert {"header", "nav", "footer"} <= {*tags}
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert all(one.get("aria-label") or one.get("aria-labelledby") for one in document.of("nav"))
    assert all(one.get("scope") for one in document.of("th"))
    assert len(document.of("caption")) == len(document.of("table"))
    for svg in document.of("svg"):
        assert svg["role"] == "img"
        assert svg["aria-labelledby"]
    # what scrolls is reached with the keyboard
    assert all(one.get("tabindex") == "0" for one in document.of("pre"))
    assert all(
        one.get("tabindex") == "0" for one in document.of("div") if one.get("class") == "wide"
    )


def test_a_page_of_few_clusters_is_small(html: str, reports: list[dict[str, Any]]) -> None:
    assert len(html.encode("utf-8", "backslashreplace")) < 1_000_000 * len(reports)


def test_it_says_what_the_certificate_says() -> None:
    report = recorded("rs-missing")
    text = Document(page([report])).text

    (cause,) = report["rootCauses"]
    assert cause["summary"] in text
    assert cause["remedy"] in text
    assert report["reproduce"] in text
    assert "FAILURE" in text
    for entry in report["checks"]:
        assert entry["title"] in text
        assert entry["reason"].removeprefix("not run: ") in text
        for finding in entry["findings"]:
            assert finding["seen"] in text
            assert finding["expected"] in text
    assert "1.31.1" in text
    assert "a lab differs" in text


def test_hostile_names_are_text() -> None:
    html = page([hostile(recorded("rs-missing"))])
    found = Document(html)

    assert "<script>alert" not in html
    assert len(found.of("script")) == 1
    assert "alert(1)</script>" in found.text
    assert "{{ 7 * 7 }}" in found.text
    assert not {*"\x00\x1b\u202e\ud800"} & {*html}
    html.encode()


@pytest.mark.parametrize("url", ["javascript:alert(1)", "data:text/html,x", "//evil", "", "https:"])
def test_a_link_of_an_old_certificate_leads_to_the_web_or_is_text(url: str) -> None:
    report = recorded("healthy")
    report["checks"][0]["specUrl"] = url

    links = {one["href"] for one in Document(page([report])).of("a")}

    assert url not in links


def test_an_old_certificate_has_no_drawing_and_says_so() -> None:
    found = Document(page([aged(recorded("rs-missing"))]))

    assert found.of("svg") == []
    assert "There is no drawing" in found.text
    assert "MC-ACCESS-001" in found.text


def test_a_mesh_that_could_not_be_provisioned_has_a_page() -> None:
    report = recorded("healthy")
    del report["mesh"]["picture"]
    report |= {"problem": "no runc <here>", "result": "inconclusive", "reach": []}

    text = Document(page([report])).text

    assert "no runc <here>" in text
    assert "could not be recorded" in text


def test_a_mesh_with_ten_thousand_findings_has_a_page_that_browsers_open() -> None:
    report = recorded("rs-missing")
    wrong = next(entry for entry in report["checks"] if entry["id"] == "MC-DISCOVERY-002")
    wrong["findings"] = [
        {**wrong["findings"][0], "summary": f"proxy {number}", "seen": "x" * 5000}
        for number in range(10_000)
    ]

    html = page([report])

    assert len(html) < 1_000_000
    assert "9960 more findings" in Document(html).text


def test_time_lines_are_drawn_with_phases_and_losses() -> None:
    found = Document(page([of_many(2)]))

    drawings = [one for one in found.of("svg") if "times" in one["class"]]
    classes = [attributes.get("class", "") for _, attributes in found.tags]
    assert len(drawings) == 1
    assert sum(name.startswith("phase") and "text" not in name for name in classes) == 2
    assert "loss" in classes
    assert "no healthy upstream" in found.text
    assert "upgrade: gateways" in found.text


def colours(css: str, scheme: str) -> dict[str, str]:
    """The variables of the light or of the dark scheme."""
    light, _, rest = css.partition("@media screen and (prefers-color-scheme: dark)")
    dark = rest.partition("\n}")[0]
    pattern = r"--([a-z0-9-]+): (#[0-9a-f]{6})"
    found = dict(re.findall(pattern, light))
    return found if scheme == "light" else found | dict(re.findall(pattern, dark))


def luminance(colour: str) -> float:
    """The relative luminance of WCAG 2."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """The contrast of two colours, from 1 to 21 (WCAG 2)."""
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_what_is_behind_it(scheme: str) -> None:
    found = colours((TEMPLATES / "page.css").read_text(), scheme)
    behind = {name: found[name] for name in ("bg", "card", "net0", "net1", "net2", "net3")}
    pairs = [
        (text, back)
        for text in ("ink", "faint", "link", "bad", "good", "unknown")
        for back in behind
    ]
    pairs += [("ink", back) for back in ("bad-bg", "good-bg", "unknown-bg")]
    pairs += [("faint", back) for back in ("bad-bg", "good-bg", "unknown-bg")]
    pairs += [("link", back) for back in ("bad-bg", "good-bg", "unknown-bg")]
    pairs += [("bad", "bad-bg"), ("good", "good-bg"), ("unknown", "unknown-bg")]

    faint = {(a, b): contrast(found[a], found[b]) for a, b in pairs}

    assert {pair: round(value, 2) for pair, value in faint.items() if value < 4.5} == {}
    # bars and lines need 3:1 (WCAG 1.4.11)
    shapes = {f"by{number}": contrast(found[f"by{number}"], found["bg"]) for number in range(6)}
    assert {name: value for name, value in shapes.items() if value < 3} == {}


def test_every_colour_of_the_light_scheme_has_a_dark_one() -> None:
    css = (TEMPLATES / "page.css").read_text()

    light, dark = colours(css, "light"), colours(css, "dark")

    assert {name for name in light if light[name] == dark[name]} == set()


def test_a_page_never_replaces_a_file_that_is_none(tmp_path: Path) -> None:
    theirs = tmp_path / "index.html"
    theirs.write_text("<h1>my site</h1>")

    with pytest.raises(MeshError, match="not written over another file"):
        write_page([recorded("healthy")], theirs)

    assert theirs.read_text() == "<h1>my site</h1>"
    assert "move it away" in try_to_write([recorded("healthy")], theirs)


def test_a_page_replaces_an_older_page_for_its_owner_alone(tmp_path: Path) -> None:
    ours = page_beside(tmp_path / "mesh-report.yaml")

    write_page([recorded("healthy")], ours)
    write_page([recorded("rs-missing")], ours)

    assert ours == tmp_path / "mesh-report.html"
    assert "FAILURE" in ours.read_text()
    assert ours.stat().st_mode & 0o777 == 0o600


def test_a_defect_of_the_page_is_a_sentence(tmp_path: Path) -> None:
    assert "report this as a defect" in try_to_write([{}], tmp_path / "page.html")


def test_the_same_certificate_is_the_same_page() -> None:
    assert page([certificates.of_many(3)]) == page([certificates.of_many(3)])
