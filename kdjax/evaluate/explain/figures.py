"""The figures of the page on what networks look at."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from kdjax.evaluate.figures import (
    PALETTE,
    _add_line,
    _figure,
    _fragment,
    line_style,
    plain,
)
from kdjax.types import LABELS

CLASS_COLORS = ("#2A83C8", "#D55E00")
"""Of real and fake."""

HEAT = ((0, "#000004"), (0.4, "#781c6d"), (0.7, "#ed6925"), (1, "#fcffa4"))
"""The colours of heat, as the pictures have them."""


def scatter(points: Mapping[str, Any], kind: str, color: str, identifier: str) -> str:
    """Returns the points of an embedding, coloured by class or by quality.

    Args:
      points: as `findings.points` returns them.
      kind: `pca` or `tsne`.
      color: `label` or `quality`.
      identifier: of the figure's element.
    """
    places = np.asarray(points[kind])
    shares = points["explained"]
    titles = (
        [f"component {n + 1} ({share:.0%})" for n, share in enumerate(shares)]
        if kind == "pca"
        else ["", ""]
    )
    figure = _figure(*titles)
    values = np.asarray(points[color])
    groups = list(dict.fromkeys(values.tolist()))
    for number, group in enumerate(sorted(groups) if color == "label" else groups):
        member = values == group
        figure.add_trace(
            go.Scatter(
                x=places[member, 0].tolist(),
                y=places[member, 1].tolist(),
                name=plain(LABELS[group] if color == "label" else group),
                mode="markers",
                marker={
                    "size": 5,
                    "opacity": 0.7,
                    "color": (CLASS_COLORS if color == "label" else PALETTE[2:])[number % 5],
                },
                hoverinfo="name",
            )
        )
    figure.update_layout(showlegend=True)
    if kind == "tsne":
        figure.update_xaxes(showticklabels=False)
        figure.update_yaxes(showticklabels=False)
    return _fragment(figure, identifier, height=330)


def gap_map(found: Mapping[str, Any], identifier: str) -> str:
    """Returns the map of a frequency gap, the lowest frequencies in the corners."""
    values = np.asarray(found["map"])
    figure = _figure(
        "horizontal frequency (cycles per cell)", "vertical frequency (cycles per cell)"
    )
    figure.add_trace(
        go.Heatmap(
            z=values.round(6).tolist(),
            zmin=0,
            colorscale=HEAT,
            colorbar={"thickness": 12, "outlinewidth": 0},
            hovertemplate="%{z:.3g}<extra></extra>",
        )
    )
    figure.update_xaxes(_frequencies(values.shape[1]), constrain="domain")
    figure.update_yaxes(_frequencies(values.shape[0]), scaleanchor="x", constrain="domain")
    return _fragment(figure, identifier, height=340)


def _frequencies(size: int) -> dict[str, object]:
    """Returns an axis of a plain transform: 0, the highest in the middle, and down again."""
    places = {0, size // 4, size // 2, size - size // 4}
    kept = sorted(place for place in places if place < size)
    return {
        "tickvals": kept,
        "ticktext": [f"{min(place, size - place) / size:.2g}" for place in kept],
        "range": [-0.5, size - 0.5],
        "showgrid": False,
    }


def gap_profile(found: Mapping[str, Mapping[str, Any]], identifier: str) -> str:
    """Returns the mean of frequency gaps over rings of equal frequency, a line a quality."""
    figure = _figure("frequency (cycles per cell)", "share of the teacher's energy")
    for position, (quality, entry) in enumerate(found.items()):
        across = [round(value, 4) for value in entry["frequency"]]
        _add_line(figure, across, entry["profile"], quality, line_style(position))
    figure.update_layout(showlegend=True)
    return _fragment(figure, identifier, height=340)


def cosines(curves: Mapping[str, Sequence[tuple[float, float]]], identifier: str) -> str:
    """Returns the cosines between the gradients of TOKD's branches over the steps, as they were logged."""
    figure = _figure("step", "cosine")
    for position, (name, pairs) in enumerate(curves.items()):
        steps, values = zip(*pairs, strict=True) if pairs else ((), ())
        rounded = [float(f"{value:.5g}") for value in values]
        _add_line(figure, steps, rounded, name.replace("_", " "), line_style(position))
    figure.update_layout(showlegend=True)
    return _fragment(figure, identifier, height=340)
