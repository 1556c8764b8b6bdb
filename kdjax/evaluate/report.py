"""The report on some runs: one HTML file that holds all it needs and opens without a network."""

import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup
from plotly.offline import get_plotlyjs

from kdjax.checks import UserError
from kdjax.evaluate import sections
from kdjax.evaluate.membership import Membership, group_alike
from kdjax.evaluate.page import context
from kdjax.evaluate.page.configurations import versions
from kdjax.evaluate.page.costs import Cost
from kdjax.evaluate.runs import Run, read_runs, train_command
from kdjax.evaluate.samples import Sample
from kdjax.evaluate.spectrum import SpectrumDifference
from kdjax.evaluate.templating import environment
from kdjax.files import write_text

Defaults = Callable[[str], dict[str, Any]]
"""`METHOD:NETWORK -> configuration as JSON` before any override."""


def write_report(
    runs: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    split: str = "test",
    title: str = "kdjax report",
    samples: Sequence[Sample] = (),
    spectrum: SpectrumDifference | None = None,
    defaults: Defaults | None = None,
    membership: Membership | None = None,
    costs: Mapping[int, Cost] | None = None,
) -> Path:
    """Writes the report and returns its path.

    Args:
      runs: folders of runs, in the order in which they are shown.
      output: the HTML file; replaced whole.
      split: whose evaluation is shown.
      title: the report's heading.
      samples: images to show with the runs' scores, from the split.
      spectrum: what compression takes from the spectrum; by default that of the samples.
      defaults: gives a configuration's defaults, so that the commands can name what differs.
      membership: which runs are one row with several seeds; by default those whose configurations differ in
        their seeds alone.
      costs: what the networks cost, by the run's number; what is left out the page says it does not know.

    Raises:
      UserError: a folder is not a run, or the output cannot be written.
    """
    read = read_runs(runs, split)
    return write_page(
        read,
        Path(output),
        split=split,
        title=title,
        samples=samples,
        spectrum=spectrum,
        membership=membership,
        costs=costs,
        commands=_commands(read, Path(output), split, defaults),
    )


def write_page(
    read: Sequence[Run],
    output: Path,
    *,
    split: str,
    title: str,
    commands: Sequence[str],
    samples: Sequence[Sample] = (),
    spectrum: SpectrumDifference | None = None,
    membership: Membership | None = None,
    costs: Mapping[int, Cost] | None = None,
    unit: str = "videos",
    of_runs: bool = True,
) -> Path:
    """Writes the page on runs that were read, or on what looks like them; see `write_report`.

    Args:
      read: runs; scores from elsewhere are one with an evaluation and nothing else.
      output: the HTML file; replaced whole.
      split: what the evaluations are called.
      title: the page's heading.
      commands: what makes it again.
      samples: see `write_report`.
      spectrum: likewise.
      membership: likewise.
      costs: likewise.
      unit: what the evaluations' videos are, where images are their own: `images`.
      of_runs: whether these are runs, whose folders are looked into for what else there is.

    Raises:
      UserError: the output cannot be written.
    """
    member = membership or group_alike(read)
    page = (
        environment()
        .get_template("report.html")
        .render(
            title=title,
            split=split,
            plotly=Markup(get_plotlyjs()),  # noqa: S704 the library's own file
            runs=[sections.overview(run, position) for position, run in enumerate(read)],
            commands=commands,
            versions=versions(),
            of_runs=of_runs,
            **context.of_evaluations(read, member, unit),
            **(
                context.of_runs(read, split, output.parent, samples, spectrum, costs or {})
                if of_runs
                else {}
            ),
        )
    )
    try:
        write_text(output, page)
    except OSError as error:
        raise UserError(f"cannot write the report {output}: {error.strerror}") from error
    return output


def _commands(
    runs: Sequence[Run], output: Path, split: str, defaults: Defaults | None
) -> list[str]:
    """Returns the commands that make runs and report again, paths as seen from its folder."""
    folder = output.parent.resolve()
    paths = [os.path.relpath(run.path.resolve(), folder) for run in runs]
    commands = []
    for run, path in zip(runs, paths, strict=True):
        if defaults is not None and run.config:
            try:
                commands.append(train_command(run, path, defaults))
            except UserError:
                commands.append(
                    f"# {run.name}: made with a configuration this version does not know"
                )
    commands += [shlex.join(["kdjax", "evaluate", path, f"--split={split}"]) for path in paths]
    return [*commands, shlex.join(["kdjax", "report", *paths, f"--output={output.name}"])]
