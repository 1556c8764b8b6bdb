"""Temperature and threshold by validation data: what a score means, and from which on a face is called fake.

See 'On Calibration of Modern Neural Networks' by Guo et al. (ICML 2017) for the temperature.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import optimize, special, stats

from kdjax.checks import UserError, check_positive, check_same_batch
from kdjax.evaluate.curves import check_rate, has_both_classes
from kdjax.evaluate.statistics import CONFIDENCE, Interval, check_finite
from kdjax.files import read_json, write_json
from kdjax.folder import RunFolder

FORMAT = 2
LEAST = 2.0**-25
"""Probabilities are cut at this distance from 0 and 1, which float32 cannot tell from them."""

TEMPERATURES = (0.01, 100.0)
"""Between these a temperature is looked for."""


class NotFittedError(UserError):
    """A temperature cannot be fitted to these scores; a threshold can be chosen all the same."""


class Threshold(NamedTuple):
    """From where on something is called fake, and how often that is wrong of reals.

    Attributes:
      value: a calibrated probability; what scores above it is fake.
      wanted: the rate of false alarms that was asked for.
      reached: the rate on the validation data, at most `wanted`.
      low: of the 95 % interval of the rate, by `alarm_interval`.
      high: of the same.
      reals: how many reals that is known from, an image, or a video, in each quality one.
      videos: how many real videos they are of.
      detections: the share of fakes above it.
    """

    value: float
    wanted: float
    reached: float
    low: float
    high: float
    reals: int
    videos: int
    detections: float


class Calibration(NamedTuple):
    """What validation data say of a run's scores.

    Attributes:
      temperature: what logits are divided by; 1 where it could not be fitted.
      problem: why it could not, empty where it could.
      of_images: the threshold of a single image.
      of_videos: the threshold of a video's score, the mean of its images' calibrated probabilities.
      images: how many scores it is known from, an image in each quality one.
      videos: how many videos.
      qualities: which qualities were pooled.
      step: of the weights.
      data: a hash of what tells the data set from another.
    """

    temperature: float
    problem: str
    of_images: Threshold
    of_videos: Threshold
    images: int
    videos: int
    qualities: tuple[str, ...]
    step: int | None
    data: str


def logits_of(scores: npt.ArrayLike) -> np.ndarray:
    """Returns log-odds of probabilities, cut at about +-17.3, where float32 ends."""
    return special.logit(np.clip(np.asarray(scores, np.float64), LEAST, 1 - LEAST))


def calibrated(scores: npt.ArrayLike, temperature: float, *, logits: bool = False) -> np.ndarray:
    """Returns probabilities at a temperature, `sigmoid(logit(score) / temperature)`, float64.

    The order stays as it is; a temperature above 1 makes a detector that was too sure less so.

    Args:
      scores: float `[...]`, probability of fake.
      temperature: greater than 0.
      logits: scores are log-odds already.
    """
    check_positive("temperature", temperature)
    found = np.asarray(scores, np.float64) if logits else logits_of(scores)
    return special.expit(found / temperature)


def fit_temperature(scores: npt.ArrayLike, labels: npt.ArrayLike, *, logits: bool = False) -> float:
    """Returns the temperature of the least log loss, `argmin_T -mean log p(label | logit / T)`.

    The loss is convex in 1 / T, so there is one minimum at most.

    Args:
      scores: float `[N]`, probability of fake, of validation data.
      labels: int `[N]`, 0 real, 1 fake.
      logits: scores are log-odds already.

    Raises:
      UserError: where the data do not define one: of one class; all on the right side of 0.5, which would have T
        go to 0; or telling nothing of the class, which would have it go to infinity (`NotFittedError` of the last two).
    """
    found = np.asarray(scores, np.float64) if logits else logits_of(scores)
    check_finite(found)
    labels = np.asarray(labels)
    _check_classes(labels, "a temperature")
    margins = np.where(labels == 1, found, -found)
    if margins.sum() <= 0:
        raise NotFittedError(_USELESS)
    if (margins >= 0).all():
        raise NotFittedError(_SEPARATED)

    def loss(logarithm: float) -> float:
        return float(np.logaddexp(0, -margins * math.exp(-logarithm)).mean())

    bounds = tuple(map(math.log, TEMPERATURES))
    result = optimize.minimize_scalar(
        loss, bounds=bounds, method="bounded", options={"xatol": 1e-8}
    )
    temperature = math.exp(result.x)
    if min(abs(result.x - bound) for bound in bounds) < 1e-4:
        raise NotFittedError(_SEPARATED if temperature < 1 else _USELESS)
    return temperature


_SEPARATED = (
    "no temperature fits: all validation images, or nearly all, are on the right side of 0.5, so the best one would be "
    "0; validate on more images or on stronger compression"
)
_USELESS = (
    "no temperature fits: the validation scores say nothing of the class, so the best one would be infinite; "
    "train longer, or look whether labels are the wrong way round"
)


def _check_classes(labels: np.ndarray, what: str) -> None:
    if not has_both_classes(labels):
        missing = "fake" if (labels == 0).any() else "real"
        raise UserError(
            f"{what} takes reals and fakes: there is no {missing} image among the {labels.size} validation images; "
            "name a data set that has both, --data=FOLDER"
        )


def alarm_interval(alarms: npt.ArrayLike, videos: npt.ArrayLike) -> Interval:
    """Returns the share of alarms with a 95 % interval that holds however alike the scores of one video are.

    It is Clopper's and Pearson's of `share * n` alarms in n trials, `n = (sum_v m_v)^2 / sum_v m_v^2` with m_v
    scores of video v ('Survey Sampling' by Kish, 1965): of videos of one length n is their number, of one long video
    among short ones little more than 1. That is right where the scores of a video rise above a threshold all or none,
    and too wide the less they resemble each other. The threshold may be chosen by the same scores: the rate above the
    (k + 1)-th highest of n is distributed as Beta(k + 1, n - k), whose 97.5 % quantile is the upper bound.

    Args:
      alarms: bool `[N]`, of reals: whether each scored above the threshold.
      videos: int `[N]`, ids; one in all its qualities, and whatever else belongs together.
    """
    alarms = np.asarray(alarms, bool)
    _, members = np.unique(np.asarray(videos), return_inverse=True)
    sizes = np.bincount(members).astype(np.float64)
    trials = sizes.sum() ** 2 / (sizes @ sizes)
    share = float(alarms.mean())
    tail, hits = (1 - CONFIDENCE) / 2, share * trials
    low = stats.beta.ppf(tail, hits, trials - hits + 1) if share > 0 else 0.0
    high = stats.beta.ppf(1 - tail, hits + 1, trials - hits) if share < 1 else 1.0
    return Interval(share, float(low), float(high))


def choose_threshold(
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    false_alarms: float = 0.01,
    *,
    videos: npt.ArrayLike | None = None,
) -> Threshold:
    """Returns the lowest threshold with at most a rate of false alarms among reals.

    It lies half way between the highest real score that is not called fake and the next score above it.
    With fewer reals than `1 / false_alarms` none may lie above it.

    Args:
      scores: float `[N]`, the higher the more likely fake, of validation data.
      labels: int `[N]`, 0 real, 1 fake.
      false_alarms: the wanted rate, in (0, 1).
      videos: int `[N]`, what belongs together (`alarm_interval`); None: each score stands alone.

    Raises:
      UserError: for one class alone.
      ValueError: for a rate beyond, scores that are not finite, or another number of videos.
    """
    check_rate(false_alarms)
    scores, labels = np.asarray(scores, np.float64), np.asarray(labels)
    videos = np.arange(scores.size) if videos is None else np.asarray(videos)
    check_same_batch(scores=scores, labels=labels, videos=videos)
    check_finite(scores)
    _check_classes(labels, "a threshold")
    reals = np.sort(scores[labels == 0])[::-1]
    # a product such as 0.29 * 100 may lie a crumb below its integer
    allowed = min(int(false_alarms * reals.size + 1e-9), reals.size - 1)
    value = float(reals[allowed])
    above = scores[scores > value]
    if above.size:
        upper = float(above.min())
        middle = value + (upper - value) / 2
        value = middle if value < middle < upper else value
    of_reals = videos[labels == 0]
    return Threshold(
        value,
        float(false_alarms),
        *alarm_interval(scores[labels == 0] > value, of_reals),
        reals=int(reals.size),
        videos=len(np.unique(of_reals)),
        detections=float((scores[labels == 1] > value).mean()),
    )


def write_calibration(folder: RunFolder, calibration: Calibration) -> None:
    """Writes a run's `calibration.json`."""
    write_json(folder.calibration, {"format": FORMAT, **calibration_to_json(calibration)})


