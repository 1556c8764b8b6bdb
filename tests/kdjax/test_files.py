"""Tables as text: what a spreadsheet would run, what is no number, and the order of columns."""

import csv
import io
import math

import numpy as np
import pytest

from kdjax.files import as_csv, cell


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+1",
        "-2+3",
        "@SUM(A1)",
        "\t=1",
        "\n=1",
        "  =1",
        "＝1",
        "＠x",
        "|calc",
        "%0A",
    ],
)
def test_what_a_spreadsheet_would_run_is_quoted(text):
    assert cell(text) == f"'{text}"
    (row,) = csv.DictReader(io.StringIO(as_csv([{"name": text, "value": -1.5}]), newline=""))
    assert row == {"name": f"'{text}", "value": "-1.5"}


@pytest.mark.parametrize("text", ["clip.mp4", "a=b.mp4", "", "1.png", "über.mp4"])
def test_other_cells_stay_as_they_are(text):
    assert cell(text) == text


def test_bytes_that_are_no_text_and_carriage_returns_become_escapes():
    assert cell("a\r=1") == "a\\r=1"
    assert cell("\udcff.mp4") == "\\udcff.mp4"


def test_nothing_in_a_cell_steers_a_terminal():
    assert cell("a\x1b[31mb\x07\x9b2J\x00") == "a\\x1b[31mb\\x07\\x9b2J\\x00"
    assert cell("a\tb\nc") == "a\tb\nc"


def test_what_is_no_number_is_empty_and_a_list_is_json():
    for nothing in (None, math.nan, math.inf, np.float32("nan")):
        assert cell(nothing) == ""
    rows = [{"a": ("x", "y"), "problem": "p", "b": math.nan}, {"c": 1}]
    assert as_csv(rows, last=("problem",)) == 'a,b,c,problem\n"[""x"", ""y""]",,,p\n,,1,\n'
    assert as_csv([{"a": True, "b": 0.5}]) == "a,b\nTrue,0.5\n"
