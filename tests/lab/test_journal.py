"""The journal and the supervisor's lock, which survive a kill."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pytest_istio_mc.lab.journal import JOURNAL, Entry, Journal, SupervisorLock

HOLDER = """
import sys
from pathlib import Path
from pytest_istio_mc.lab.journal import SupervisorLock
lock = SupervisorLock(Path(sys.argv[1]))
print(lock.take(), flush=True)
input()
"""


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


def test_the_lock_is_held_until_its_process_ends(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "True\n"

    lock = SupervisorLock(tmp_path)
    assert (lock.is_held, lock.taken_by) == (True, holder.pid)
    assert not lock.take()
    holder.kill()
    holder.wait()
    assert (lock.is_held, lock.taken_by) == (False, holder.pid)


def test_a_lock_that_nobody_took_is_not_held(tmp_path: Path) -> None:
    lock = SupervisorLock(tmp_path)

    assert (lock.is_held, lock.taken_by) == (False, 0)
