import os
import signal
import subprocess
import sys

import pytest

from kdjax.serve.looking import Ended, Sight
from kdjax.serve.options import Options
from kdjax.serve.web.limits import Limits
from kdjax.serve.web.looker import Looker, StoppedError


@pytest.fixture
def lookers(make_detector):
    """A function that gives a looker, whose process ends with the test."""
    made = []

    def make(**limits):
        made.append(Looker(make_detector().spec, Limits()._replace(**limits)))
        return made[-1]

    yield make
    for looker in made:
        looker.close()


def wanted():
    return True


def test_what_is_seen_in_another_process_is_what_is_seen_here(
    lookers, make_detector, heads, write_clip, tmp_path
):
    clip = write_clip(tmp_path / "clip.mp4", heads(0))
    looker, detector = lookers(), make_detector()
    options = Options(any_quality=True)
    there = list(detector.judge(clip, looker.look(clip, options, wanted), options))
    here = list(detector.watch(clip, options))
    assert len(there) == len(here) > 20
    assert [each.scores for each in there[:-1]] == [each.scores for each in here[:-1]]
    assert there[-1]._replace(faces=()) == here[-1]._replace(faces=())
    # one process looks at many files
    first = looker._process
    assert isinstance(list(looker.look(clip, options, wanted))[-1], Ended)
    assert looker._process is first


@pytest.mark.parametrize("content", [b"", b"no video", b"#EXTM3U\nhttp://127.0.0.1/x.ts\n"])
def test_a_bad_file_is_told_and_the_process_lives(lookers, tmp_path, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    looker = lookers()
    (ended,) = looker.look(path, Options(), wanted)
    assert ended.problem
    assert looker._process is not None
    assert looker._process.poll() is None


def test_a_process_that_dies_is_told_and_the_next_file_has_a_new_one(
    lookers, heads, write_clip, tmp_path
):
    clip, looker = write_clip(tmp_path / "clip.mp4", heads(0)), lookers()
    seen = looker.look(clip, Options(), wanted)
    assert isinstance(next(seen), Sight)
    os.kill(looker._process.pid, signal.SIGKILL)
    *_, ended = seen
    assert "ended: more memory than is allowed (4000 MB)" in ended.problem
    assert not list(looker.look(clip, Options(), wanted))[-1].problem


def test_time_has_an_end(lookers, heads, write_clip, tmp_path, monkeypatch):
    clip, looker = write_clip(tmp_path / "clip.mp4", heads(0)), lookers()
    list(looker.look(clip, Options(), wanted))
    monkeypatch.setattr(looker, "_limits", Limits(seconds=0))
    (ended,) = looker.look(clip, Options(), wanted)
    assert ended.problem == "not done after 0 s, the most that is allowed"


def test_what_is_not_wanted_is_stopped(lookers, heads, write_clip, tmp_path):
    clip, looker, asked = write_clip(tmp_path / "clip.mp4", heads(0)), lookers(), []
    seen = looker.look(clip, Options(), lambda: not asked)
    assert isinstance(next(seen), Sight)
    asked.append(1)
    with pytest.raises(StoppedError):
        list(seen)
    assert looker._process is None


LIMITED = """
import sys
from kdjax.serve.web.child import limit
limit(1000, 100)
try:
    bytearray(2_000_000_000)
    print("memory")
except MemoryError:
    pass
try:
    with open(sys.argv[1], "wb") as file:
        file.write(b"x")
        file.flush()
    print("written")
except OSError:
    pass
print("end")
"""


def test_the_process_has_its_memory_and_writes_no_file(tmp_path):
    # SIGXFSZ is ignored by Python, and the write fails
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path / "file")], capture_output=True, text=True
    )
    assert done.stdout == "end\n"
