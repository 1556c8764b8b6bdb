import doctest

import pytest

from kdjax.checks import UserError
from kdjax.evaluate import tables
from kdjax.evaluate.tables import best_runs, format_table, result_rows


def test_the_example_in_the_docstring_holds():
    assert doctest.testmod(tables).failed == 0


def test_columns_line_up_and_missing_values_are_dashes():
    lines = format_table(
        [
            {"run": "a", "steps": 1500, "AUC": 0.5},
            {"run": "longer", "steps": None, "AUC": float("nan"), "teacher": "t"},
        ]
    ).splitlines()
    assert lines == [
        "run     steps    AUC  teacher",
        "------  -----  -----  -------",
        "a        1500  0.500  -",
        "longer      -      -  t",
    ]


def test_names_cannot_steer_the_terminal():
    assert format_table([{"run": "\x1b[31mred\r\n\x07"}]).splitlines()[-1] == "[31mred"


def test_an_empty_table_is_empty():
    assert format_table([]) == ""


def test_best_values_are_marked_as_shown():
    assert best_runs([0.81, None, 0.9004, 0.9001]) == [False, False, True, True]
    assert best_runs([0.1, 0.2], lower=True) == [True, False]
    assert best_runs([0.1, None]) == [False, False]


def test_rows_hold_each_metric_by_quality(make, tmp_path):
    evaluation = make.evaluation()
    runs = [
        make.run(tmp_path / "add", evaluation=evaluation),
        make.run(tmp_path / "bare", evaluation=False, lines=False),
    ]
    rows = result_rows(runs)
    assert list(rows[0]) == [
        *("run", "method", "network", "steps"),
        *("raw acc", "raw AUC", "c23 acc", "c23 AUC", "c40 acc", "c40 AUC"),
        *("overall acc", "overall AUC"),
    ]
    assert rows[0]["c40 AUC"] == evaluation.metrics["c40"]["auc"]
    assert rows[1]["c40 AUC"] is None
    with pytest.raises(UserError, match="is not a run"):
        result_rows([tmp_path])
