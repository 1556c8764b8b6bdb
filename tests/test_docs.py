"""The examples in the documentation run as printed."""

import doctest
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
METHODS = ("add", "baselines", "ckd", "qad", "tokd")


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_the_example_of_a_methods_page_runs_as_printed(name):
    result = doctest.testfile(str(DOCS / f"{name}.md"), module_relative=False)
    assert result.attempted >= 7
    assert result.failed == 0


def test_every_page_with_an_example_is_run():
    assert {page.stem for page in DOCS.glob("*.md") if ">>> " in page.read_text()} == set(METHODS)
