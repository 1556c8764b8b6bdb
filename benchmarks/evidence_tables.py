"""The tables of the evidence: which rows are trained on which data, and what they are compared with.

A row's settings are the library's defaults, the table's `settings` and its own `overrides`, in this order. What has
been trained with other settings is trained again; `revision` does the same where only code has changed.
"""

from typing import Any

from evidence_rows import (
    ADD,
    ALONE,
    KD,
    METHODS,
    MIXTURE,
    TOKD,
    add,
    at_rates,
    branches,
    ckd_readings,
    combined,
    ensembles,
    few,
    loss,
    negatives,
    on_networks,
    qad,
    searched,
    searched_rivals,
)
from evidence_types import ALL_QUALITIES, Row, Settings, Table, Teacher

SYNTH = "synthfaces_benchmark"
PHOTOS = "photos_benchmark"

BUDGETS = {
    SYNTH: "the library's defaults; the shares of KD, ADD and TOKD are the best of three on validation images of these "
    "data (`search`; of shares within 0.005 the smallest), with other seeds; CKD's form and share were chosen later "
    "(`search_ckd_synth`, `search_ckd_photos`), QAD's by `search_qualities`; nothing else was tuned",
    PHOTOS: "the library's defaults; CKD's form and share were chosen on validation images of these data too "
    "(`search_ckd_photos`, other seeds) after two runs of it here, nothing else was",
}
"""How the settings of tables were come by, by data set."""

TEACHER_SEED = 100
"""The first teacher's seed, never a student's."""

SEARCH_SEEDS = range(10, 12)
"""Seeds of the search for default shares, none of which is in a table that is judged."""

QAD_SEARCHED = (0.005, 0.02, 0.1)
"""The same for QAD's collaborative loss, which larger shares harm."""

SHARES = (0.05, 0.2, 1.0, 3.0)
"""Shares of the cross-entropy's gradient that ADD's terms are tried with, beside the default."""

TEACHERS = 2
"""Teachers of different seeds of each kind; students take turns with them, by their seeds."""

OTHER_NETWORKS = ("mobilenet_v2", "efficientnet_lite0")
"""Networks beside ResNet-18-thin, from scratch."""

RATES = (2e-4, 1e-3, 5e-3)
"""Peak learning rates at which nothing may break."""

SCALES = (1.0, 10.0)
"""Factors on a teacher's feature maps at which nothing may break."""

ROTATIONS = (16, 64, 256)
"""Sizes of TOKD's rotation, of 256 channels of the projectors."""

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
PHOTO_TEACHERS = {
    **SCRATCH_TEACHERS,
    # after 400 steps it has 0.90 to 0.98 AUC on raw, by its seed
    "teacher": Teacher("resnet18_thin", {**SCHEDULE, **RAW, "train.steps": 1200}),
}
IMAGENET_TEACHERS = {
    "teacher": Teacher("efficientnet_lite0", {**IMAGENET, **RAW}),
    "dual": SCRATCH_TEACHERS["dual"],
}


def c40(data: str, start: str) -> Table:
    """Returns the four methods and a student alone on c40, from scratch or from ImageNet."""
    imagenet = start == "imagenet"
    scratch_teachers = PHOTO_TEACHERS if data == PHOTOS else SCRATCH_TEACHERS
    return Table(
        title=f"Students on c40, {data}, from {'ImageNet' if imagenet else 'scratch'}",
        dataset=data,
        network="efficientnet_lite0" if imagenet else "resnet18_thin",
        settings=IMAGENET if imagenet else SCHEDULE,
        teachers=IMAGENET_TEACHERS if imagenet else scratch_teachers,
        rows=METHODS,
        answers="CKD Table I, ADD Table 1, TOKD Table 3: the methods against a student alone",
    )


