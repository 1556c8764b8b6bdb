"""How fast exported detectors are, how large, how near to the run, and what 8 bits cost.

python benchmarks/exporting.py [RUN ...] [--networks resnet18_thin:64 mobilenet_v2:224] [--faces FOLDER]

Networks have weights as drawn, which cost what trained ones do; beside them, where it is installed, the same network in
PyTorch with the same weights. All take uint8 faces and give log-odds, in one process, in turn, with as many threads as
cores that it may use: on a busy machine, `taskset -c 0` and the processor's time say more than the clock. Of each RUN,
all its formats on its own test images. FOLDER holds images to compare the log-odds on; else they are noise.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

os.environ["JAX_PLATFORMS"] = "cpu"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from exporting_models import Model, images_of, make_forms
from harness import (
    RESULTS,
    Budget,
    Results,
    Rows,
    alternate,
    ratio,
    run_rows,
    significant,
    summary,
    usable_cores,
)

NETWORKS = ("resnet18_thin:64", "mobilenet_v2:224", "efficientnet_b0:224")
BATCHES = (1, 32)
CALLS = {1: 5, 32: 1}
"""Calls that are timed as one, by images: one of a single image is too short."""

WARM_UP = 2
"""Rounds that are not counted."""

CHECKED = 200
TOLERANCE = 1e-4
"""How far log-odds may be from those of the run, as a share of those beyond 1, or of the largest where none is."""

LOST = 0.5
"""Points of AUC that 8 bits may cost."""


def main() -> int:
    """Runs all rows; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", nargs="*", type=Path, help="finished runs, whose data are there")
    parser.add_argument("--networks", nargs="*", default=NETWORKS, metavar="NAME:SIZE")
    parser.add_argument("--faces", type=Path, help="folder of images")
    parser.add_argument(
        "--rounds", type=int, default=15, help="timed rounds (default 15; 0: no times)"
    )
    parser.add_argument("--budget", type=float, default=1800, help="seconds in all (default 1800)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the result file")
    arguments = parser.parse_args()
    results = Results(arguments.output / "cpu-exporting.json", "exported detectors on a CPU")
    rows: Rows = {}
    for given in arguments.networks:
        name, _, size = given.partition(":")
        rows[given] = partial(measure, name, int(size or 224), arguments.faces, arguments.rounds)
    rows |= {f"run {path.name}": partial(of_run, path, arguments.faces) for path in arguments.runs}
    run_rows(rows, results, Budget(arguments.budget))
    return bool(results.failures())


def measure(name: str, size: int, faces: Path | None, rounds: int) -> Mapping[str, Any]:
    """Returns latencies of a network's forms, their sizes and how near they are."""
    images = images_of(faces, CHECKED, size)
    forms, reference, sides = make_forms(name, size, images)
    row: dict[str, Any] = {
        "megabytes": {form: significant(each.size / 1e6) for form, each in forms.items()},
        "threads": usable_cores(),
        **sides,
    }
    row |= nearness(forms, reference, images)
    for batch in BATCHES if rounds else ():
        row |= latencies(forms, images[:batch], rounds)
    return row


def latencies(forms: Mapping[str, Model], images: np.ndarray, rounds: int) -> Mapping[str, Any]:
    """Returns what a call of each form takes, on the clock and of the processor, and ratios to the first form."""
    count = len(images)
    used: dict[str, list[float]] = {form: [] for form in forms}

    def work(form: str, model: Model) -> None:
        start = time.process_time()
        for _ in range(CALLS[count]):
            model.score(images)
        used[form].append(time.process_time() - start)

    works = {form: partial(work, form, model) for form, model in forms.items()}
    seconds = alternate(works, rounds, warm_up=WARM_UP)
    used = {form: found[WARM_UP:] for form, found in used.items()}
    row: dict[str, Any] = {}
    for what, found in (("ms", seconds), ("cpu ms", used)):
        row[f"{what}, {count} images"] = {
            form: summary([1000 * each / CALLS[count] for each in values])
            for form, values in found.items()
        }
        first, *others = found
        row[f"{what}, {count} images: ratio to {first}"] = {
            form: ratio(found[form], found[first]) for form in others
        }
    return row


def nearness(
    forms: Mapping[str, Model], reference: np.ndarray, images: np.ndarray
) -> Mapping[str, Any]:
    """Returns the largest difference of each form's log-odds from the network's own; 8 bits decide nothing."""
    found = {form: score_all(each, images) for form, each in forms.items()}
    # weights as drawn can make log-odds that are all next to 0
    least = min(1.0, float(np.abs(reference).max()))
    near = [
        (np.abs(values - reference) <= TOLERANCE * np.maximum(least, np.abs(reference))).all()
        for form, values in found.items()
        if form != "int8"
    ]
    return {
        "images": len(images),
        "largest log-odds": significant(float(np.abs(reference).max())),
        "largest difference": {
            form: significant(float(np.abs(values - reference).max()))
            for form, values in found.items()
        },
        "passed": bool(all(near)),
    }


def score_all(model: Model, images: np.ndarray) -> np.ndarray:
    """Returns log-odds, float64 `[N]`."""
    parts = [model.score(images[start : start + 32]) for start in range(0, len(images), 32)]
    return np.concatenate(parts).astype(np.float64)


def of_run(run: Path, faces: Path | None) -> Mapping[str, Any]:
    """Returns the AUC of a run's formats on its test images, and how near they are on the faces."""
    from kdjax.evaluate.curves import area_under_curve
    from kdjax.serve.export import export_run
    from kdjax.serve.exports import centre, load_export
    from kdjax.serve.runs import load_run
    from kdjax.train import checkpoint
    from kdjax.train.data import open_data

    with tempfile.TemporaryDirectory() as folder:
        made = export_run(run, Path(folder) / "export", formats=("stablehlo", "onnx", "int8"))
        forms = {
            form: Model(load_export(made.folder, format=form)[1], made.files[form]["bytes"])
            for form in made.files
        }
        spec, own, _ = load_run(run)
        images = centre(images_of(faces, CHECKED, spec.stored_size), spec.image_size)
        reference = score_all(Model(own, 0), images)
        dataset = open_data(checkpoint.read_config(run))
        tested, labels = test_images(dataset, spec.qualities)
        auc = {form: area_under_curve(score_all(m, tested), labels) for form, m in forms.items()}
    change = 100 * (auc["int8"] - auc["onnx"])
    near = nearness(forms, reference, images)
    return {
        "network": spec.network,
        "megabytes": {form: significant(each.size / 1e6) for form, each in forms.items()},
        **near,
        "test images": len(labels),
        "qualities": ",".join(spec.qualities),
        "AUC": {form: significant(value) for form, value in auc.items()},
        "points of AUC by 8 bits": round(change, 3),
        "passed": near["passed"] and abs(change) <= LOST,
    }


def test_images(dataset: Any, qualities: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Returns all test images in the qualities, uint8, and their labels."""
    from kdjax.data_pipeline.made import seen_batches

    images, labels = [], []
    for batch in seen_batches(dataset, qualities, split="test", batch_size=64):
        count = int(batch["mask"].sum())
        for quality in qualities:
            images.append(np.asarray(batch["image"][quality][:count]))
            labels.append(batch["label"][:count])
    return np.concatenate(images), np.concatenate(labels)


if __name__ == "__main__":
    sys.exit(main())
