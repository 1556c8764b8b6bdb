"""What columns, labels and numbers are called in tables of scores from anywhere."""

import math
import re

COLUMNS = {
    "id": (
        "id",
        "image_id",
        "path",
        "image_path",
        "file",
        "filename",
        "file_name",
        "image",
        "name",
    ),
    "label": ("label", "target", "y_true", "ground_truth", "is_fake", "class", "truth"),
    "score": (
        *("score", "probability", "prob", "fake_score", "p_fake", "prob_fake", "y_score"),
        *("prediction", "pred", "logit", "logits"),
    ),
    "video": ("video", "video_id", "clip", "clip_id", "video_name", "video_path"),
    "forgery": ("forgery", "generator", "manipulation", "forgery_type", "method", "kind"),
    "quality": ("quality", "compression"),
    "dataset": ("dataset", "data_set"),
}
"""Names that a column may have, by what it is; of several in one table the first named here counts."""

NEEDED = ("id", "label", "score")

LOGITS = frozenset({"logit", "logits"})

REAL = frozenset(
    (
        *("0", "real", "false", "genuine", "original", "pristine", "authentic", "untouched"),
        *("bonafide", "bona fide", "bona-fide", "negative", "no"),
    )
)
FAKE = frozenset(
    (
        *(
            "1",
            "fake",
            "true",
            "manipulated",
            "forged",
            "deepfake",
            "forgery",
            "altered",
            "tampered",
        ),
        *("generated", "synthetic", "synthesized", "spoof", "attack", "positive", "yes"),
    )
)
AMBIGUOUS = frozenset({"true", "false", "yes", "no", "positive", "negative"})
"""Labels that mean something only once it is known of what."""

LABELS_HELP = (
    "0 or real, 1 or fake (also genuine, original, manipulated, forged, true for fake, ...)"
)

MISSING = frozenset({"", "nan", "na", "n/a", "#n/a", "null", "none", "-", "?"})
"""What stands in a cell where there is no score."""

_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)(e[+-]?\d+)?")


def column_name(text: str) -> str:
    """Returns the name of a column as it is compared: `Image Path` is `image_path`."""
    return re.sub(r"[\s-]+", "_", text.strip().lower())


def parse_label(text: str) -> int | None:
    """Returns 0 for a real and 1 for a fake; None for a word that says neither.

    >>> [parse_label(text) for text in ("REAL", " fake ", "1.0", "0,0", "2", "unsure")]
    [0, 1, 1, 0, None, None]
    """
    word = text.strip().lower()
    if word in REAL or word in FAKE:
        return int(word in FAKE)
    value = parse_number(word)
    return int(value) if value in (0.0, 1.0) else None


def parse_number(text: str) -> float | None:
    """Returns a number with a decimal point or comma; NaN where there is none, None for what is no number.

    >>> [parse_number(text) for text in ("0.25", "0,25", "-1e-3", "1.234,5", "1_0")]
    [0.25, 0.25, -0.001, None, None]
    """
    word = text.strip().lower()
    if word in MISSING:
        return math.nan
    if not _NUMBER.fullmatch(word):
        return None
    value = float(word.replace(",", "."))
    return value if math.isfinite(value) else None
