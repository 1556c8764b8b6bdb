"""Records as lines and as a table."""

import csv
import io
import json
import os

from kdjax.checks import plain
from kdjax.serve.records import COLUMNS, Table, json_line, name_of
from kdjax.serve.running import Point


def test_a_row_reads_back_as_it_was():
    file = io.StringIO()
    table = Table(file)
    table.write(
        {
            "record": "frame",
            "input": 'a,"b"\n.mp4',
            "reason": "=1+1",
            "box": [1, -2, 3, 4],
            "score": 0.25,
            "threshold": {"value": 0.5, "reals": 3},
            "notes": ["one", "=two"],
            "unheard_of": 1,
        }
    )
    header, row = csv.reader(io.StringIO(file.getvalue()))
    assert tuple(header) == COLUMNS
    found = dict(zip(header, row, strict=True))
    assert found["input"] == 'a,"b"\n.mp4'
    assert [found[name] for name in ("left", "top", "right", "bottom")] == ["1", "-2", "3", "4"]
    assert (found["score"], found["threshold"]) == ("0.25", "0.5")
    assert found["notes"] == "one; =two"
    assert found["verdict"] == ""
    assert found["reason"] == "'=1+1"


def test_names_that_are_no_text_are_written_as_json_reads_them(tmp_path):
    path = tmp_path / os.fsdecode(b"\xff\xfe.mp4")
    line = json_line({"input": name_of(path)})
    assert line.encode("utf-8")
    assert json.loads(line)["input"] == str(path)
    assert json.loads(json_line({"input": "ü\n"}))["input"] == "ü\n"
    assert line.count("\n") == 1


def test_a_terminal_is_told_nothing_by_a_name():
    assert plain("a\x1b[31mb\nc\u202ed") == "a\\x1b[31mb\\nc\\u202ed"
    assert plain("Zoë 雪.mp4") == "Zoë 雪.mp4"


def test_points_are_plain_numbers():
    assert json.dumps(Point(0, 1, 0.5, 0.5, 0.5)) == "[0, 1, 0.5, 0.5, 0.5]"
