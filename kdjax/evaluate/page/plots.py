"""The figures of the page's parts: DET curves, reliability, robustness."""

import math
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from scipy import special

from kdjax.evaluate.figures import _add_line, _figure, _fragment, line_style, plain
from kdjax.evaluate.metrics import roc_points
from kdjax.evaluate.page.calibrations import Diagram
from kdjax.evaluate.page.robustness import Corrupted
from kdjax.evaluate.probabilities import Reliability
from kdjax.evaluate.runs import Run

RATES = (0.001, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9)
"""Rates that are written at the axes of a DET curve."""

ENDS = (0.0005, 0.95)
"""Between these rates a DET curve is drawn: on its scale 0 and 1 lie infinitely far away."""

DIAGONAL = {"color": "#999", "width": 1}


def det(runs: Sequence[Run], quality: str, identifier: str) -> str | None:
    """Returns the DET curves of all runs in a quality, None if none has one.

    The detection error tradeoff (Martin et al. 1997): misses over false alarms, both as quantiles of the normal
    distribution, on whose scale the curve of two normal classes is straight.
    """
    figure = _figure("false alarms among reals", "misses among fakes")
    for position, run in enumerate(runs):
        scores = None if run.evaluation is None else run.evaluation.scores.get(quality)
        if run.evaluation is None or scores is None:
            continue
        alarms, found = roc_points(scores, run.evaluation.columns["labels"])
        if not len(alarms):
            continue
        misses = 1 - found
        # 0 lies infinitely far away, and so does 1
        inside = np.all([(ENDS[0] <= e) & (e <= ENDS[1]) for e in (alarms, misses)], axis=0)
        across, up = (special.ndtri(each[inside]).round(4) for each in (alarms, misses))
        if len(across):
            _add_line(figure, across.tolist(), up.tolist(), run.name, line_style(position))
    if not figure.data:
        return None
    places = special.ndtri(RATES).tolist()
    limits = special.ndtri(ENDS).tolist()
    axis = {
        "tickvals": places,
        "ticktext": [f"{rate * 100:g} %" for rate in RATES],
        "range": limits,
    }
    figure.update_xaxes(axis)
    figure.update_yaxes(axis)
    figure.add_shape(
        type="line",
        x0=limits[0],
        y0=limits[0],
        x1=limits[1],
        y1=limits[1],
        line=DIAGONAL,
        layer="below",
    )
    figure.update_traces(hovertemplate="<extra>%{fullData.name}</extra>")
    return _fragment(figure, identifier, height=320)


def reliability_diagram(diagram: Diagram, identifier: str) -> str:
    """Returns the shares of fakes by predicted probability, before and after the temperature."""
    figure = _figure("predicted probability of fake", "share of fakes")
    figure.add_shape(type="line", x0=0, y0=0, x1=1, y1=1, line=DIAGONAL, layer="below")
    _add_bins(figure, diagram.before, "as it is", {"color": "#8C8C8C", "dash": "dash"})
    if diagram.after is not None:
        style = {"color": line_style(diagram.run)["color"], "dash": "solid"}
        _add_bins(figure, diagram.after, "after the temperature", style)
    figure.update_layout(showlegend=True)
    for update in (figure.update_xaxes, figure.update_yaxes):
        update(range=[-0.02, 1.02], dtick=0.25)
    return _fragment(figure, identifier, height=320)


def _add_bins(figure: go.Figure, found: Reliability, name: str, style: dict[str, str]) -> None:
    """Adds the bins that hold something, the larger the more they hold."""
    kept = found.mass > 0
    share = found.mass[kept] / found.mass.sum()
    figure.add_trace(
        go.Scatter(
            x=found.predicted[kept].round(4).tolist(),
            y=found.observed[kept].round(4).tolist(),
            name=name,
            mode="lines+markers",
            line={**style, "width": 1.5},
            marker={"size": (4 + 16 * np.sqrt(share)).round(1).tolist(), "color": style["color"]},
            customdata=found.mass[kept].round().astype(int).tolist(),
            hovertemplate="%{y:.3f} of %{customdata} scores near %{x:.3f}<extra></extra>",
        )
    )


def robustness_curves(runs: Sequence[Run], found: Sequence[Corrupted], identifier: str) -> str:
    """Returns AUC over severity of all runs under one kind of corruption, with intervals."""
    figure = _figure("severity", "AUC")
    for each in found:
        style = line_style(each.run)
        kept = [(n, area) for n, area in enumerate(each.areas) if math.isfinite(area.estimate)]
        figure.add_trace(
            go.Scatter(
                x=[n for n, _ in kept],
                y=[round(area.estimate, 5) for _, area in kept],
                name=plain(runs[each.run].name),
                mode="lines+markers",
                line={**style, "width": 2},
                marker={"size": 6},
                error_y={
                    "type": "data",
                    "symmetric": False,
                    "array": [_gap(area.high, area.estimate) for _, area in kept],
                    "arrayminus": [_gap(area.estimate, area.low) for _, area in kept],
                    "thickness": 1,
                },
                hovertemplate="%{y:.4g}<extra>%{fullData.name}</extra>",
            )
        )
    figure.update_xaxes(dtick=1)
    return _fragment(figure, identifier, height=280)


def _gap(upper: float, lower: float) -> float:
    gap = upper - lower
    return round(gap, 5) if math.isfinite(gap) else 0.0
