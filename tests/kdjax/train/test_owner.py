"""One process a folder, where locks reach and where they do not."""

import errno
import fcntl
import json
import threading

import pytest

from kdjax.files import HeldError
from kdjax.folder import RunFolder
from kdjax.train import owner
from kdjax.train.owner import owned


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """A sign of life every few hundredths of a second."""
    monkeypatch.setattr(owner, "BEAT_SECONDS", 0.05)


@pytest.fixture
def no_locks(monkeypatch):
    """A file system that knows no locks."""

    def refuse(file, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)


def abandoned(folder, **changed):
    """Writes what a process leaves that ended without a word."""
    found = {"host": "other", "pid": 7, "boot": "elsewhere", "token": "t", "beat": 3, **changed}
    RunFolder(folder).owner.write_text(json.dumps(found))


def test_a_lock_keeps_others_out_and_they_are_told_who(tmp_path):
    files = RunFolder(tmp_path)
    with (
        owned(files, print),
        pytest.raises(HeldError, match=r"another process is training .*: process \d+ on"),
        owned(files, print),
    ):
        pass
    assert not files.owner.exists()
    with owned(files, pytest.fail):
        pass


@pytest.mark.usefixtures("no_locks")
def test_without_locks_a_living_process_is_seen_by_its_signs(tmp_path):
    files, said = RunFolder(tmp_path), []
    with (
        owned(files, pytest.fail),
        pytest.raises(HeldError, match=r"another process is training"),
        owned(files, said.append),
    ):
        pass
    assert "waiting" in said[0]


@pytest.mark.parametrize("locks", [True, False])
def test_a_dead_process_of_another_machine_is_waited_for_and_followed(tmp_path, request, locks):
    if not locks:
        request.getfixturevalue("no_locks")
    abandoned(tmp_path)
    said = []
    with owned(RunFolder(tmp_path), said.append) as now:
        now.check()
    assert len(said) == 2
    assert "waiting" in said[0]
    assert "process 7 on other trained here and ended without a word" in said[1]


def test_a_dead_process_of_this_machine_is_followed_at_once(tmp_path):
    abandoned(tmp_path, boot=owner._boot())
    said = []
    with owned(RunFolder(tmp_path), said.append):
        pass
    assert [line for line in said if "waiting" in line] == []
    assert "ended without a word" in said[0]


def test_a_damaged_file_is_nobodys(tmp_path):
    RunFolder(tmp_path).owner.write_text("{")
    with owned(RunFolder(tmp_path), pytest.fail):
        pass


def test_who_was_taken_for_dead_stops(tmp_path):
    files = RunFolder(tmp_path)
    with owned(files, print) as now:
        abandoned(tmp_path, token="another")
        with pytest.raises(HeldError, match=r"process 7 on other has taken"):
            now.check()
    # and leaves the other's file
    assert json.loads(files.owner.read_text())["token"] == "another"


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.usefixtures("no_locks")
def test_of_two_that_come_at_once_one_stays(tmp_path, fresh):
    if not fresh:
        abandoned(tmp_path)
    done, both = [], threading.Barrier(2)

    def come():
        both.wait()
        try:
            with owned(RunFolder(tmp_path), lambda line: None) as now:
                threading.Event().wait(0.3)
                now.check()
                done.append("trained")
        except HeldError:
            done.append("refused")

    threads = [threading.Thread(target=come) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == ["refused", "trained"]
