"""The models and weights of an export, made and held beside the run's own outputs."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from kdjax.checks import UserError
from kdjax.data_pipeline import augment, made
from kdjax.data_pipeline.dataset import Dataset
from kdjax.evaluate.curves import area_under_curve, has_both_classes
from kdjax.extensions import Extensions
from kdjax.methods import Network
from kdjax.methods.base import normalize
from kdjax.serve.exports import centre, from_onnx, from_stablehlo, scorer
from kdjax.serve.spec import Scorer, Spec
from kdjax.serve.stablehlo import score_function, to_stablehlo
from kdjax.serve.weights import Namesake, namesake, own_tensors, to_safetensors, torch_tensors
from kdjax.train import checkpoint
from kdjax.train.data import open_data
from kdjax.train.examples import kept_indices
from kdjax.types import PyTree

SPLIT = "validation"

CHECKED = 200
"""Images that a model's log-odds are held beside the run's on."""

CALIBRATED = 128
"""Images in each quality that the ranges of 8-bit maps are taken from."""

TOLERANCE = 1e-4
"""How far log-odds may be from the run's own, as a share of those beyond 1."""

ROUNDINGS = 3
"""Or by so many times the distance of the run's own from those in double precision."""

BATCH = 32


class Held(NamedTuple):
    """Validation images of a run, at some places of the split (None: all), without the forgeries that it left out."""

    dataset: Dataset
    indices: np.ndarray | None

    @property
    def labels(self) -> np.ndarray:
        """Their labels, int `[N]`."""
        labels = self.dataset.labels(SPLIT)["label"]
        return labels if self.indices is None else labels[self.indices]


class Models(NamedTuple):
    """What an export is made of.

    Attributes:
      files: content by format.
      names: files' names that depend on the network.
      said: what `export.json` tells of each.
      preprocessing: mean and deviation that the weights expect.
      notes: sentences for the card and the user, without a path.
      same: the same network in PyTorch.
    """

    files: dict[str, bytes]
    names: dict[str, str]
    said: dict[str, dict[str, Any]]
    preprocessing: dict[str, Any]
    notes: tuple[str, ...]
    same: Namesake | None


def make_models(
    run: str | Path, formats: tuple[str, ...], spec: Spec, *, limit: int, extensions: Extensions
) -> Models:
    """Returns what the formats ask for.

    Raises:
      UserError: when a model computes something else than the run, or `int8` has no validation data.
    """
    config = checkpoint.read_config(run)
    network, variables, _ = checkpoint.load_best(run, dtype="float32", extensions=extensions)
    score = score_function(network, variables)
    held, problem = _validation(config, extensions)
    if "int8" in formats and held is None:
        raise UserError(f"--format=int8 takes validation images, and {problem}")
    size = spec.image_size
    images = _checked_images(held, spec)
    expected = reference(network, variables, size)(images)

    def rounded() -> float:
        return rounding(network, variables, size, images)

    files: dict[str, bytes] = {}
    said: dict[str, dict[str, Any]] = {}
    names: dict[str, str] = {}
    if "stablehlo" in formats:
        files["stablehlo"] = to_stablehlo(score, size)
        run_it = scorer(from_stablehlo(files["stablehlo"]), size, padded=True)
        said["stablehlo"] = {"difference": _compare("stablehlo", run_it(images), expected, rounded)}
    if "onnx" in formats:
        from kdjax.serve.onnx_export import to_onnx

        files["onnx"] = to_onnx(score, size, _properties(spec))
        run_it = scorer(from_onnx(files["onnx"]), size)
        said["onnx"] = {"difference": _compare("onnx", run_it(images), expected, rounded)}
    notes = (
        []
        if held is not None
        else ["the exports were checked on noise: the run's validation images were not there"]
    )
    if "int8" in formats and held is not None:
        files["int8"], said["int8"], aucs = _quantised(files["onnx"], held, spec, limit)
        said["onnx"]["auc"] = aucs[0]
        said["int8"]["difference"] = float(
            np.abs(scorer(from_onnx(files["int8"]), size)(images) - expected).max()
        )
        notes.append(
            f"in 8 bits the AUC on {said['int8']['images']} validation scores is {aucs[1]:.4f}, in float32 "
            f"{aucs[0]:.4f}: a change of {100 * (aucs[1] - aucs[0]):+.2f} points"
        )
    same = None
    if "weights" in formats:
        facts = {
            "network": spec.network,
            "layout": config.student.layout,
            "width": config.student.width,
        }
        files["weights"] = to_safetensors(own_tensors(variables), {**facts, "format": "kdjax"})
        same = namesake(spec.network, config.student.layout, config.student.width)
        if same is not None:
            tensors = torch_tensors(spec.network, same.library, variables)
            files["torch"] = to_safetensors(tensors, {"format": "pt", "create": same.create})
            names["torch"] = f"weights.{same.library}.safetensors"
            said["torch"] = {
                "create": same.create,
                "mean": list(network.mean),
                "std": list(network.std),
            }
    if config.student.dtype != "float32":
        notes.append(f"the run computes in {config.student.dtype}, its exports in float32")
    return Models(
        files,
        names,
        said,
        {"mean": list(network.mean), "std": list(network.std), "scale": 255, "crop": "centre"},
        tuple(notes),
        same,
    )


