"""The examples in the documentation run as printed."""

import doctest
from pathlib import Path

import jax.numpy as jnp
import pytest

from kdjax import losses, methods

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


@pytest.mark.slow
def test_the_part_with_parameters_of_its_own_keeps_to_what_every_method_keeps_to():
    page = (DOCS / "extending.md").read_text()
    start = page.index("```python\nfrom flax import linen as nn\nfrom kdjax.methods.base")
    code = page[start:].split("```")[1].removeprefix("python\n")
    names = {"jnp": jnp, "losses": losses, "Part": methods.Part}
    exec(code, names)
    methods.check(names["projected"], several_devices=False)


def test_every_page_with_an_example_is_run():
    assert {page.stem for page in DOCS.glob("*.md") if ">>> " in page.read_text()} == set(PAGES)
