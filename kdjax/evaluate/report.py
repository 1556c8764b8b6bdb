"""The report on some runs: one HTML file that holds all it needs and opens without a network."""

import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from kdjax.checks import UserError
from kdjax.evaluate import figures, sections
from kdjax.evaluate.grouped import Line
from kdjax.evaluate.membership import Membership, group_alike, groups_of
from kdjax.evaluate.runs import Run, config_differences, read_runs, train_command
from kdjax.evaluate.samples import Sample
from kdjax.evaluate.spectrum import SpectrumDifference, spectrum_difference
from kdjax.evaluate.tables import qualities_of
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

    Raises:
      UserError: a folder is not a run, or the output cannot be written.
    """
    output = Path(output)
    read = read_runs(runs, split)
    if spectrum is None and samples:
        spectrum = _spectrum_of(samples)
    member = membership or group_alike(read)
    grouped = sections.grouped_tables(groups_of(read, member), member.baseline, qualities_of(read))
    page = (
        environment()
        .get_template("report.html")
        .render(
            title=title,
            split=split,
            plotly=Markup(get_plotlyjs()),  # noqa: S704 the library's own file
            runs=[sections.overview(run, position) for position, run in enumerate(read)],
            data=sections.evaluated_data(read),
            results=sections.results_table(read),
            forgeries=sections.forgery_table(read),
            baseline=member.baseline,
            grouped=grouped,
            intervals=_intervals(grouped),
            samples=[sections.sample_card(sample, read) for sample in samples],
            differences=config_differences(read),
            commands=_commands(read, output, split, defaults),
            **_figures(read, spectrum),
        )
    )
    try:
        write_text(output, page)
    except OSError as error:
        raise UserError(f"cannot write the report {output}: {error.strerror}") from error
    return output


def _spectrum_of(samples: Sequence[Sample]) -> SpectrumDifference | None:
    complete = [sample for sample in samples if {"raw", "c40"} <= set(sample.images)]
    if not complete:
        return None
    return spectrum_difference(
        {
            "image": {quality: sample.images[quality][None] for quality in ("raw", "c40")},
            "label": np.array([sample.label]),
        }
        for sample in complete
    )


def _figures(runs: Sequence[Run], spectrum: SpectrumDifference | None) -> dict[str, Any]:
    """Returns the figures as safe HTML; texts in them are escaped where they are made."""
    terms, ratios = {}, {}
    for position, run in enumerate(runs):
        if names := figures.term_names(run):
            terms[position] = figures.run_curves(run, names, f"terms-{position}", "loss")
        if names := figures.ratio_names(run):
            ratios[position] = figures.run_curves(run, names, f"ratios-{position}", "ratio")
    compared = {
        caption: figures.compared_curves(runs, kind, name, f"{kind}-{name}")
        for caption, kind, name in (
            ("Validation accuracy", "validation", "accuracy"),
            ("Validation AUC", "validation", "auc"),
            ("Training accuracy", "train", "accuracy"),
        )
    }
    roc = {
        quality: figures.roc(runs, quality, f"roc-{position}")
        for position, quality in enumerate(qualities_of(runs))
    }
    return {
        "terms": _safe(terms),
        "ratios": _safe(ratios),
        "compared": _safe(compared),
        "roc": _safe(roc),
        "spectrum": spectrum,
        "spectra": {}
        if spectrum is None
        else _safe(
            {
                **{
                    label: figures.spectrum_map(spectrum, label, f"spectrum-{label}")
                    for label in spectrum.maps
                },
                "by frequency": figures.spectrum_profile(spectrum, "spectrum-profile"),
            }
        ),
    }


def _intervals(grouped: Mapping[str, Sequence[Line]]) -> dict[str, Markup]:
    found: dict[str, str | None] = {}
    for position, (quality, lines) in enumerate(grouped.items()):
        found[f"AUC, {quality}"] = figures.interval_plot(
            [(line.name, line.auc) for line in lines], "AUC", f"intervals-{position}"
        )
        compared = [(line.name, line.comparison.bootstrap) for line in lines if line.comparison]
        found[f"difference, {quality}"] = figures.interval_plot(
            compared, "difference of AUC", f"differences-{position}", zero=True
        )
    return _safe(found)


def _safe(fragments: Mapping[Any, str | None]) -> dict[Any, Markup]:
    return {
        key: Markup(text)  # noqa: S704 Plotly's JSON, in which < and / are escaped
        for key, text in fragments.items()
        if text is not None
    }


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
