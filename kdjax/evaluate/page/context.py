"""What the page's template is given, section by section."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kdjax.evaluate import sections
from kdjax.evaluate.grouped import Summary
from kdjax.evaluate.membership import Membership, groups_of
from kdjax.evaluate.page import (
    calibrations,
    configurations,
    costs,
    drawn,
    explained,
    results,
    robustness,
    summary,
)
from kdjax.evaluate.page.table import in_columns
from kdjax.evaluate.runs import Run
from kdjax.evaluate.samples import Sample
from kdjax.evaluate.spectrum import SpectrumDifference
from kdjax.evaluate.tables import qualities_of

REPORT_RESAMPLES = 2000
"""Draws of the report's comparisons: fewer than the sweep's own, in four qualities at once."""


def of_evaluations(runs: Sequence[Run], member: Membership, unit: str) -> dict[str, Any]:
    """Returns what the evaluations say: the choice, the tables of metrics, rows over seeds, ROC and DET."""
    groups, qualities = groups_of(runs, member), qualities_of(runs)
    compare = Summary(resamples=REPORT_RESAMPLES)
    grouped = sections.grouped_tables(groups, member.baseline, qualities, compare)
    rows = summary.candidates(runs, groups)
    choices = [
        choice
        for quality in qualities
        if (choice := summary.choose(rows, quality, compare)) is not None
    ]
    data = sections.evaluated_data(runs)
    return {
        "data": data,
        "unit": unit,
        "choices": summary.summary_table(choices) if choices else None,
        "sentences": summary.sentences(choices, data, unit),
        "results": results.result_tables(runs, results.run_intervals(runs)),
        "operating": results.operating_tables(runs),
        "forgeries": [part for table in results.forgery_tables(runs) for part in in_columns(table)],
        "baseline": member.baseline,
        "seeds": results.seed_tables(grouped),
        "intervals": drawn.of_intervals(grouped),
        "roc": drawn.of_scores(runs),
    }


def of_runs(
    runs: Sequence[Run],
    split: str,
    folder: Path,
    samples: Sequence[Sample],
    spectrum: SpectrumDifference | None,
    known_costs: Mapping[int, costs.Cost],
) -> dict[str, Any]:
    """Returns what lies in the runs' folders beside their evaluations, paths as seen from the page's folder."""
    if spectrum is None:
        spectrum = drawn.spectrum_of(samples)
    found = calibrations.read_calibrations(runs)
    under = robustness.read_robustness(runs, split)
    looked, problems = explained.read_explained(
        runs, lambda place: os.path.relpath(place.resolve(), folder.resolve())
    )
    return {
        **drawn.of_training(runs),
        "overview": sections.overview_table(runs),
        "learnt": sections.learnt_table(runs),
        "calibrations": found,
        "uncalibrated": [
            run.name for run, each in zip(runs, found, strict=True) if each.calibration is None
        ],
        "errors": calibrations.error_table(runs, found),
        "thresholds": calibrations.threshold_table(runs, found, split),
        "reliability": drawn.of_calibration(runs, calibrations.diagrams(runs, found)),
        "under": under,
        "corrupted": sorted({(each.run, each.images, each.videos) for each in under.found}),
        "robustness": robustness.robustness_tables(runs, under.found),
        "corruptions": drawn.of_corruptions(runs, under.found),
        "explained": looked,
        "problems": problems,
        "embeddings": drawn.of_embeddings(looked),
        "samples": [sections.sample_card(sample, runs) for sample in samples],
        "spectrum": spectrum,
        "spectra": drawn.of_spectra(spectrum),
        "costs": costs.cost_table(runs, known_costs),
        "differences": configurations.difference_tables(runs),
        "exact": [configurations.exact(run) for run in runs],
    }
