"""The page in a real browser: it loads without errors, opens every check, and prints.

The browser is what ``CHROMIUM_COMMAND`` names, or a Chromium on the ``PATH``.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from pytest_istio_mc.evidence import page as pages
from pytest_istio_mc.evidence.page import page
from tests.evidence.certificates import hostile, of_many, recorded

QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--virtual-time-budget=5000",
)
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture(scope="module")
def browser() -> list[str]:
    """The command of a headless Chromium."""
    if command := os.environ.get("CHROMIUM_COMMAND", ""):
        return shlex.split(command)
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed; or set CHROMIUM_COMMAND")
    return [found]


def visit(browser: list[str], folder: Path, url: str, *options: str) -> tuple[str, str]:
    """The document as it is once scripts have run, and what the browser complained of."""
    profile = f"--user-data-dir={folder / 'profile'}"
    command = [*browser, *QUIET, profile, *options, url]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    told = [line for line in ended.stderr.splitlines() if ":CONSOLE" in line]
    return ended.stdout, "\n".join(told)


WATCH = """
<script>
  var told = [];
  document.addEventListener("securitypolicyviolation", function (e) {
    told.push("policy: " + e.violatedDirective);
  });
  addEventListener("error", function (e) { told.push("error: " + e.message); });
</script>
"""
ASK = """
<script>
  addEventListener("load", function () {
    var buttons = document.querySelectorAll(".copy-button").length;
    var out = { open: [], ids: [], buttons: buttons };
    document.querySelectorAll("details.check").forEach(function (one) {
      out.ids.push(one.id);
      location.hash = "#" + one.id;
      dispatchEvent(new Event("hashchange"));
      var inside = one.querySelector(":scope > div").getBoundingClientRect();
      if (one.open && inside.height > 0) { out.open.push(one.id); }
    });
    out.wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
    out.images = document.images.length;
    out.told = told;
    var element = document.createElement("pre");
    element.id = "answers";
    element.textContent = JSON.stringify(out);
    document.body.appendChild(element);
  });
</script>
"""


@pytest.mark.parametrize(
    "name",
    ["healthy", "broken", "traffic", "hostile", "several"],
)
def test_every_check_opens_and_nothing_complains(
    name: str, browser: list[str], tmp_path: Path
) -> None:
    reports = {
        "healthy": lambda: [recorded("healthy")],
        "broken": lambda: [recorded("external-control-plane-xc-local-secrets")],
        "traffic": lambda: [of_many(8)],
        "hostile": lambda: [hostile(recorded("rs-missing")), hostile(of_many(3))],
        "several": lambda: [recorded("healthy"), of_many(2)],
    }[name]()
    html = page(reports)
    # the policy would keep these questions out: they need their own digests beside ours
    digest = r"script-src &#39;sha256-[A-Za-z0-9+/=]+&#39;"
    asked, changed = re.subn(digest, "script-src 'unsafe-inline'", html)
    assert changed == 1
    asked = asked.replace("</title>", f"</title>{WATCH}", 1).replace("</body>", f"{ASK}</body>")
    (tmp_path / "page.html").write_text(asked)

    shown, complaints = visit(browser, tmp_path, (tmp_path / "page.html").as_uri(), "--dump-dom")

    text = shown.rpartition('<pre id="answers">')[2].partition("</pre>")[0]
    answers = json.loads(text.replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">"))
    wanted = [check["id"] for report in reports for check in report["checks"]]
    assert [id.rpartition(".")[2] for id in answers["ids"]] == wanted
    assert answers["open"] == answers["ids"]
    assert answers["told"] == []
    assert answers["images"] == 0
    assert answers["wide"] <= 0
    assert answers["buttons"] > 0
    assert complaints == ""


def test_the_page_as_it_is_breaks_no_policy(browser: list[str], tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(page([hostile(recorded("rs-missing"))]))

    shown, complaints = visit(browser, tmp_path, (tmp_path / "page.html").as_uri(), "--dump-dom")

    assert complaints == ""
    assert shown.count("copy-button") > 1  # our script ran
    assert shown.count("<script") == 1


def test_a_script_that_got_in_would_not_run(browser: list[str], tmp_path: Path) -> None:
    evil = "<script>document.title = 'evil'</script>"
    html = page([recorded("healthy")]).replace("</main>", f"{evil}</main>")
    (tmp_path / "page.html").write_text(html)

    shown, complaints = visit(browser, tmp_path, (tmp_path / "page.html").as_uri(), "--dump-dom")

    assert "<title>evil</title>" not in shown
    assert "Content Security Policy" in complaints


def test_without_scripts_everything_is_there(browser: list[str], tmp_path: Path) -> None:
    script = (pages.TEMPLATES / "page.js").read_text()
    html = page([recorded("rs-missing")]).replace(f"<script>{script}</script>", "")
    (tmp_path / "page.html").write_text(html)

    shown, complaints = visit(browser, tmp_path, (tmp_path / "page.html").as_uri(), "--dump-dom")

    assert complaints == ""
    assert "istioctl create-remote-secret" in shown
    assert 'copy-button"' not in shown


def test_it_prints(browser: list[str], tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(page([recorded("rs-missing")]))
    paper = tmp_path / "page.pdf"

    visit(browser, tmp_path, (tmp_path / "page.html").as_uri(), f"--print-to-pdf={paper}")

    assert paper.read_bytes().startswith(b"%PDF")
    if reader := shutil.which("pdftotext"):
        command = [reader, "-layout", str(paper), "-"]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        # what is folded on a screen is there on paper
        assert "Judged:" in text
        assert "istio.io/latest/docs" in text
