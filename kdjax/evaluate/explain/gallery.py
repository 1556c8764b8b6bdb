"""What networks look at, written down: numbers as JSON, pictures, and one page that holds all of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from plotly.offline import get_plotlyjs
from scipy import special

from kdjax.checks import UserError
from kdjax.data_pipeline.dataset import forgery_name
from kdjax.evaluate.explain import figures, findings
from kdjax.evaluate.explain.cards import Card, hottest_of, shown, write_pictures
from kdjax.evaluate.explain.findings import Seen
from kdjax.evaluate.figures import line_style
from kdjax.evaluate.templating import environment
from kdjax.files import write_json, write_text
from kdjax.types import LABELS
from kdjax.version import __version__

PAGE, NUMBERS, PICTURES = "index.html", "explain.json", "heat"
"""What lies in the folder."""


def write_gallery(
    seen: Sequence[Seen],
    columns: Mapping[str, np.ndarray],
    cards: Mapping[str, Sequence[Card]],
    output: Path,
    *,
    forgeries: Sequence[str],
    facts: Mapping[str, Any],
    notes: Sequence[str] = (),
) -> Path:
    """Writes `explain.json`, a picture of each card into `heat`, and the page; returns the page's path.

    Args:
      seen: the networks, a teacher first.
      columns: ids of the images that they saw.
      cards: images to show: `""` those picked evenly, and each network's errors by its name.
      output: the folder; what an earlier call wrote there is replaced.
      forgeries: names of the kinds of forgery, by id.
      facts: what was explained: `data`, `split`, `stage`, `method`, `qualities`.
      notes: what could not be done, a sentence each.

    Raises:
      UserError: something cannot be written.
    """
    hottest = hottest_of(seen, [card for each in cards.values() for card in each])
    try:
        # what takes long comes after what may fail
        (output / PICTURES).mkdir(parents=True, exist_ok=True)
        found = all_findings(seen, columns, forgeries=forgeries, facts=facts, notes=notes)
        again = (output / NUMBERS).exists()
        written = write_pictures(cards, seen, output / PICTURES, forgeries, hottest)
        for old in (output / PICTURES).glob("*.png"):
            # of an earlier call; what lay there before the first is the user's
            if again and old.name not in written:
                old.unlink()
        write_json(output / NUMBERS, found)
        page = (
            environment()
            .get_template("explain.html")
            .render(
                title=f"What they look at: {facts['data']}, {facts['split']}",
                plotly=Markup(get_plotlyjs()),  # noqa: S704 the library's own file
                found=found,
                styles=[line_style(position) for position in range(len(seen))],
                cards={
                    title: [shown(card, seen, forgeries, hottest) for card in each]
                    for title, each in cards.items()
                },
                **_figures(found),
            )
        )
        write_text(output / PAGE, page)
    except OSError as error:
        raise UserError(f"cannot write into {output}: {error.strerror}") from error
    return output / PAGE


def all_findings(
    seen: Sequence[Seen],
    columns: Mapping[str, np.ndarray],
    *,
    forgeries: Sequence[str],
    facts: Mapping[str, Any],
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """Returns all numbers as JSON; an interval is `[estimate, low, high]`."""
    labels, videos = columns["label"], columns["video"]
    teacher = next((each for each in seen if each.is_teacher), None)
    students = [each for each in seen if not each.is_teacher]
    masked = any(each.inside for each in seen)
    return findings.as_json(
        {
            "format": 1,
            "kdjax": __version__,
            **facts,
            "explained": "log-odds of fake",
            "images": {name: int((labels == label).sum()) for label, name in enumerate(LABELS)},
            "videos": len(np.unique(videos)),
            "teacher": teacher.name if teacher else None,
            "networks": {
                each.name: {
                    **each.facts,
                    "results": findings.verdicts(each, labels),
                    "heat_in_mask": findings.heat_numbers(each, columns, forgeries),
                    "errors": [
                        _error(position, quality, score, columns, forgeries)
                        for position, quality, score in findings.confident_errors(
                            each, labels, videos
                        )
                    ],
                    "points": findings.points(each, labels),
                }
                for each in seen
            },
            "heat_differences": findings.heat_differences(seen, videos) if masked else [],
            "cka": {each.name: findings.likeness(each, teacher) for each in students}
            if teacher
            else {},
            "frequency_gap": {
                each.name: findings.gap_numbers(each) for each in students if each.gap
            },
            "gradient_cosine": {each.name: each.curves for each in seen if each.curves},
            "notes": list(notes),
        }
    )


def _error(
    position: int,
    quality: str,
    score: float,
    columns: Mapping[str, np.ndarray],
    forgeries: Sequence[str],
) -> dict[str, Any]:
    label = int(columns["label"][position])
    return {
        "index": int(columns["index"][position]),
        "video": int(columns["video"][position]),
        "label": LABELS[label],
        "forgery": forgery_name(forgeries, int(columns["forgery"][position])) if label else "",
        "quality": quality,
        "probability_of_fake": float(special.expit(score)),
    }


def _figures(found: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the figures as safe HTML; texts in them are escaped where they are made."""
    scatters: dict[str, dict[str, Markup]] = {}
    for number, (name, entry) in enumerate(found["networks"].items()):
        if entry["points"]:
            scatters[name] = {
                f"{how}, by {'class' if color == 'label' else 'quality'}": _safe_html(
                    figures.scatter(entry["points"], kind, color, f"{kind}-{color}-{number}")
                )
                for kind, how in (("pca", "PCA"), ("tsne", "t-SNE"))
                for color in ("label", "quality")
            }
    gaps: dict[str, dict[str, Markup]] = {}
    for number, (name, entry) in enumerate(found["frequency_gap"].items()):
        maps = {
            f"{quality}, {each['total']:.2f} of the teacher's energy": _safe_html(
                figures.gap_map(each, f"gap-{number}-{place}")
            )
            for place, (quality, each) in enumerate(entry.items())
        }
        profile = _safe_html(figures.gap_profile(entry, f"gap-profile-{number}"))
        gaps[name] = {**maps, "by frequency": profile}
    cosines = {
        name: _safe_html(figures.cosines(curves, f"cosines-{number}"))
        for number, (name, curves) in enumerate(found["gradient_cosine"].items())
    }
    return {"scatters": scatters, "gaps": gaps, "cosines": cosines}


def _safe_html(text: str) -> Markup:
    return Markup(text)  # noqa: S704 Plotly's JSON, in which < and / are escaped