def calibration_to_json(calibration: Calibration) -> dict[str, Any]:
    """Returns a calibration as JSON values."""
    document = calibration._asdict()
    for name in ("of_images", "of_videos"):
        document[name] = document[name]._asdict()
    return document


def read_calibration(folder: RunFolder) -> Calibration | None:
    """Returns a run's calibration, None where it has none.

    Raises:
      UserError: for a file that is damaged or of a newer version.
    """
    if not folder.calibration.exists():
        return None
    found = read_json(folder.calibration, "a run that was calibrated")
    again = f"run `kdjax evaluate {folder} --calibrate` again"
    number = found.get("format") if isinstance(found, dict) else None
    if isinstance(number, int) and number > FORMAT:
        raise UserError(
            f"{folder.calibration} is of a newer version of kdjax; update it, or {again}"
        )
    if isinstance(number, int) and number < FORMAT:
        raise UserError(
            f"{folder.calibration} is of an older version of kdjax, which took images of a video as independent; "
            f"{again}"
        )
    try:
        return calibration_from_json(found)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{folder.calibration} is damaged ({type(error).__name__}); {again}"
        ) from error


def calibration_from_json(found: Any) -> Calibration:
    """Returns what `calibration_to_json` gave; KeyError, TypeError, ValueError or AttributeError of anything else."""
    calibration = Calibration(
        float(found["temperature"]),
        str(found["problem"]),
        _threshold(found["of_images"]),
        _threshold(found["of_videos"]),
        int(found["images"]),
        int(found["videos"]),
        tuple(map(str, found["qualities"])),
        None if found["step"] is None else int(found["step"]),
        str(found["data"]),
    )
    numbers = [calibration.temperature, *calibration.of_images, *calibration.of_videos]
    if not all(map(math.isfinite, numbers)) or not calibration.temperature > 0:
        raise ValueError("a number is not finite")
    return calibration


def _threshold(found: Any) -> Threshold:
    shares = {
        name: float(found[name]) for name in Threshold._fields if name not in ("reals", "videos")
    }
    return Threshold(**shares, reals=int(found["reals"]), videos=int(found["videos"]))
