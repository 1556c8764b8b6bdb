"""The report of runs, with samples and spectra from the data set they were evaluated on."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kdjax import configs
from kdjax.checks import UserError
from kdjax.data_pipeline.loader import Dataset, open_dataset, read_examples, read_labels
from kdjax.evaluate.membership import is_sweep, read_membership
from kdjax.evaluate.report import write_report
from kdjax.evaluate.samples import Sample, pick_samples
from kdjax.evaluate.spectrum import SpectrumDifference, spectrum_difference
from kdjax.train import checkpoint

SPECTRUM_IMAGES = 64
"""Images of each class whose spectra are averaged; more change the picture no more."""


def collect_samples(dataset: Dataset, split: str) -> list[Sample]:
    """Returns a few reals and fakes of every kind from a split."""
    labels = read_labels(dataset, split)
    picked = pick_samples(labels["label"], labels["forgery"])
    return [
        Sample(
            index=int(example["index"]),
            label=int(example["label"]),
            forgery=int(example["forgery"]),
            images=example["image"],
            mask=example["forgery_mask"],
        )
        for example in read_examples(dataset, split, [int(index) for index in picked])
    ]


def measure_spectrum(dataset: Dataset, split: str) -> SpectrumDifference:
    """Returns what compression takes from the spectrum of real and of fake images."""
    labels = read_labels(dataset, split)["label"]
    chosen = np.concatenate([np.flatnonzero(labels == kind)[:SPECTRUM_IMAGES] for kind in (0, 1)])
    examples = read_examples(dataset, split, chosen.tolist())
    return spectrum_difference(
        {
            "image": {quality: example["image"][quality][None] for quality in ("raw", "c40")},
            "label": example["label"][None],
        }
        for example in examples
    )


def report(runs: Sequence[Path], output: Path, *, split: str = "test") -> Path:
    """Writes the HTML report of some runs, or of one sweep; when their data set is gone, without samples of it.

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
        dataset = open_dataset(checkpoint.read_config(runs[0]).data.path)
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
    )
