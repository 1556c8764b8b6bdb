"""All figures of the page as safe HTML: texts in them are escaped where they are made."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from kdjax.evaluate import figures
from kdjax.evaluate.explain.figures import scatter
from kdjax.evaluate.grouped import Line
from kdjax.evaluate.page import plots
from kdjax.evaluate.page.calibrations import Diagram
from kdjax.evaluate.page.explained import Explained
from kdjax.evaluate.page.robustness import Corrupted
from kdjax.evaluate.runs import Run
from kdjax.evaluate.samples import Sample
from kdjax.evaluate.spectrum import SpectrumDifference, spectrum_difference
from kdjax.evaluate.tables import qualities_of

Drawn = dict[Any, Markup]


def safe(fragments: Mapping[Any, str | None]) -> Drawn:
    """Returns the figures that there are as HTML."""
    return {
        key: Markup(text)  # noqa: S704 Plotly's JSON, in which < and / are escaped
        for key, text in fragments.items()
        if text is not None
    }


def of_training(runs: Sequence[Run]) -> dict[str, Drawn]:
    """Returns what was logged: `compared`, and by the run's number `terms` and `ratios`."""
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
    return {"terms": safe(terms), "ratios": safe(ratios), "compared": safe(compared)}


def of_scores(runs: Sequence[Run]) -> Drawn:
    """Returns ROC and DET of each quality."""
    found: dict[str, str | None] = {}
    for position, quality in enumerate(qualities_of(runs)):
        found[f"ROC, {quality}"] = figures.roc(runs, quality, f"roc-{position}")
        found[f"DET, {quality}"] = plots.det(runs, quality, f"det-{position}")
    return safe(found)


def of_calibration(runs: Sequence[Run], diagrams: Sequence[Diagram]) -> Drawn:
    """Returns a reliability diagram for each run, by its number."""
    return safe(
        {each.run: plots.reliability_diagram(each, f"reliability-{each.run}") for each in diagrams}
    )


def of_corruptions(runs: Sequence[Run], found: Sequence[Corrupted]) -> Drawn:
    """Returns a figure for each kind of corruption."""
    kinds = dict.fromkeys(each.kind for each in found)
    return safe(
        {
            kind: plots.robustness_curves(
                runs, [each for each in found if each.kind == kind], f"robustness-{number}"
            )
            for number, kind in enumerate(kinds)
        }
    )


def of_intervals(grouped: Mapping[str, Sequence[Line]]) -> Drawn:
    """Returns the AUC over seeds in each quality, and the difference to the baseline."""
    found: dict[str, str | None] = {}
    for position, (quality, lines) in enumerate(grouped.items()):
        found[f"AUC, {quality}"] = figures.interval_plot(
            [(line.name, line.auc) for line in lines], "AUC", f"intervals-{position}"
        )
        compared = [(line.name, line.comparison.bootstrap) for line in lines if line.comparison]
        found[f"difference, {quality}"] = figures.interval_plot(
            compared, "difference of AUC", f"differences-{position}", zero=True
        )
    return safe(found)


def of_embeddings(explained: Sequence[Explained]) -> list[dict[str, Drawn]]:
    """Returns for each folder the embeddings by network: PCA and t-SNE, by class and by quality."""
    return [
        {
            network: safe(
                {
                    f"{how}, by {'class' if color == 'label' else 'quality'}": scatter(
                        points, kind, color, f"points-{folder}-{number}-{kind}-{color}"
                    )
                    for kind, how in (("pca", "PCA"), ("tsne", "t-SNE"))
                    for color in ("label", "quality")
                }
            )
            for number, (network, points) in enumerate(each.points.items())
        }
        for folder, each in enumerate(explained)
    ]


def of_spectra(spectrum: SpectrumDifference | None) -> Drawn:
    """Returns the maps of what compression takes, and their means over rings of equal frequency."""
    if spectrum is None:
        return {}
    maps = {
        label: figures.spectrum_map(spectrum, label, f"spectrum-{label}") for label in spectrum.maps
    }
    return safe({**maps, "by frequency": figures.spectrum_profile(spectrum, "spectrum-profile")})


def spectrum_of(samples: Sequence[Sample]) -> SpectrumDifference | None:
    """Returns the spectrum of samples that have both qualities, None without any."""
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
