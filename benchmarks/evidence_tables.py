"""The tables of the evidence: which rows are trained on which data, and what they are compared with.

A row's settings are the library's defaults, the table's `settings` and its own `overrides`, in this order. What has
been trained with other settings is trained again; `revision` does the same where only code has changed.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

Settings = Mapping[str, Any]
NONE: Settings = MappingProxyType({})
ALL_QUALITIES = ("raw", "c23", "c40")


class Row(NamedTuple):
    """One way of training a student.

    Attributes:
      name: how the row is called in results and on the page.
      config: METHOD, with the table's network, or METHOD:NETWORK.
      overrides: what it sets.
      teacher: the name of the table's teacher that it learns from; empty: none.
      baseline: the row it is compared with; empty: the table's.
      by_quality: trains nothing: `{quality: row}`, whose networks take a quality each.
    """

    name: str
    config: str = "supervised"
    overrides: Settings = NONE
    teacher: str = ""
    baseline: str = ""
    by_quality: Mapping[str, str] = MappingProxyType({})


class Teacher(NamedTuple):
    """A network on raw images that students learn from, of another seed than theirs."""

    network: str
    settings: Settings


class Table(NamedTuple):
    """Rows that are compared with each other.

    Attributes:
      title: its heading.
      dataset: a name of `evidence_data.json`.
      network: the students'.
      settings: of all students.
      teachers: by the names that rows use.
      rows: in the order in which they are trained, for each seed.
      baseline: the name of the row that others are compared with.
      quality: whose test AUC is judged: one of them; `overall`, all pooled; or `average`, of the three AUCs.
      answers: the papers' tables or figures that it answers.
      budget: how the settings were come by.
      revision: raise it to train everything again.
    """

    title: str
    dataset: str
    network: str
    settings: Settings
    teachers: Mapping[str, Teacher]
    rows: tuple[Row, ...]
    baseline: str = "alone"
    quality: str = "c40"
    answers: str = ""
    budget: str = "library defaults for every method, none tuned on these data"
    revision: int = 1


SYNTH = "synthfaces_benchmark"
PHOTOS = "photos_benchmark"

SEEDS = 5
"""Seeds of a complete table, from 0 on."""

TEACHER_SEED = 100
"""The first teacher's seed, never a student's."""

SEARCH_SEEDS = range(10, 13)
"""Seeds of the search for default shares, none of which is in a table that is judged."""

SEARCHED = (0.1, 0.3, 1.0)
"""Shares of the cross-entropy's gradient that were tried for every method's terms."""

SHARES = (0.05, 0.2, 1.0, 3.0)
"""Shares of the cross-entropy's gradient that ADD's terms are tried with, beside the default."""

TEACHERS = 2
"""Teachers of different seeds of each kind; students take turns with them, by their seeds."""

SCHEDULE: Settings = {
    "data.batch_size": 32,
    "optimizer.schedule": "one_cycle",
    "optimizer.learning_rate": 2e-3,
    "optimizer.warmup_fraction": 0.2,
    "train.steps": 400,
    "train.patience": 0,
    "train.selection": "auc",
    "train.validations_per_epoch": 0.5,
    # any but 0: start, a tenth and end are measured whatever it is
    "train.gradient_ratio_every": 100,
}
IMAGENET: Settings = {
    **SCHEDULE,
    "optimizer.learning_rate": 1e-3,
    "student.weights": "imagenet",
}
RAW: Settings = {"student.qualities": ("raw",)}

SCRATCH_TEACHERS = {
    "teacher": Teacher("resnet18_thin", {**SCHEDULE, **RAW}),
    "dual": Teacher("dual_resnet18_thin", {**SCHEDULE, **RAW}),
}
IMAGENET_TEACHERS = {
    "teacher": Teacher("efficientnet_lite0", {**IMAGENET, **RAW}),
    "dual": SCRATCH_TEACHERS["dual"],
}

ALONE = Row("alone")
KD = Row("KD", "kd", teacher="teacher")
CKD = Row("CKD", "ckd", teacher="teacher")
ADD = Row("ADD", "add", teacher="teacher")
TOKD = Row("TOKD", "tokd", teacher="dual")
METHODS = (ALONE, KD, CKD, ADD, TOKD)


TERMS = (
    (KD, ("kd",)),
    (CKD, ("contrast",)),
    (ADD, ("frequency_attention", "multi_view")),
    (TOKD, ("rgb", "frequency")),
)


def searched() -> tuple[Row, ...]:
    """Returns the methods with each share that is tried, the same for all terms of one."""
    return (
        ALONE,
        *(
            row._replace(
                name=f"{row.name} {share:g}",
                overrides={f"method.shares.{term}": share for term in terms},
            )
            for row, terms in TERMS
            for share in SEARCHED
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


def c40(data: str, start: str) -> Table:
    """Returns the four methods and a student alone on c40, from scratch or from ImageNet."""
    imagenet = start == "imagenet"
    return Table(
        title=f"Students on c40, {data}, from {'ImageNet' if imagenet else 'scratch'}",
        dataset=data,
        network="efficientnet_lite0" if imagenet else "resnet18_thin",
        settings=IMAGENET if imagenet else SCHEDULE,
        teachers=IMAGENET_TEACHERS if imagenet else SCRATCH_TEACHERS,
        rows=METHODS,
        answers="CKD Table I, ADD Table 1, TOKD Table 3: the methods against a student alone",
    )


def all_qualities(data: str) -> Table:
    """Returns one network for all qualities, by QAD and what it is compared with."""
    mixture = {"student.qualities": ALL_QUALITIES}

    def qad(name: str, **method: Any) -> Row:
        own = {f"method.{key}": value for key, value in method.items()}
        return Row(name, "qad", {**mixture, **own})

    other = {"perturbation": "none", "collaborative_weight": 0.004}
    return Table(
        title=f"One network for all qualities, {data}",
        dataset=data,
        network="resnet18_thin",
        settings=SCHEDULE,
        teachers={},
        rows=(
            Row("mixture", overrides=mixture),
            qad("QAD"),
            qad("perturbation alone", collaboration="none"),
            qad("HSIC alone", perturbation="none"),
            qad("soft label", **{**other, "collaboration": "soft_label"}, soft_temperature=4.0),
            qad("pairwise", **{**other, "collaboration": "pairwise"}),
            qad("centre", **{**other, "collaboration": "center"}),
            *(Row(f"{q} only", overrides={"student.qualities": (q,)}) for q in ALL_QUALITIES),
            Row(
                "three networks",
                by_quality={quality: f"{quality} only" for quality in ALL_QUALITIES},
            ),
        ),
        baseline="mixture",
        quality="average",
        answers="QAD Tables 1, 3 and 4",
    )


def few(*volumes: int) -> tuple[Row, ...]:
    """Returns CKD's rivals and CKD on few images; each seed draws other images."""
    rows = (ALONE, KD, loss("rkd", "RKD"), CKD)
    return tuple(
        row._replace(
            name=f"{row.name}, {volume}",
            baseline=f"{ALONE.name}, {volume}",
            overrides={**row.overrides, "data.subset": volume},
        )
        for volume in volumes
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


def scratch(title: str, rows: tuple[Row, ...], answers: str, **changed: Any) -> Table:
    """Returns a table of ResNet-18-thin students from scratch on c40 of the synthetic faces."""
    standard = Table(title, SYNTH, "resnet18_thin", SCHEDULE, SCRATCH_TEACHERS, rows)
    return standard._replace(answers=answers, **changed)


def add(name: str, **method: Any) -> Row:
    """Returns ADD with some of its options changed."""
    return ADD._replace(
        name=name, overrides={f"method.{key}": value for key, value in method.items()}
    )


TABLES: dict[str, Table] = {
    "c40_synth_scratch": c40(SYNTH, "scratch"),
    "c40_photos_scratch": c40(PHOTOS, "scratch"),
    "c40_synth_imagenet": c40(SYNTH, "imagenet"),
    "c40_photos_imagenet": c40(PHOTOS, "imagenet"),
    "all_qualities_synth": all_qualities(SYNTH),
    "all_qualities_photos": all_qualities(PHOTOS),
    "ckd_few": scratch(
        "CKD on 100 and 1000 images",
        few(100, 1000),
        "CKD Tables I and II: CKD against a student alone (VT), KD and RKD",
        settings={**SCHEDULE, "train.validation_interval": 100},
        baseline="alone, 100",
    ),
    "add_c40": scratch(
        "ADD and its parts on c40",
        (
            ALONE,
            KD,
            loss("fitnet", "FitNet"),
            loss("attention", "AT"),
            loss("nonlocal", "NL"),
            ADD,
            add("ADD, FR", view_weight=0.0),
            add("ADD, MV", frequency_weight=0.0),
        ),
        "ADD Tables 1 and 2",
    ),
    "tokd_branches": scratch(
        "From a teacher of two branches", branches(), "TOKD Tables 3 and 6, Fig. 4"
    ),
    "add_sensitivity": scratch(
        "ADD's weights, as shares",
        (
            ALONE,
            ADD,
            # balanced terms have shares where the paper has weights alpha and beta
            *(
                add(f"{label} share {share:g}", **{f"shares.{term}": share})
                for label, term in (("FR", "frequency_attention"), ("MV", "multi_view"))
                for share in SHARES
            ),
        ),
        "ADD Fig. 5 (supplement)",
    ),
    "search": scratch(
        "The search for default shares",
        searched(),
        "none: validation AUC alone chooses, seeds that no other table has",
    ),
    "combinations": scratch(
        "All methods, and several at once",
        (
            *METHODS,
            loss("fitnet", "FitNet"),
            loss("attention", "AT"),
            loss("rkd", "RKD"),
            loss("crd", "CRD"),
            Row("SAM", "baselines", {"method.loss": "sam"}),
            combined("kd", "ckd"),
            combined("kd", "add"),
            combined("ckd", "add"),
            combined("kd", "ckd", "add"),
            combined("kd", "tokd", teacher="dual"),
        ),
        "what no paper asks",
    ),
}
"""What `evidence.py run` knows, by name."""
