"""The examples in the documentation run as printed."""

import doctest
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
PAGES = ("add", "baselines", "ckd", "loop", "networks", "qad", "runs", "tokd")


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_the_example_of_a_page_runs_as_printed(name):
    result = doctest.testfile(str(DOCS / f"{name}.md"), module_relative=False)
    assert result.attempted >= 7
    assert result.failed == 0


@pytest.mark.parametrize("name", ["closeness", "small", "memory"])
def test_the_page_shows_the_programs_that_are_tested(name):
    program = (DOCS.parent / "tests" / "programs" / f"{name}.py").read_text()
    assert f"```python\n{program}```" in (DOCS / "extending.md").read_text()


def test_every_page_with_an_example_is_run():
    assert {page.stem for page in DOCS.glob("*.md") if ">>> " in page.read_text()} == set(PAGES)
