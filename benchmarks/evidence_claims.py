"""The papers' claims, what each is tested by, and what people read into the outcome.

Verdicts are computed (`verdict`); `reading` is written by hand once the runs are there. The papers' numbers stand
beside ours to be compared in kind: other data, networks and lengths made them.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from evidence_analysis import Analysis
from evidence_tables import SHARES

from kdjax.evaluate.statistics import Comparison

MARGIN = 0.01
"""AUC that a row may be below another and still count as at least as good."""

AGREES, AGAINST, UNDECIDED = "agrees", "does not agree", "undecided"


class Versus(NamedTuple):
    """One comparison of a claim.

    Attributes:
      table: where both rows are.
      better: the row that should be above.
      worse: the row that should be below.
      at_least: whether not being below by more than `MARGIN` is enough.
      logged: names of what the two rows log, compared at the runs' ends; empty: the table's AUC.
    """

    table: str
    better: str
    worse: str
    at_least: bool = False
    logged: tuple[str, str] | tuple[()] = ()


class Claim(NamedTuple):
    """A claim of a paper.

    Attributes:
      paper: whose.
      text: what it claims.
      versus: what is compared.
      numbers: the paper's own numbers and where they stand.
      reading: why we think it came out as it did.
    """

    paper: str
    text: str
    versus: tuple[Versus, ...]
    numbers: str
    reading: str = ""


def compare(versus: Versus, analyses: Mapping[str, Analysis]) -> Comparison | None:
    """Returns the comparison; None when no seed has both rows."""
    analysis = analyses[versus.table]
    if not versus.logged:
        return analysis.compare(versus.better, versus.worse)
    sides = zip((versus.better, versus.worse), versus.logged, strict=True)
    return analysis.compare_logged(*sides)


def verdict(versus: Versus, analyses: Mapping[str, Analysis]) -> str:
    """Returns one of the three, with `n of m runs` where some are missing."""
    done, wanted = analyses[versus.table].count((versus.better, versus.worse))
    if done < wanted:
        return f"{UNDECIDED}: {done} of {wanted} runs"
    comparison = compare(versus, analyses)
    if comparison is None:
        return f"{UNDECIDED}: the runs failed"
    if comparison.seeds < analyses[versus.table].wanted:
        return f"{UNDECIDED}: {comparison.seeds} seeds have both, the others failed"
    lows = (comparison.bootstrap.low, comparison.over_seeds.low)
    if comparison.sign > 0 or (versus.at_least and min(lows) > -MARGIN):
        return AGREES
    return AGAINST if comparison.sign < 0 else UNDECIDED


def overall(verdicts: Sequence[str]) -> str:
    """Returns the verdict on a claim of several comparisons: one word where they are of one mind."""
    kinds = [text.partition(":")[0] for text in verdicts]
    if len(set(kinds)) == 1:
        return kinds[0]
    return ", ".join(f"{kind} in {kinds.count(kind)}" for kind in dict.fromkeys(kinds)) + (
        f" of {len(kinds)} comparisons"
    )


def above(table: str, better: str, *others: str, at_least: bool = False) -> tuple[Versus, ...]:
    """Returns one row against several."""
    return tuple(Versus(table, better, other, at_least) for other in others)


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
    ),
    *(
        Claim(
            paper,
            f"{method} is above a student alone on strongly compressed images.",
            tuple(Versus(table, method, "alone") for table in C40),
            numbers,
        )
        for paper, method, numbers in (
            (
                "CKD (Li et al. 2022)",
                "CKD",
                "Table I, few images, not c40: see the claims on few images",
            ),
            (
                "ADD (Le & Woo 2022)",
                "ADD",
                "Table 1, ResNet-50, c40, accuracy in %, alone and ADD: NeuralTextures 60.27, 68.53; DeepFakes "
                "92.89, 95.50; Face2Face 83.94, 85.42; FaceSwap 88.91, 92.49; FaceShifter 89.56, 91.64",
            ),
            (
                "TOKD (Zhou et al. 2023)",
                "TOKD",
                "Table 3, FF++ c40, accuracy in %, alone and TOKD: ResNet-18-thin 80.96, 82.45; ResNet-34-thin "
                "81.10, 82.94; Xception 82.47, 85.16",
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
)
