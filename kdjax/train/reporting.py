"""The report of runs, with samples and spectra from the data set they were evaluated on."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kdjax import configs
from kdjax.checks import UserError
from kdjax.data_pipeline.dataset import Dataset, forgery_name
from kdjax.data_pipeline.loader import read_examples
from kdjax.evaluate.membership import is_sweep, read_membership
from kdjax.evaluate.report import write_report
from kdjax.evaluate.samples import Sample, pick_samples
from kdjax.evaluate.spectrum import SpectrumDifference, spectrum_difference
from kdjax.extensions import NOTHING, Extensions
from kdjax.train import checkpoint
from kdjax.train.costs import network_costs
from kdjax.train.data import open_data

SPECTRUM_IMAGES = 64
"""Images of each class whose spectra are averaged; more change the picture no more."""


def collect_samples(dataset: Dataset, split: str) -> list[Sample]:
    """Returns a few reals and fakes of every kind from a split."""
    labels = dataset.labels(split)
    picked = pick_samples(labels["label"], labels["forgery"])
    return [
        Sample(
            index=int(example["index"]),
            label=int(example["label"]),
            forgery=forgery_name(dataset.forgeries, int(example["forgery"])),
            images={quality: _bytes(image) for quality, image in example["image"].items()},
            mask=example.get("forgery_mask"),
        )
        for example in read_examples(dataset, split, [int(index) for index in picked])
    ]


def _bytes(image: np.ndarray) -> np.ndarray:
    return image if image.dtype == np.uint8 else np.round(image * 255).astype(np.uint8)


def measure_spectrum(dataset: Dataset, split: str) -> SpectrumDifference | None:
    """Returns what compression takes from the spectrum of real and of fake images; None without both qualities."""
    if not {"raw", "c40"} <= set(dataset.qualities):
        return None
    labels = dataset.labels(split)["label"]
    chosen = np.concatenate([np.flatnonzero(labels == kind)[:SPECTRUM_IMAGES] for kind in (0, 1)])
    examples = read_examples(dataset, split, chosen.tolist())
    return spectrum_difference(
        {
            "image": {
                quality: _bytes(example["image"][quality])[None] for quality in ("raw", "c40")
            },
            "label": example["label"][None],
        }
        for example in examples
    )


def report(
    runs: Sequence[Path],
    output: Path,
    *,
    split: str = "test",
    latency: bool = False,
    extensions: Extensions = NOTHING,
) -> Path:
    """Writes the HTML report of some runs, or of one sweep; when their data set is gone, without samples of it.

    Args:
      runs: folders of runs, or the one of a sweep.
      output: the HTML file.
      split: whose evaluation is shown.
      latency: time an image through each network on this machine.
      extensions: the user's own.

    Raises:
      UserError: for a sweep beside other folders, or what is no run.
    """
    membership = None
    if any(is_sweep(folder) for folder in runs):
        if len(runs) > 1:
            raise UserError("a sweep's folder is reported alone; name it, or some of its runs")
        membership = read_membership(runs[0])
        runs = list(membership.runs)
    samples: Sequence[Sample] = ()
    spectrum = None
    try:
        dataset = open_data(checkpoint.read_config(runs[0]), extensions)
        samples, spectrum = collect_samples(dataset, split), measure_spectrum(dataset, split)
    except UserError as error:
        print(f"the report has no samples: {error}", flush=True)
    return write_report(
        runs,
        output,
        split=split,
        samples=samples,
        spectrum=spectrum,
        defaults=lambda spec: configs.to_json(configs.load(spec)),
        membership=membership,
        costs=network_costs(runs, extensions, measure=latency),
    )
