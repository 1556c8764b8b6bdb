"""The same data set by Apache Beam's multi-process runner; it runs where Beam is installed, as `.ci/run` does."""

import json
import os
import sys

import pytest

from kdjax.checks import UserError
from kdjax.data_pipeline import work

MULTI = (
    "--runner=DirectRunner",
    "--direct_running_mode=multi_processing",
    "--direct_num_workers=2",
)

FUNCTIONS = """
import os

def describe(item):
    with open(os.path.join(os.environ["CALLS"], str(item)), "a") as file:
        file.write(f"{os.getpid()}\\n")
    return {"square": item * item}

def die_at_three(item):
    if item == 3:
        os._exit(9)
    return describe(item)
"""


@pytest.fixture
def functions(tmp_path, monkeypatch):
    (tmp_path / "beam_functions.py").write_text(FUNCTIONS)
    (tmp_path / "calls").mkdir()
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("beam_functions", None)
    import beam_functions

    return beam_functions


def test_without_beam_it_is_said_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(UserError, match=r"pip install 'kdjax\[beam\]'"):
        work.Work(tmp_path, beam=MULTI).run(abs, [1], keys=["a"])


def test_its_processes_do_the_work_and_each_item_once(functions, tmp_path):
    pytest.importorskip("apache_beam")
    items = list(range(8))
    effort = work.Work(tmp_path / "kept", beam=MULTI)
    found = list(effort.run(functions.describe, items, keys=[str(item) for item in items]))
    assert found == [{"square": item * item} for item in items]
    processes = [path.read_text().split() for path in sorted((tmp_path / "calls").iterdir())]
    assert all(len(done) == 1 for done in processes)
    assert str(os.getpid()) not in {done[0] for done in processes}


def test_what_dies_costs_itself_alone(functions, tmp_path):
    pytest.importorskip("apache_beam")
    items = list(range(5))
    effort = work.Work(tmp_path / "kept", 1, beam=MULTI)
    found = list(
        effort.run(
            functions.die_at_three,
            items,
            keys=[str(item) for item in items],
            lost=lambda reason: {"reason": reason},
        )
    )
    assert "process died" in json.dumps(found[3])
    assert [found[k] for k in (0, 1, 2, 4)] == [{"square": k * k} for k in (0, 1, 2, 4)]


def test_options_that_beam_refuses_are_one_line(functions, tmp_path):
    pytest.importorskip("apache_beam")
    effort = work.Work(tmp_path / "kept", beam=("--runner=Nowhere",))
    with pytest.raises(UserError, match="Beam") as caught:
        effort.run(functions.describe, [1], keys=["a"])
    assert "\n" not in str(caught.value)
