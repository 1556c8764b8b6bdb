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
    RIVAL_BEST,
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
    rival,
    searched,
    searched_rivals,
)
from evidence_settings import (
    IMAGENET,
    IMAGENET_TEACHERS,
    OTHER_NETWORKS,
    PHOTO_TEACHERS,
    PHOTOS,
    QAD_SEARCHED,
    RATES,
    RAW,
    ROTATIONS,
    SCALES,
    SCHEDULE,
    SCRATCH_TEACHERS,
    SEARCH_SEEDS,
    SHARES,
    SYNTH,
)
from evidence_types import ALL_QUALITIES, Row, Table, Teacher


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
            *(rival(name, share) for name, share in RIVAL_BEST.items()),
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
