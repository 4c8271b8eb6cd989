"""The gate: no secret of this process gets out by any way that pytest has."""

from __future__ import annotations

import logging
import stat
from pathlib import Path

import pytest

from pytest_istio_mc.session.gate import scrub_log_records
from tests.certifying import CERTIFY, HEALTHY, write_suite
from tests.fake_clusters import jwt

pytestmark = pytest.mark.usefixtures("clean_environment")

OPAQUE = "opaque-Kq83zLw0"
TOKEN = jwt(sub="somebody")

LEAKS = f"""
    import logging
    from pytest_istio_mc.errors import ObservationError
    from pytest_istio_mc.redact import remember

    OPAQUE, TOKEN = "{OPAQUE}", "{TOKEN}"
    remember(OPAQUE)
    LEAK = f"{{OPAQUE}} and {{TOKEN}}"
    LEAKING = Finding(LEAK, ("cluster1",), LEAK, LEAK, f"echo {{LEAK}}", "leak")
    LEAKED = judged("MC-ACCESS-901", non_conformant([LEAKING]).with_evidence(
        Evidence("notes", LEAK), Evidence("facts", '{{"a": "' + LEAK + '"}}', "application/json")
    ))
    UNKNOWN = judged("MC-DISCOVERY-901", inconclusive(LEAK))

    def test_that_prints_and_logs(mesh, record_property):
        record_property("note", LEAK)
        print(LEAK)
        logging.getLogger("any").warning("a %s", LEAK)
        raise ValueError(LEAK)

    def test_that_skips(mesh):
        pytest.skip(LEAK)

    @pytest.mark.mesh_check("MC-EASTWEST-901")
    def test_that_errs(mesh, expect):
        raise ObservationError("probe", "does not answer", LEAK)

    @pytest.mark.mesh_check("MC-TRUST-901")
    def test_that_crashes(mesh, expect):
        raise KeyError(LEAK)
"""


def outputs(folder: Path) -> dict[str, str]:
    """Every text file that a run left, but for its source and caches."""
    return {
        str(file.relative_to(folder)): file.read_text(errors="replace")
        for file in folder.rglob("*")
        if file.is_file() and file.suffix not in (".py", ".pyc")
    }


def test_no_way_out_lets_a_secret_pass(pytester: pytest.Pytester) -> None:
    verdicts = HEALTHY | {"access": "LEAKED", "discovery": "UNKNOWN"}
    write_suite(pytester, verdicts, more=LEAKS)
    options = (
        "--junitxml=junit.xml", "--alluredir=allure", "--mesh-snapshot=snapshot", "-rA",
        "--log-level=DEBUG", "--log-file=log.txt", "-p", "no:cacheprovider",
    )  # fmt: skip

    result = pytester.runpytest_subprocess(*CERTIFY, *options)

    found = outputs(pytester.path) | {
        "terminal": result.stdout.str(),
        "errors": result.stderr.str(),
    }
    assert {"junit.xml", "mesh-report.yaml", "log.txt", "allure/mesh-report.yaml"} <= found.keys()
    leaks = [name for name, text in found.items() if OPAQUE in text or TOKEN in text]
    assert leaks == []
    for name in ("terminal", "junit.xml", "mesh-report.yaml", "log.txt"):
        assert "[redacted]" in found[name]


def test_what_a_run_writes_is_for_its_owner_alone(pytester: pytest.Pytester) -> None:
    write_suite(pytester)
    pytester.runpytest_subprocess(*CERTIFY, "--mesh-snapshot=snapshot", "--alluredir=allure")

    ours = [pytester.path / "mesh-report.yaml", *(pytester.path / "snapshot").rglob("*")]
    ours += [pytester.path / "allure" / name for name in ("mesh-report.yaml", "categories.json")]
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in ours}

    assert {mode for name, mode in modes.items() if "." in name} == {0o600}
    assert {mode for name, mode in modes.items() if "." not in name} == {0o700}


def test_log_records_are_scrubbed_as_they_are_made(caplog: pytest.LogCaptureFixture) -> None:
    stop = scrub_log_records()
    try:
        logging.getLogger("x").warning("sent %s and %d", f"Bearer {TOKEN}", 3)
        logging.getLogger("x").warning("nothing %s", "secret")
        bad = logging.getLogRecordFactory()("x", 30, "", 1, "a bad %d record", (TOKEN,), None)
    finally:
        stop()

    assert caplog.messages == ["sent Bearer [redacted] and 3", "nothing secret"]
    assert bad.args == ("[redacted]",)
    assert logging.getLogRecordFactory() is logging.LogRecord
