"""Ways of training a student, by name: the rows that tables of the evidence are made of."""

from collections.abc import Mapping
from typing import Any

from evidence_types import ALL_QUALITIES, Row

SEARCHED = (0.1, 0.3, 1.0)
"""Shares of the cross-entropy's gradient that were tried for every method's terms."""

ALONE = Row("alone")
KD = Row("KD", "kd", teacher="teacher")
CKD = Row("CKD", "ckd", teacher="teacher")
ADD = Row("ADD", "add", teacher="teacher")
TOKD = Row("TOKD", "tokd", teacher="dual")
METHODS = (ALONE, KD, CKD, ADD, TOKD)


TERMS: tuple[tuple[Row, Mapping[str, str], tuple[str, ...]], ...] = (
    (KD, {}, ("kd",)),
    # as it then was; its form was chosen later (`ckd_readings`)
    (CKD, {"method.normalizer": "none"}, ("contrast",)),
    (ADD, {}, ("frequency_attention", "multi_view")),
    (TOKD, {}, ("rgb", "frequency")),
)


def searched() -> tuple[Row, ...]:
    """Returns the methods with each share that is tried, the same for all terms of one."""
    return (
        ALONE,
        *(
            row._replace(
                name=f"{row.name} {share:g}",
                overrides={**form, **{f"method.shares.{term}": share for term in terms}},
            )
            for row, form, terms in TERMS
            for share in SEARCHED
        ),
    )


def ckd_readings() -> tuple[Row, ...]:
    """Returns CKD with the paper's probability, and with CRD's constant `Z` in it."""
    z = {"method.normalizer": "first_batch"}
    return (
        ALONE,
        CKD._replace(
            name="CKD, as printed",
            overrides={"method.normalizer": "none", "method.shares.contrast": 0.3},
        ),
        *(
            CKD._replace(name=f"CKD, Z {share:g}", overrides={**z, "method.shares.contrast": share})
            for share in SEARCHED
        ),
        CKD._replace(
            name="CKD, Z, real anchors",
            overrides={**z, "method.anchors": "real", "method.shares.contrast": 0.3},
        ),
    )


def loss(name: str, label: str, teacher: str = "teacher", **method: Any) -> Row:
    """Returns the row of a loss that papers compare with; `method` are options of it."""
    own = {f"method.{key}": value for key, value in method.items()}
    return Row(label, "baselines", {"method.loss": name, **own}, teacher)


def combined(*parts: str, teacher: str = "teacher") -> Row:
    """Returns the row of several methods at once."""
    label = " + ".join(part.upper() for part in parts)
    return Row(label, "combine", {"method.parts": parts}, teacher)


MIXTURE = Row("mixture", overrides={"student.qualities": ALL_QUALITIES})


def qad(name: str, **method: Any) -> Row:
    """Returns QAD on all qualities with some of its options changed."""
    own = {f"method.{key}": value for key, value in method.items()}
    return Row(name, "qad", {**MIXTURE.overrides, **own})


RIVALS = {
    "soft label": {"collaboration": "soft_label", "soft_temperature": 4.0},
    "pairwise": {"collaboration": "pairwise"},
    "centre": {"collaboration": "center"},
}
"""What QAD's Table 4 puts in HSIC's place, without the perturbation."""

RIVAL_SHARES = (0.02, 0.1, 0.5)
"""Shares that each of them is tried with, as many as HSIC."""


RIVAL_BEST = {"soft label": 0.02, "pairwise": 0.02, "centre": 0.1}
"""The share of each rival of QAD in tables that are judged: the best of `search_qualities`, the smallest within 0.005.

Validation AUC at 0.02, 0.1 and 0.5: 0.918, 0.918, 0.919; 0.920, 0.917, 0.912; 0.918, 0.926, 0.930.
"""


def rival(name: str, share: float, label: str = "") -> Row:
    """Returns one of QAD's rivals with a share of the cross-entropy's gradient."""
    own = {"perturbation": "none", "shares.collaboration": share, "normalized": False}
    return qad(label or name, **own, **RIVALS[name])


