"""The journal and the supervisor's lock: what survives a kill."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pytest_istio_mc.lab.journal import JOURNAL, Entry, Journal, SupervisorLock


def test_entries_are_read_back_and_a_line_cut_short_is_left_out(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    entries = [Entry("process", "fabric", 12, 34), Entry("cgroup", "/istio-mc-x")]
    for entry in entries:
        journal.add(entry)
    with (tmp_path / JOURNAL).open("a") as file:
        file.write('{"kind": "proc')

    assert list(Journal(tmp_path)) == entries


def test_a_lab_without_a_journal_has_no_entries(tmp_path: Path) -> None:
    assert list(Journal(tmp_path)) == []


def test_the_lock_is_held_by_whoever_inherits_it_until_that_process_ends(tmp_path: Path) -> None:
    lock = SupervisorLock(tmp_path)
    assert lock.take()
    assert lock.descriptor is not None
    heir = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[lock.descriptor])
    lock.release()

    assert not SupervisorLock(tmp_path).take()
    heir.kill()
    heir.wait()
    after = SupervisorLock(tmp_path)
    assert after.take()
    after.release()
