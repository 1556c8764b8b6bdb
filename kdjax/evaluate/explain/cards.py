"""Images with what networks see in them: pictures on the disk, and cards of the page."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import special

from kdjax.data_pipeline.builders.schema import encode_png
from kdjax.data_pipeline.dataset import forgery_name
from kdjax.evaluate.explain import pictures
from kdjax.evaluate.explain.findings import Seen
from kdjax.evaluate.files import replacing
from kdjax.types import LABELS

HOTTEST = 0.95
"""Quantile of the pictures' largest heat that counts as a network's hottest."""


@dataclasses.dataclass(frozen=True)
class Card:
    """An image with what networks see in it.

    Attributes:
      index: its place in the split.
      label: 0 real, 1 fake.
      forgery: id of the kind of forgery.
      video: id of its video.
      images: `{quality: uint8 [S, S, 3]}`, RGB.
      mask: uint8 `[S, S]`, or None.
      heat: `{(network, quality): float [S, S]}`.
      scores: `{(network, quality): log-odds of fake}`.
    """

    index: int
    label: int
    forgery: int
    video: int
    images: Mapping[str, np.ndarray]
    mask: np.ndarray | None
    heat: Mapping[tuple[str, str], np.ndarray]
    scores: Mapping[tuple[str, str], float]


def hottest_of(seen: Sequence[Seen], cards: Sequence[Card]) -> dict[str, float]:
    """Returns by network how hot its hottest pictures are, but for outliers."""
    largest: dict[str, list[float]] = {each.name: [0.0] for each in seen}
    for card in cards:
        for (name, _), heat in card.heat.items():
            largest[name].append(float(heat.max()))
    return {name: float(np.quantile(values, HOTTEST)) for name, values in largest.items()}


def _overlays(
    card: Card, quality: str, seen: Sequence[Seen], hottest: Mapping[str, float]
) -> dict[str, np.ndarray]:
    """Returns the face, and it under each network's heat, by name."""
    image = card.images[quality]
    found = {"": pictures.outlined(pictures.enlarge(image), card.mask)}
    for each in seen:
        heat = card.heat[each.name, quality]
        made = pictures.overlay(image, heat, hottest[each.name])
        found[each.name] = pictures.outlined(made, card.mask)
    return found


def write_pictures(
    cards: Mapping[str, Sequence[Card]],
    seen: Sequence[Seen],
    folder: Path,
    forgeries: Sequence[str],
    hottest: Mapping[str, float],
) -> list[str]:
    """Writes a PNG of each card: networks beside each other, qualities below each other; returns the names."""
    written: list[str] = []
    for title, each in cards.items():
        for card in each:
            rows = [(name, _overlays(card, name, seen, hottest)) for name in card.images]
            kind = forgery_name(forgeries, card.forgery) if card.label else LABELS[0]
            place = f"error-{_safe(title)}-" if title else ""
            path = folder / f"{place}{card.index:06d}-{_safe(kind)}.png"
            with replacing(path) as temporary:
                temporary.write_bytes(encode_png(pictures.strip(rows)))
            written.append(path.name)
    return written


def _safe(text: str) -> str:
    return "".join(sign if sign.isalnum() and sign.isascii() else "_" for sign in text)[:60]


def shown(
    card: Card, seen: Sequence[Seen], forgeries: Sequence[str], hottest: Mapping[str, float]
) -> dict[str, Any]:
    """Returns a card for the template."""
    rows = []
    for quality in card.images:
        made = _overlays(card, quality, seen, hottest)
        face = pictures.webp_address(made.pop(""))
        cells: list[dict[str, Any]] = [{"address": face, "chance": None, "right": None}]
        for name, picture in made.items():
            score = card.scores[name, quality]
            chance = float(special.expit(score))
            cells.append(
                {
                    "address": pictures.webp_address(picture),
                    "chance": chance,
                    "right": (score > 0) == bool(card.label),
                }
            )
        rows.append((quality, cells))
    return {
        "index": card.index,
        "video": card.video,
        "label": LABELS[card.label],
        "kind": forgery_name(forgeries, card.forgery) if card.label else "",
        "rows": rows,
    }
