"""Items over processes: order, what is kept, and what happens when something goes wrong."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from kdjax import checks
from kdjax.data_pipeline import results, work

# Workers are started anew and import what they are sent, so functions come from a module on disk.
FUNCTIONS = """
import os, time
import numpy as np

def describe(item):
    with open(os.environ["CALLS"], "a") as calls:
        calls.write(f"{item}\\n")
    time.sleep(0.05 * (3 - item % 3))
    return {"square": np.full((2, item), item * item), "name": b"item\\0%d" % item, "more": {"n": [item]}}

def fail_at_three(item):
    if item == 3:
        raise ValueError("three is no good")
    return describe(item)

def die_at_three(item):
    if item == 3:
        os._exit(9)
    return describe(item)

def hang_at_two(item):
    if item == 2:
        time.sleep(1000)
    return describe(item)

def swallow(item):
    return {"all": np.ones(2**30)}

def parity(item):
    with open(os.path.join(os.path.dirname(os.environ["CALLS"]), "asked"), "a") as asked:
        asked.write(f"{item}\\n")
    return str(item % 2)

def slow(item):
    time.sleep(0.2)
    return describe(item)
"""


@pytest.fixture
def functions(tmp_path, monkeypatch):
    (tmp_path / "work_functions.py").write_text(FUNCTIONS)
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("work_functions", None)
    import work_functions

    return work_functions


def calls(folder: Path) -> list[int]:
    path = folder / "calls"
    return sorted(int(line) for line in path.read_text().split()) if path.exists() else []


def keys(items):
    return [f"key {item}" for item in items]


@pytest.mark.parametrize("workers", [0, 2])
def test_results_come_in_the_items_order_and_unchanged(functions, tmp_path, workers):
    items = [4, 1, 3, 0, 2]
    results = work.Work(tmp_path / "kept", workers).run(functions.describe, items, keys=keys(items))
    for item, result in zip(items, results, strict=True):
        np.testing.assert_array_equal(result["square"], np.full((2, item), item * item))
        assert result["name"] == b"item\0%d" % item
        assert result["more"] == {"n": [item]}


def test_what_is_done_is_not_done_again(functions, tmp_path):
    effort = work.Work(tmp_path / "kept")
    first = list(effort.run(functions.describe, [1, 2], keys=keys([1, 2])))
    again = list(effort.run(functions.describe, [2, 1, 3], keys=keys([2, 1, 3])))
    assert calls(tmp_path) == [1, 2, 3]
    for fresh, kept in zip(first, [again[1], again[0]], strict=True):
        assert list(kept) == list(fresh) == ["square", "name", "more"]
        np.testing.assert_array_equal(kept["square"], fresh["square"])
        assert kept["square"].dtype == fresh["square"].dtype
        assert (kept["name"], kept["more"]) == (fresh["name"], fresh["more"])


def test_another_key_is_another_result(functions, tmp_path):
    effort = work.Work(tmp_path / "kept")
    list(effort.run(functions.describe, [1], keys=["a"]))
    list(effort.run(functions.describe, [2], keys=["b"]))
    assert calls(tmp_path) == [1, 2]


@pytest.mark.parametrize("damage", [b"", b"PK\3\4 rubbish", None])
def test_a_damaged_result_is_made_again(functions, tmp_path, damage):
    effort = work.Work(tmp_path / "kept")
    list(effort.run(functions.describe, [2], keys=["a"]))
    (kept,) = (tmp_path / "kept").iterdir()
    kept.write_bytes(kept.read_bytes()[:-30] if damage is None else damage)
    (result,) = effort.run(functions.describe, [2], keys=["a"])
    assert result["more"] == {"n": [2]}
    assert calls(tmp_path) == [2, 2]


def test_a_result_that_calls_itself_encrypted_is_made_again(functions, tmp_path):
    """One flipped bit in the archive's directory, and Python's reader asks for a password."""
    effort = work.Work(tmp_path / "kept")
    list(effort.run(functions.describe, [2], keys=["a"]))
    (kept,) = (tmp_path / "kept").iterdir()
    content = bytearray(kept.read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1
    kept.write_bytes(content)
    (result,) = effort.run(functions.describe, [2], keys=["a"])
    assert result["more"] == {"n": [2]}
    assert calls(tmp_path) == [2, 2]


def test_a_pickle_among_the_results_is_not_loaded(functions, tmp_path):
    effort = work.Work(tmp_path / "kept")
    list(effort.run(functions.describe, [2], keys=["a"]))
    (kept,) = (tmp_path / "kept").iterdir()
    with kept.open("wb") as file:
        np.savez(file, header=np.array([print], dtype=object))
    assert results.load_result(kept, "a") is None


@pytest.mark.parametrize("workers", [0, 2])
def test_a_failure_names_the_item_and_keeps_the_rest(functions, tmp_path, workers):
    items = list(range(6))
    effort = work.Work(tmp_path / "kept", workers)
    with pytest.raises(ValueError, match="three is no good") as caught:
        list(effort.run(functions.fail_at_three, items, keys=keys(items)))
    assert "key 3" in " ".join(caught.value.__notes__)
    done = set(calls(tmp_path))
    assert {0, 1, 2} <= done
    list(effort.run(functions.describe, items, keys=keys(items)))
    assert sorted(calls(tmp_path)) == items


def test_a_worker_that_dies_ends_in_one_line(functions, tmp_path):
    items = list(range(6))
    with pytest.raises(checks.UserError, match="key 3: its process died"):
        list(work.Work(tmp_path / "kept", 2).run(functions.die_at_three, items, keys=keys(items)))


def test_a_worker_that_dies_costs_its_item_alone_where_that_is_allowed(functions, tmp_path):
    items = list(range(8))
    effort = work.Work(tmp_path / "kept", 2)
    found = list(
        effort.run(
            functions.die_at_three, items, keys=keys(items), lost=lambda reason: {"reason": reason}
        )
    )
    assert found[3]["reason"].startswith("its process died")
    assert [each["more"]["n"] for each in found[:3] + found[4:]] == [[n] for n in items if n != 3]
    # tried once more, since another's memory may have been the reason; what was lost is not kept
    assert len(list((tmp_path / "kept").glob("*.npz"))) == 7


def test_what_hangs_is_ended(functions, tmp_path):
    items = list(range(4))
    effort = work.Work(tmp_path / "kept", 2)
    found = list(
        effort.run(
            functions.hang_at_two,
            items,
            keys=keys(items),
            lost=lambda reason: {"reason": reason},
            seconds=[60, 60, 3, 60],
        )
    )
    assert found[2] == {"reason": "took longer than 3 s and was ended"}
    assert [each["more"]["n"][0] for each in found[:2] + found[3:]] == [0, 1, 3]


def test_an_item_that_wants_too_much_memory_fails_alone(functions, tmp_path):
    effort = work.Work(tmp_path / "kept", 1)
    with pytest.raises(MemoryError) as caught:
        list(effort.run(functions.swallow, [1], keys=["greedy"]))
    assert "greedy" in " ".join(caught.value.__notes__)


def test_results_are_kept_under_their_content(functions, tmp_path):
    effort = work.Work(tmp_path / "kept")
    list(effort.run(functions.describe, [1, 2], keys=["a", "b"], content=functions.parity))
    # the same state: nobody is asked; another state of the same content: it is not made again
    again = effort.run(functions.describe, [1, 4], keys=["a", "c"], content=functions.parity)
    assert [each["more"]["n"] for each in again] == [[1], [2]]
    assert calls(tmp_path) == [1, 2]
    assert (tmp_path / "asked").read_text().split() == ["1", "2", "4"]


@pytest.mark.parametrize("kept", ["", "0", "1"])
def test_a_key_that_a_crash_cut_off_is_made_again(functions, tmp_path, kept):
    effort = work.Work(tmp_path / "kept")
    list(effort.run(functions.describe, [1, 2], keys=["a", "b"], content=functions.parity))
    for path in (tmp_path / "kept").glob("*.key"):
        path.write_text(kept)
    again = effort.run(functions.describe, [1, 2], keys=["a", "b"], content=functions.parity)
    assert [each["more"]["n"] for each in again] == [[1], [2]]


def test_light_results_leave_out_what_is_kept(functions, tmp_path):
    effort = work.Work(tmp_path / "kept", 1)
    (found,) = effort.run(functions.describe, [2], keys=["a"], light=True)
    assert found == {"more": {"n": [2]}}
    (found,) = effort.run(functions.describe, [2], keys=["a"])
    assert found["name"] == b"item\0002"
    assert calls(tmp_path) == [2]


def test_keys_must_be_one_an_item_and_distinct(functions):
    for wrong in (["a"], ["a", "a"]):
        with pytest.raises(ValueError, match="distinct keys"):
            work.Work().run(functions.describe, [1, 2], keys=wrong)


def test_progress_is_plain_lines_off_a_terminal(functions, capsys):
    list(
        work.Work(progress=True).run(
            functions.describe, [1, 2], keys=["a", "b"], description="faces"
        )
    )
    assert capsys.readouterr().err == "faces: 2/2\n"


SCRIPT = """
import signal
import sys
from pathlib import Path
from kdjax.data_pipeline import results, work
import work_functions
if __name__ == "__main__":
    # a shell starts what runs in its background with Ctrl-C ignored
    signal.signal(signal.SIGINT, signal.default_int_handler)
    items = list(range(40))
    effort = work.Work(Path(sys.argv[1]), 2)
    for result in effort.run(work_functions.slow, items, keys=[str(i) for i in items]):
        print(result["more"]["n"][0], flush=True)
"""


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_run_leaves_no_process_and_goes_on(
    functions, members, tmp_path, signal_number
):
    (tmp_path / "script.py").write_text(SCRIPT)
    root = Path(work.__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{root}"}
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "kept")],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout.readline() == b"0\n"
    process.send_signal(signal_number)
    process.communicate(timeout=60)
    assert process.returncode != 0
    deadline = time.monotonic() + 30
    while members(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not members(process.pid)
    kept = list((tmp_path / "kept").glob("*.npz"))
    assert 1 <= len(kept) < 40
    assert all(b"key" in path.read_bytes() for path in kept)
