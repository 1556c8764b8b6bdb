import doctest
from pathlib import Path


def test_the_example_of_the_add_page_runs_as_printed():
    page = Path(__file__).parents[3] / "docs" / "add.md"
    result = doctest.testfile(str(page), module_relative=False)
    assert result.attempted >= 10
    assert result.failed == 0
