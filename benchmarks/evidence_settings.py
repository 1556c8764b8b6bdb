"""What the tables of the evidence share: data sets, budgets, schedules, teachers, and the values that are tried."""

from evidence_types import Settings, Teacher

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
