"""The papers' claims, what each is tested by, and what people read into the outcome.

Verdicts are computed (`verdict`); `reading` is written by hand once the runs are there. The papers' numbers stand
beside ours to be compared in kind: other data, networks and lengths made them.
"""

from evidence_settings import OTHER_NETWORKS, ROTATIONS, SHARES
from evidence_verdicts import Claim, Versus, above

C40 = ("c40_synth_scratch", "c40_photos_scratch", "c40_synth_imagenet", "c40_photos_imagenet")
QAD = ("all_qualities_synth", "all_qualities_photos")

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "kdjax",
        "No method harms a student at its defaults.",
        tuple(
            Versus(table, row, "alone", at_least=True)
            for table in C40
            for row in ("KD", "CKD", "ADD", "TOKD")
        ),
        "no paper claims it",
        "No method's mean is below, on either data set, from scratch or from ImageNet; where it is undecided, the "
        "intervals reach further below than the margin. The forms are not the papers' (docs/decisions.md): as printed, "
        "CKD was .02 and .07 below with two seeds on photographs.",
    ),
    *(
        Claim(
            paper,
            f"{method} is above a student alone on strongly compressed images.",
            tuple(Versus(table, method, "alone") for table in C40),
            numbers,
            reading,
        )
        for paper, method, numbers, reading in (
            (
                "CKD (Li et al. 2022)",
                "CKD",
                "Table I, few images, not c40: see the claims on few images",
                "Its mean is above on both data sets and from both starts, from scratch on photographs by both "
                "intervals but not after Holm's correction. It is so in the form with CRD's constant, chosen on "
                "validation images of both; nothing here tells the form from its larger share.",
            ),
            (
                "ADD (Le & Woo 2022)",
                "ADD",
                "Table 1, ResNet-50, c40, accuracy in %, alone and ADD: NeuralTextures 60.27, 68.53; DeepFakes "
                "92.89, 95.50; Face2Face 83.94, 85.42; FaceSwap 88.91, 92.49; FaceShifter 89.56, 91.64",
                "On photographs it is above from both starts, after Holm's correction over the four methods of a table "
                "too; on synthetic faces its mean is above from both, from scratch by both intervals but not after the "
                "correction. An ImageNet start leaves it less to add. Which of the two terms does it: see the claim "
                "on FR and MV.",
            ),
            (
                "TOKD (Zhou et al. 2023)",
                "TOKD",
                "Table 3, FF++ c40, accuracy in %, alone and TOKD: ResNet-18-thin 80.96, 82.45; ResNet-34-thin "
                "81.10, 82.94; Xception 82.47, 85.16",
                "From scratch on synthetic faces above by less than the test videos leave open, on photographs not "
                "above, though there its teacher is far better on raw images (see the table); from ImageNet its mean "
                "is above on both by less than is certain. From scratch on photographs the RGB branch's "
                "term has little gradient after a tenth of the run (.04 of the cross-entropy's, wanted .3); why is "
                "not known yet.",
            ),
        )
    ),
    Claim(
        "CKD (Li et al. 2022)",
        "With 1000 training images CKD is above a student alone (VT), KD and RKD.",
        above("ckd_few", "CKD, 1000", "alone, 1000", "KD, 1000", "RKD, 1000"),
        "Tables I and II, Xception to Xception, accuracy of VT, KD, RKD, CKD: NeuralTextures .835, .870, .850, "
        ".869; Face2Face .943, .952, .923, .964; Celeb-DF .825, .830, .825, .866",
    ),
    Claim(
        "CKD (Li et al. 2022)",
        "With 100 training images CKD is above a student alone (VT), KD and RKD.",
        above("ckd_few", "CKD, 100", "alone, 100", "KD, 100", "RKD, 100"),
        "Tables I and II, Xception to Xception, accuracy of VT, KD, RKD, CKD: NeuralTextures .634, .644, .644, "
        ".678; Face2Face .821, .828, .82, .839; Celeb-DF .702, .713, .735, .760",
    ),
    Claim(
        "ADD (Le & Woo 2022)",
        "ADD is above FitNet, attention transfer and non-local distillation on c40 (and above KD, which the "
        "paper does not have).",
        above("add_c40", "ADD", "alone", "KD", "FitNet", "AT", "NL"),
        "Table 1, ResNet-50, c40, accuracy in % of alone, FitNet, AT, NL, ADD: NeuralTextures 60.27, 66.01, "
        "62.61, 65.65, 68.53; Face2Face 83.94, 83.48, 83.55, 83.69, 85.42",
    ),
    Claim(
        "ADD (Le & Woo 2022)",
        "Frequency attention and multi-view attention together are at least as good as either.",
        above("add_c40", "ADD", "ADD, FR", "ADD, MV", at_least=True),
        "Table 2, NeuralTextures c40, accuracy in %: alone 60.27, FR 67.03, MV 68.14, both 68.53",
    ),
    Claim(
        "ADD (Le & Woo 2022)",
        "ADD depends little on its weights and is nearly always above the student alone.",
        tuple(
            Versus("add_sensitivity", row, "alone", at_least=True)
            for row in (f"{term} share {share:g}" for term in ("FR", "MV") for share in SHARES)
        ),
        "Fig. 5 of the supplement, curves without numbers",
    ),
    Claim(
        "TOKD (Zhou et al. 2023)",
        "TOKD from both branches is above TOKD from the RGB branch alone.",
        above("tokd_branches", "TOKD, both", "TOKD, RGB"),
        "Table 3, FF++ c40, accuracy in %, RGB and both: ResNet-18-thin 81.67, 82.45; ResNet-34-thin 82.32, "
        "82.94; Xception 83.76, 85.16",
    ),
    Claim(
        "TOKD (Zhou et al. 2023)",
        "Other losses lose by learning from both branches.",
        tuple(
            Versus("tokd_branches", f"{loss}, RGB", f"{loss}, both")
            for loss in ("FitNet", "AT", "SP")
        ),
        "Table 3, ResNet-18-thin, FF++ c40, accuracy in %, RGB and both: FitNet 82.46, 82.23; AT 81.45, 81.26; "
        "SP 81.41, 81.16",
    ),
    Claim(
        "TOKD (Zhou et al. 2023)",
        "The rotations make the difference: with them it is above, and the branches' gradients agree better.",
        (
            Versus("tokd_branches", "TOKD, both", "TOKD, no rotation"),
            Versus(
                "tokd_branches",
                "TOKD, both",
                "TOKD, both",
                logged=("gradient_cosine/after", "gradient_cosine/before"),
            ),
        ),
        "Table 6, Xception, FF++ c40, accuracy in %: without rotation 82.70, with 85.16. Fig. 4: a cosine of "
        "about -0.2 without rotation, above with it",
    ),
    Claim(
        "QAD (Le & Woo 2023)",
        "QAD is above one network trained on the mixture of qualities.",
        tuple(Versus(table, "QAD", "mixture") for table in QAD),
        "Table 4, ResNet-50, AUC in %: 88.2, QAD 91.3. Table 5, ResNet-18, mean of seven data sets: 96.89, 97.75",
    ),
    Claim(
        "QAD (Le & Woo 2023)",
        "One QAD network is on average at least as good as three that each know their quality.",
        tuple(Versus(table, "QAD", "three networks", at_least=True) for table in QAD),
        "Table 3, mean AUC in % of three qualities and seven data sets: three ResNet-50 96.90, QAD 97.18",
    ),
    Claim(
        "QAD (Le & Woo 2023)",
        "HSIC is above the other collaborative losses.",
        tuple(
            versus
            for table in QAD
            for versus in above(table, "HSIC alone", "soft label", "pairwise", "centre")
        ),
        "Table 4, ResNet-50, AUC in %: soft label 84.0, pairwise 89.1, centre 88.9, HSIC 90.1",
    ),
    Claim(
        "QAD (Le & Woo 2023)",
        "The adversarial perturbation by itself is above the mixture.",
        tuple(Versus(table, "perturbation alone", "mixture") for table in QAD),
        "Table 4, ResNet-50, AUC in %: baseline 88.2, AWP-XE 90.7",
    ),
    Claim(
        "CKD (Li et al. 2022)",
        "From two teachers of different architectures CKD is above CKD from one.",
        tuple(
            Versus("ckd_ensemble", f"CKD, two teachers, {volume}", f"CKD, one teacher, {volume}")
            for volume in (100, 1000)
        ),
        "Table III, Celeb-DF, MobileNet, accuracy from EfficientNet, and from Xception and EfficientNet: 1000 images "
        ".852, .865; 100 images .775, .794",
    ),
    Claim(
        "CKD (Li et al. 2022)",
        "More than 32 negatives bring little.",
        tuple(
            Versus("ckd_negatives", f"CKD K=32, {volume}", f"CKD K=128, {volume}", at_least=True)
            for volume in (100, 1000)
        ),
        "Fig. 4, curves without numbers",
    ),
    Claim(
        "ADD (Le & Woo 2022)",
        "ADD helps other networks too.",
        tuple(
            Versus("add_networks", f"ADD, {network}", f"alone, {network}")
            for network in OTHER_NETWORKS
        ),
        "Table 3, c40, accuracy in %, mean of five forgeries, alone and ADD: ResNet-18 83.0, 86.2; ResNet-34 82.6, "
        "84.7; EfficientNet-B0 79.1, 82.6",
    ),
    Claim(
        "TOKD (Zhou et al. 2023)",
        "Rotations of some size, neither the smallest nor the largest, are best.",
        tuple(
            Versus("tokd_rotation", f"TOKD d={ROTATIONS[1]}", f"TOKD d={size}")
            for size in (ROTATIONS[0], ROTATIONS[2])
        ),
        "Table 5, ResNet-18-thin, FF++ c40, accuracy in % at d = 128, 256, 512, 1024, 2048: 80.28, 80.36, 81.90, "
        "82.94, 80.44",
    ),
    Claim(
        "QAD (Le & Woo 2023)",
        "QAD helps other networks too.",
        tuple(
            Versus("qad_networks", f"QAD, {network}", f"mixture, {network}")
            for network in OTHER_NETWORKS
        ),
        "Table 5, AUC in %, mean of seven data sets, mixture and QAD: ResNet-18 96.89, 97.75; ResNet-34 96.91, "
        "98.07; EfficientNet-B0 96.65, 97.95",
    ),
    Claim(
        "QAD (Le & Woo 2023)",
        "QAD depends little on its weights and is nearly always above the mixture.",
        tuple(
            Versus("qad_sensitivity", f"QAD {row}", "mixture", at_least=True)
            for row in ("share 0.005", "share 0.02", "share 0.1", "gamma 0.001", "gamma 0.004")
        ),
        "Fig. 3, curves without numbers",
    ),
)
