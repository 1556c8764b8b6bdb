import threading
import time

import pytest

from kdjax.checks import UserError
from kdjax.serve.options import Options
from kdjax.serve.web.jobs import DONE, FAILED, FullError, Job, Jobs
from kdjax.serve.web.limits import Limits, check

WAIT = 10.0


def until(condition):
    end = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def file(folder, name):
    path = folder / name
    path.write_bytes(b"pixels")
    return Job(path, name, Options())


def put(jobs, job):
    with jobs.place() as take:
        take(job)
    return job


@pytest.fixture
def opened():
    """A function that starts jobs, which end with the test."""
    made = []

    def make(judge, **limits):
        made.append(Jobs(judge, Limits()._replace(**limits)))
        return made[-1]

    yield make
    for jobs in made:
        jobs.close()


def test_files_are_judged_in_turn_and_deleted(opened, tmp_path):
    seen = []
    jobs = opened(lambda job: seen.append((job.name, job.path.exists())))
    sent = [put(jobs, file(tmp_path, name)) for name in "abc"]
    until(lambda: all(job.state == DONE for job in sent))
    assert seen == [("a", True), ("b", True), ("c", True)]
    until(lambda: not list(tmp_path.iterdir()))


def test_one_that_fails_says_why_and_the_next_is_judged(opened, tmp_path):
    def judge(job):
        if job.name == "a":
            raise RuntimeError("too large\nfor the device")

    jobs = opened(judge)
    first, second = (put(jobs, file(tmp_path, name)) for name in "ab")
    until(lambda: second.state == DONE)
    assert (first.state, first.problem) == (FAILED, "RuntimeError: too large")
    assert not list(tmp_path.iterdir())


def test_no_more_lie_here_than_may_and_each_place_comes_back(opened, tmp_path):
    go = threading.Event()
    jobs = opened(lambda job: go.wait(WAIT), waiting=2)
    sent = [put(jobs, file(tmp_path, name)) for name in "ab"]
    assert jobs.position(sent[1]) == 1
    with pytest.raises(FullError), jobs.place():
        pass
    go.set()
    until(lambda: all(job.state == DONE for job in sent))
    for _ in range(10):
        # as an upload that is broken off
        with pytest.raises(OSError, match="half"), jobs.place():
            raise OSError("half")
    put(jobs, file(tmp_path, "c"))
    put(jobs, file(tmp_path, "d"))


def test_results_are_forgotten_when_there_are_many_or_they_are_old(opened, tmp_path):
    jobs = opened(lambda job: None, kept=2)
    sent = [put(jobs, file(tmp_path, name)) for name in "abc"]
    until(lambda: sent[-1].state == DONE)
    assert [jobs.find(job.id) for job in sent] == [None, *sent[1:]]
    sent[1].changed -= 4000
    assert [jobs.find(job.id) for job in sent] == [None, None, sent[2]]
    assert jobs.find("../../etc/passwd") is None


def test_one_that_nobody_wants_is_not_judged(opened, tmp_path):
    go, judged = threading.Event(), []

    def judge(job):
        go.wait(WAIT)
        judged.append(job.name)

    jobs = opened(judge)
    sent = [put(jobs, file(tmp_path, name)) for name in "abc"]
    jobs.drop(sent[1])
    assert jobs.find(sent[1].id) is None
    go.set()
    until(lambda: sent[2].state == DONE)
    assert judged == ["a", "c"]


def test_ids_are_not_to_be_guessed(tmp_path):
    names = {Job(tmp_path, "a", Options()).id for _ in range(100)}
    assert len(names) == 100
    assert min(map(len, names)) >= 24


@pytest.mark.parametrize("change", [{"megabytes": 0}, {"waiting": 0}, {"seconds": 10**9}])
def test_limits_have_limits(change):
    with pytest.raises(UserError, match=f"--{next(iter(change))}="):
        check(Limits()._replace(**change))