def _properties(spec: Spec) -> dict[str, str]:
    found = {"labels": ",".join(spec.labels), "network": spec.network, "licence": spec.licence}
    if spec.calibration is not None:
        found["temperature"] = repr(spec.calibration.temperature)
        found["threshold"] = repr(spec.calibration.of_images.value)
    return found


def reference(network: Network, variables: PyTree, size: int) -> Scorer:
    """Returns the log-odds as a run's own evaluation computes them, with the weights as arguments."""

    @jax.jit
    def logits(variables: PyTree, images: jax.Array) -> jax.Array:
        seen = augment.to_float(augment.center_crop(images, size))
        return network.module.apply(variables, normalize(network, seen), train=False).logits

    def run(images: np.ndarray) -> np.ndarray:
        parts = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
        found = np.concatenate([np.asarray(logits(variables, part), np.float64) for part in parts])
        return found[:, 1] - found[:, 0]

    return run


def rounding(network: Network, variables: PyTree, size: int, images: np.ndarray) -> float:
    """Returns how far the run's own log-odds are from those in double precision, at most."""
    with jax.enable_x64(True):
        double = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables)
        seen = normalize(network, jax.numpy.asarray(centre(images, size) / 255))
        logits = np.asarray(network.module.apply(double, seen, train=False).logits)
    found = reference(network, variables, size)(images)
    return float(np.abs(found - (logits[:, 1] - logits[:, 0])).max())


def _compare(
    name: str, found: np.ndarray, expected: np.ndarray, rounded: Callable[[], float]
) -> float:
    """Returns the largest difference; UserError when it is more than the tolerance and than rounding explains."""
    difference = np.abs(found - expected)
    near = difference <= TOLERANCE * np.maximum(1, np.abs(expected))
    if not near.all() and not difference.max() <= ROUNDINGS * rounded():
        raise UserError(
            f"the exported {name} computes other log-odds than the run, by up to {difference.max():.1e}; nothing was "
            "written, please report it with the run's config.json"
        )
    return float(difference.max())


def _validation(config: ConfigDict, extensions: Extensions) -> tuple[Held | None, str]:
    """Returns the run's validation images, and else why there are none."""
    try:
        dataset = open_data(config, extensions)
    except UserError as error:
        return None, str(error)
    if not dataset.sizes.get(SPLIT):
        return None, f"{dataset.where} has no {SPLIT} split"
    return Held(dataset, kept_indices(config, dataset, SPLIT)), ""


def _checked_images(held: Held | None, spec: Spec) -> np.ndarray:
    """Returns about `CHECKED` images, of all the qualities; noise where there is no data."""
    if held is None:
        shape = (CHECKED, spec.image_size, spec.image_size, 3)
        return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    limit = max(1, CHECKED // len(spec.qualities))
    found = [images for images, *_ in _batches(held, spec, limit)]
    return np.concatenate(found)


def _batches(
    held: Held, spec: Spec, limit: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yields images of one quality, uint8, with their labels and places in the split."""
    options: dict[str, Any] = {"split": SPLIT, "batch_size": BATCH, "limit": limit}
    for batch in made.seen_batches(held.dataset, spec.qualities, indices=held.indices, **options):
        count = int(batch["mask"].sum())
        for quality in spec.qualities:
            images = np.asarray(batch["image"][quality][:count])
            if images.dtype != np.uint8:
                images = np.round(255 * images).astype(np.uint8)
            yield images, batch["label"][:count], batch["index"][:count]


def _quantised(
    model: bytes, held: Held, spec: Spec, limit: int
) -> tuple[bytes, dict[str, Any], tuple[float, float]]:
    """Returns the model in 8 bits, what is said of it, and the AUC before and after.

    The images that ranges are taken from are not among those that the AUC is of, where others have both classes.
    """
    from kdjax.serve.quantise import to_int8

    if not has_both_classes(held.labels):
        raise UserError(
            f"--format=int8 compares the AUC, which takes both classes; the {SPLIT} images of {held.dataset.where} "
            "have one"
        )
    seen: list[np.ndarray] = []
    wanted = min(CALIBRATED, max(1, len(held.labels) // 4))

    def images() -> Iterator[np.ndarray]:
        for batch, _, index in _batches(held, spec, wanted):
            seen.append(index)
            yield centre(batch, spec.image_size)

    quantised = to_int8(model, images())
    used = np.unique(np.concatenate(seen))
    scorers = [scorer(from_onnx(each), spec.image_size) for each in (model, quantised)]
    rows = [
        (*(run(batch) for run in scorers), labels, np.isin(index, used))
        for batch, labels, index in _batches(held, spec, limit)
    ]
    before, after, labels, known = (np.concatenate(column) for column in zip(*rows, strict=True))
    fresh = ~known if has_both_classes(labels[~known]) else np.ones(len(known), bool)
    aucs = tuple(area_under_curve(each[fresh], labels[fresh]) for each in (before, after))
    said = {"auc": aucs[1], "images": int(fresh.sum()), "calibrated_on": len(used)}
    return quantised, said, (aucs[0], aucs[1])