def searched_rivals() -> tuple[Row, ...]:
    """Returns QAD's rivals with each share that is tried."""
    return tuple(
        rival(name, share, f"{name} {share:g}") for name in RIVALS for share in RIVAL_SHARES
    )


def few(*volumes: int) -> tuple[Row, ...]:
    """Returns CKD's rivals and CKD on few images; each seed draws other images."""
    return few_of((ALONE, KD, loss("rkd", "RKD"), CKD), volumes)


def few_of(rows: tuple[Row, ...], volumes: tuple[int, ...]) -> tuple[Row, ...]:
    """Returns rows on each number of images, beside the first of them."""
    return tuple(
        row._replace(
            name=f"{row.name}, {volume}",
            baseline=f"{rows[0].name}, {volume}",
            overrides={**row.overrides, "data.subset": volume},
        )
        for volume in volumes
        for row in rows
    )


def negatives(*volumes: int) -> tuple[Row, ...]:
    """Returns CKD with few and many negatives on few images."""
    rows = (
        ALONE,
        *(CKD._replace(name=f"CKD K={k}", overrides={"method.negatives": k}) for k in (8, 32, 128)),
    )
    return few_of(rows, volumes)


def ensembles(*volumes: int) -> tuple[Row, ...]:
    """Returns CKD from one teacher and from two of different architectures, on few images."""
    rows = (
        ALONE,
        CKD._replace(name="CKD, one teacher"),
        CKD._replace(name="CKD, two teachers", more_teachers=("second",)),
    )
    return few_of(rows, volumes)


def on_networks(rows: tuple[Row, ...], *networks: str) -> tuple[Row, ...]:
    """Returns rows for students of several networks, taught by their like, beside the first row of each."""
    return tuple(
        row._replace(
            name=f"{row.name}, {network}",
            config=f"{row.config}:{network}",
            teacher=row.teacher and network,
            baseline=f"{rows[0].name}, {network}",
        )
        for network in networks
        for row in rows
    )


def branches() -> tuple[Row, ...]:
    """Returns TOKD and other losses from the RGB branch of a dual-branch teacher, and from both."""
    rivals = (("fitnet", "FitNet"), ("attention", "AT"), ("similarity", "SP"))
    taught = {"RGB": ("rgb",), "both": ("rgb", "frequency")}
    return (
        ALONE,
        TOKD._replace(name="TOKD, both"),
        TOKD._replace(
            name="TOKD, RGB",
            overrides={"method.frequency_weight": 0.0, "method.rotation": "none"},
        ),
        TOKD._replace(name="TOKD, no rotation", overrides={"method.rotation": "none"}),
        *(
            loss(
                name,
                f"{label}, {from_}",
                "dual",
                features=("stage4",) * len(names),
                teacher_features=names,
            )
            for name, label in rivals
            for from_, names in taught.items()
        ),
    )


def add(name: str, **method: Any) -> Row:
    """Returns ADD with some of its options changed."""
    return ADD._replace(
        name=name, overrides={f"method.{key}": value for key, value in method.items()}
    )


def at_rates(rates: tuple[float, ...], scales: tuple[float, ...]) -> tuple[Row, ...]:
    """Returns every method at each peak learning rate, and with each factor on the teacher's features."""
    rows = (ALONE, KD, CKD, ADD, TOKD, MIXTURE, qad("QAD"))
    return tuple(
        row._replace(
            name=_at(row.name, rate, scale),
            overrides={**row.overrides, "optimizer.learning_rate": rate},
            teacher_scale=scale,
            baseline=_at("mixture" if row.name == "QAD" else "alone", rate, 1.0),
        )
        for rate in rates
        for row in rows
        # KD looks at logits alone
        for scale in (scales if row.teacher and row is not KD else (1.0,))
    )


def _at(name: str, rate: float, scale: float) -> str:
    return f"{name}, {rate:g}" + (f", maps x {scale:g}" if scale != 1 else "")
