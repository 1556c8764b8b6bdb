"""The report's Plotly figures, as HTML fragments that need Plotly's script beside them."""

import html
import itertools
import math
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from kdjax.evaluate.metrics import roc_points
from kdjax.evaluate.runs import Run
from kdjax.evaluate.spectrum import SpectrumDifference, radial_profile
from kdjax.evaluate.statistics import Interval
from kdjax.types import LABELS

PALETTE = ("#2A83C8", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#7A68C9", "#7F7F7F")
TERM_PALETTE = ("#8C8C8C", "#E69F00", "#56B4E9", "#CC79A7", "#009E73", "#D55E00", "#0072B2")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
BLUE_TO_ORANGE = ((0, "#2166ac"), (0.5, "#f4f4f2"), (1, "#b35806"))
MAX_POINTS = 400
NOT_TERMS = frozenset({"step", "epoch", "accuracy", "learning_rate"})
RATIO = "gradient_ratio/"
OTHERS = (RATIO, "term/", "balance/")
"""What the names of logged quantities begin with that are drawn elsewhere or not at all."""


def plain(text: object) -> str:
    """Returns text that Plotly shows as it is: some HTML tags would be formatting to it."""
    printable = "".join(filter(str.isprintable, str(text)))
    return html.escape(printable[:80], quote=False)


def line_style(position: int) -> dict[str, str]:
    """Returns colour and dash of the run at a position, the same in every figure."""
    return {
        "color": PALETTE[position % len(PALETTE)],
        "dash": DASHES[position % len(DASHES)],
    }


def term_names(run: Run) -> list[str]:
    """Returns the names of the loss and its terms in a run's log; `loss` only if it is a sum."""
    names = dict.fromkeys(name for line in run.train for name in line)
    terms = [name for name in names if name not in NOT_TERMS and not name.startswith(OTHERS)]
    if len(terms) == 2 and "loss" in terms:
        terms.remove("loss")
    return sorted(terms, key=lambda name: name != "loss")


def ratio_names(run: Run) -> list[str]:
    """Returns the names of the logged gradient ratios."""
    return list(
        dict.fromkeys(name for line in run.train for name in line if name.startswith(RATIO))
    )


def run_curves(run: Run, names: Sequence[str], identifier: str, title: str) -> str:
    """Returns a run's logged quantities over its steps; a logarithmic scale if none is negative.

    Zeros, which a term gives before it is switched on, are left out of a logarithmic scale.
    """
    values = [line[name] for line in run.train for name in names if name in line]
    logarithmic = min(values, default=0) >= 0 < max(values, default=0)
    figure = _figure("step", title)
    known = dict.fromkeys([*term_names(run), *(name.removeprefix(RATIO) for name in names)])
    colors = dict(zip(known, itertools.cycle(TERM_PALETTE), strict=False))
    for name in names:
        steps, heights = _curve(run.train, name, positive=logarithmic)
        term = name.removeprefix(RATIO)
        _add_line(figure, steps, heights, term, {"color": colors[term]})
    if logarithmic:
        figure.update_yaxes(
            type="log", exponentformat="power", dtick=1 if _decades(values) > 1.2 else None
        )
    figure.update_layout(showlegend=True)
    return _fragment(figure, identifier)


def compared_curves(runs: Sequence[Run], kind: str, name: str, identifier: str) -> str | None:
    """Returns one logged quantity of all runs over their steps, None if no run logged it."""
    figure = _figure("step", "")
    for position, run in enumerate(runs):
        steps, heights = _curve(run.validation if kind == "validation" else run.train, name)
        if steps:
            _add_line(figure, steps, heights, run.name, line_style(position))
    return _fragment(figure, identifier, height=300) if figure.data else None


def roc(runs: Sequence[Run], quality: str, identifier: str) -> str | None:
    """Returns the ROC curves of all runs in one quality, None if no run has one."""
    figure = _figure("false positive rate", "true positive rate")
    for position, run in enumerate(runs):
        scores = None if run.evaluation is None else run.evaluation.scores.get(quality)
        if run.evaluation is None or scores is None:
            continue
        across, up = roc_points(scores, run.evaluation.columns["labels"])
        if len(across):
            _add_line(
                figure,
                across.round(5).tolist(),
                up.round(5).tolist(),
                run.name,
                line_style(position),
            )
    if not figure.data:
        return None
    figure.add_shape(
        type="line", x0=0, y0=0, x1=1, y1=1, line={"color": "#999", "width": 1}, layer="below"
    )
    figure.update_xaxes(range=[-0.02, 1.02], dtick=0.25)
    figure.update_yaxes(range=[-0.02, 1.02], dtick=0.25)
    return _fragment(figure, identifier, height=320)


def interval_plot(
    rows: Sequence[tuple[str, Interval]], title: str, identifier: str, *, zero: bool = False
) -> str | None:
    """Returns estimates with their intervals, one below the other; None where none is defined.

    Args:
      rows: names and intervals; what is not defined is left out.
      title: of the axis.
      identifier: of the figure's element.
      zero: draw a line at 0.
    """
    kept = [(plain(name), interval) for name, interval in rows if math.isfinite(interval.estimate)]
    if not kept:
        return None
    figure = _figure(title, "")
    for position, (name, interval) in enumerate(kept):
        color = line_style(position)["color"]
        estimate = round(interval.estimate, 5)
        drawn = math.isfinite(interval.low)
        error = {
            "type": "data",
            "symmetric": False,
            "array": [round(interval.high - interval.estimate, 5) if drawn else 0],
            "arrayminus": [round(interval.estimate - interval.low, 5) if drawn else 0],
            "color": color,
        }
        figure.add_trace(
            go.Scatter(
                x=[estimate],
                y=[position],
                name=name,
                mode="markers",
                marker={"size": 8, "color": color},
                error_x=error,
                hovertemplate="%{x:.4f}<extra>%{fullData.name}</extra>",
            )
        )
    if zero:
        figure.add_vline(x=0, line={"color": "#999", "width": 1}, layer="below")
    names = [name for name, _ in kept]
    figure.update_yaxes(autorange="reversed", tickvals=[*range(len(kept))], ticktext=names)
    return _fragment(figure, identifier, height=120 + 28 * len(kept))


def spectrum_map(difference: SpectrumDifference, label: str, identifier: str) -> str:
    """Returns the map of one class; both classes have the same colour scale, 0 dB in its middle."""
    bound = max(float(np.quantile(np.abs(part), 0.995)) for part in difference.maps.values())
    values = difference.maps[label]
    height, width = values.shape
    figure = _figure(
        "horizontal frequency (cycles per pixel)", "vertical frequency (cycles per pixel)"
    )
    figure.add_trace(
        go.Heatmap(
            z=values.round(2).tolist(),
            zmin=-max(bound, 1e-3),
            zmax=max(bound, 1e-3),
            colorscale=BLUE_TO_ORANGE,
            colorbar={"title": {"text": "dB"}, "thickness": 12, "outlinewidth": 0},
            hovertemplate="%{z:.1f} dB<extra></extra>",
        )
    )
    ticks = ("0", "0.25", "0.5", "0.25", "0")
    figure.update_xaxes(_spectrum_axis(width, ticks), constrain="domain")
    figure.update_yaxes(_spectrum_axis(height, ticks), scaleanchor="x", constrain="domain")
    return _fragment(figure, identifier, height=380)


def spectrum_profile(difference: SpectrumDifference, identifier: str) -> str:
    """Returns the mean of the maps over rings of equal frequency, real and fake in one figure."""
    figure = _figure(
        "frequency (cycles per pixel)",
        f"{difference.reference} over {difference.quality} (dB)",
    )
    for position, label in enumerate(LABELS):
        if label in difference.maps:
            radius, values = radial_profile(difference.maps[label])
            _add_line(
                figure,
                radius.round(4).tolist(),
                values.round(3).tolist(),
                label,
                line_style(position),
            )
    figure.update_layout(showlegend=True)
    return _fragment(figure, identifier, height=380)


def _spectrum_axis(size: int, ticks: Sequence[str]) -> dict[str, object]:
    places = [size * share / (len(ticks) - 1) for share in range(len(ticks))]
    return {
        "tickvals": places,
        "ticktext": ticks,
        "range": [-0.5, size + 0.5],
        "showgrid": False,
    }


def _curve(
    lines: Sequence[dict[str, float]], name: str, *, positive: bool = False
) -> tuple[list[float], list[float]]:
    """Returns steps and values of one quantity; long logs are averaged in equal blocks."""
    pairs = [(line["step"], line[name]) for line in lines if name in line]
    if positive:
        pairs = [(step, value) for step, value in pairs if value > 0]
    block = math.ceil(len(pairs) / MAX_POINTS) or 1
    blocks = [
        np.mean(pairs[start : start + block], axis=0) for start in range(0, len(pairs), block)
    ]
    return [round(float(step), 1) for step, _ in blocks], [
        float(f"{value:.5g}") for _, value in blocks
    ]


def _decades(values: Sequence[float]) -> float:
    positive = [value for value in values if value > 0]
    return math.log10(max(positive) / min(positive))


def _add_line(
    figure: go.Figure,
    across: Sequence[float],
    up: Sequence[float],
    name: str,
    style: dict[str, str],
) -> None:
    figure.add_trace(
        go.Scatter(
            x=across,
            y=up,
            name=plain(name),
            mode="lines+markers" if len(across) < 2 else "lines",
            line={**style, "width": 2},
            marker={"size": 5},
            hovertemplate="%{y:.4g}<extra>%{fullData.name}</extra>",
        )
    )


def _figure(across: str, up: str) -> go.Figure:
    axis = {"gridcolor": "rgba(128,128,128,0.25)", "zeroline": False, "automargin": True}
    return go.Figure(
        layout={
            "template": "none",
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"family": "system-ui, sans-serif", "size": 13, "color": "#808080"},
            "margin": {"l": 8, "r": 8, "t": 12, "b": 8},
            "xaxis": {**axis, "title": {"text": plain(across)}},
            "yaxis": {**axis, "title": {"text": plain(up)}},
            "showlegend": False,
            "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
            "hovermode": "closest",
            "hoverlabel": {"bgcolor": "#222222", "font": {"color": "#ffffff"}},
        }
    )


def _fragment(figure: go.Figure, identifier: str, height: int = 360) -> str:
    return figure.to_html(
        include_plotlyjs=False,
        full_html=False,
        div_id=identifier,
        default_width="100%",
        default_height=f"{height}px",
        config={"responsive": True, "displaylogo": False, "displayModeBar": False},
    )
