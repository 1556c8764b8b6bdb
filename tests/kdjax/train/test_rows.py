from pathlib import Path

from kdjax.train.rows import Rows


def steps(rows, *numbers):
    for number in numbers:
        rows.add({"loss": float(number), "term/cross_entropy": float(number)})
        assert not list(rows.fetch(number))


def test_what_was_given_to_be_saved_stays_as_it_was():
    """It is written while training goes on."""
    rows = Rows(Path("run"), 1, {}, 0)
    steps(rows, 1, 2)
    saved = rows.to_json()
    before = str(saved)
    steps(rows, 3)
    rows.take()
    steps(rows, 4)
    assert str(saved) == before
    assert [row["loss"] for row in saved["rows"]] == [1.0, 2.0]


def test_a_line_goes_on_from_what_was_saved():
    whole, begun = (Rows(Path("run"), 1, {}, 0) for _ in range(2))
    steps(whole, 1, 2, 3)
    steps(begun, 1, 2)
    continued = Rows(Path("run"), 1, begun.to_json(), 0)
    steps(continued, 3)
    assert continued.take() == whole.take()
