"""The examples in the documentation run as printed."""

import doctest
import shlex
from pathlib import Path

import jax.numpy as jnp
import pytest

from kdjax import cli, configs, losses, methods
from kdjax.arguments.data import prepare_options
from kdjax.data_pipeline.builders.distributed import BUILDERS
from kdjax.data_pipeline.trees import faceforensics
from kdjax.train.sweeps import plan_runs, read_sweep

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


@pytest.mark.parametrize("page", [*sorted((DOCS / "papers").glob("*.md")), DOCS / "benchmarks.md"])
def test_commands_of_the_papers_data_are_understood(page):
    """Options, parts of data sets, configurations, overrides and every row of a sweep: all but the files."""
    text = page.read_text().replace("\\\n", " ")
    found = [line.split("#")[0].strip() for line in text.splitlines()]
    found = [line for line in found if line.startswith("kdjax ")]
    for line in found:
        words = shlex.split(line.replace("$table", "tokd_table6").replace("$part", "deepfakes"))
        options, rest = cli.build_parser().parse_known_args(words[1:])
        overrides = cli.parse_overrides(rest)
        if options.command == "prepare":
            kind, _, part = options.dataset.partition("/")
            given = prepare_options(options)
            assert set(given) <= set(BUILDERS[kind].option_names()), line
            if kind == "faceforensics":
                assert part in ("", "all", *faceforensics.MANIPULATIONS), line
        elif options.command == "train":
            configs.load(options.config, overrides)
        elif options.command == "sweep":
            table = read_sweep(options.sweep)
            common = {**table.settings, **overrides}
            plan_runs(table.rows, options.config, common, Path("runs"))
    assert found or page.name == "index.md"