def all_qualities(data: str) -> Table:
    """Returns one network for all qualities, by QAD and what it is compared with."""
    other = {"perturbation": "none", "collaborative_weight": 0.004}
    return Table(
        title=f"One network for all qualities, {data}",
        dataset=data,
        network="resnet18_thin",
        settings=SCHEDULE,
        teachers={},
        rows=(
            MIXTURE,
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


def ckd_search(data: str) -> Table:
    """Returns readings of CKD's loss, judged on validation images."""
    return c40(data, "scratch")._replace(
        title=f"Readings of CKD's loss, {data}",
        rows=ckd_readings(),
        quality="validation",
        answers="which reading is the default: by validation AUC, with seeds that no other table has",
        budget="three shares of one reading, one of each other",
        seeds=SEARCH_SEEDS,
    )


def stability(network: str, start: str = "scratch") -> Table:
    """Returns every method at several learning rates, and with a teacher whose maps are larger."""
    settings = IMAGENET if start == "imagenet" else SCHEDULE
    return Table(
        title=f"Stability: {network} from {'ImageNet' if start == 'imagenet' else start}",
        dataset=SYNTH,
        network=network,
        # every step is logged, and gradients are measured ten times
        settings={
            **settings,
            "data.batch_size": 8,
            "train.log_every": 1,
            "train.validation_interval": 40,
            "train.gradient_ratio_every": 1,
        },
        teachers={
            "teacher": Teacher(network, {**settings, **RAW}),
            "dual": SCRATCH_TEACHERS["dual"],
        },
        rows=at_rates(RATES, SCALES),
        baseline=f"alone, {RATES[0]:g}",
        quality="validation",
        answers="whether spikes, NaN or harm come at other learning rates and scales; one seed, small batches",
        seeds=range(1),
    )


def scratch(title: str, rows: tuple[Row, ...], answers: str, **changed: Any) -> Table:
    """Returns a table of ResNet-18-thin students from scratch on c40 of the synthetic faces."""
    standard = Table(title, SYNTH, "resnet18_thin", SCHEDULE, SCRATCH_TEACHERS, rows)
    return standard._replace(answers=answers, **changed)


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
    "ckd_negatives": scratch(
        "CKD's number of negatives",
        negatives(100, 1000),
        "CKD Fig. 4",
        settings={**SCHEDULE, "train.validation_interval": 100},
        baseline="alone, 100",
    ),
    "ckd_ensemble": scratch(
        "CKD from two teachers",
        ensembles(100, 1000),
        "CKD Table III",
        network="mobilenet_v2",
        settings={**SCHEDULE, "train.validation_interval": 100},
        teachers={
            "teacher": Teacher("efficientnet_lite0", {**SCHEDULE, **RAW}),
            "second": SCRATCH_TEACHERS["teacher"],
        },
        baseline="alone, 100",
    ),
    "add_networks": scratch(
        "ADD on other networks",
        on_networks((ALONE, ADD), *OTHER_NETWORKS),
        "ADD Table 3",
        teachers={name: Teacher(name, {**SCHEDULE, **RAW}) for name in OTHER_NETWORKS},
        baseline=f"alone, {OTHER_NETWORKS[0]}",
    ),
    "tokd_rotation": scratch(
        "The size of TOKD's rotation",
        (
            ALONE,
            *(
                TOKD._replace(name=f"TOKD d={size}", overrides={"method.rotation_size": size})
                for size in ROTATIONS
            ),
        ),
        "TOKD Table 5",
    ),
    "qad_networks": scratch(
        "QAD on other networks",
        on_networks((MIXTURE, qad("QAD")), *OTHER_NETWORKS),
        "QAD Table 5",
        quality="average",
        baseline=f"mixture, {OTHER_NETWORKS[0]}",
    ),
    "qad_sensitivity": scratch(
        "QAD's weights: HSIC's share and the perturbation's size",
        (
            MIXTURE,
            *(
                qad(f"QAD share {share:g}", **{"shares.collaboration": share})
                for share in QAD_SEARCHED
            ),
            *(qad(f"QAD gamma {gamma:g}", gamma=gamma) for gamma in (0.001, 0.004)),
        ),
        "QAD Fig. 3",
        quality="average",
        baseline="mixture",
    ),
    "search_qualities": scratch(
        "The search for QAD's default share, and its rivals'",
        (
            MIXTURE,
            *(
                qad(f"QAD share {share:g}", normalized=False, **{"shares.collaboration": share})
                for share in QAD_SEARCHED
            ),
            qad("QAD, CKA, share 0.02", normalized=True, estimator="biased"),
            qad("perturbation alone", collaboration="none", normalized=False),
            *searched_rivals(),
        ),
        "which form and share are the default: by validation AUC, with seeds that no other table has",
        quality="validation",
        baseline="mixture",
        seeds=SEARCH_SEEDS,
        budget="three shares of HSIC, as for every method and for each of QAD's rivals, one other form, and none",
    ),
    "search": scratch(
        "The search for default shares",
        searched(),
        "which shares are the defaults: by validation AUC, with seeds that no other table has",
        quality="validation",
        seeds=SEARCH_SEEDS,
        budget="three shares for every method",
    ),
    "search_ckd_synth": ckd_search(SYNTH),
    "search_ckd_photos": ckd_search(PHOTOS),
    "stability_resnet18_thin": stability("resnet18_thin"),
    "stability_mobilenet_v2": stability("mobilenet_v2"),
    "stability_efficientnet_lite0": stability("efficientnet_lite0", "imagenet"),
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
