"""Which examples a run trains and is validated on, and how often each is drawn."""

from typing import Any

import numpy as np
from ml_collections import ConfigDict

from kdjax.checks import UserError, nearest
from kdjax.data_pipeline import manifest
from kdjax.data_pipeline.dataset import Dataset, forgery_name
from kdjax.data_pipeline.mixture import Mixture
from kdjax.data_pipeline.sampling import Group, make_groups
from kdjax.data_pipeline.subsets import choose_subset


def training_indices(config: ConfigDict, dataset: Dataset) -> np.ndarray | None:
    """Returns the places of the training images in use, or None for all of them."""
    kept = kept_indices(config, dataset, "train")
    if not config.data.subset:
        return kept
    found = dataset.labels("train")
    rows = np.arange(len(found["label"])) if kept is None else kept
    chosen = choose_subset(
        found["label"][rows],
        found["identity"][rows],
        size=config.data.subset,
        seed=config.data.subset_seed,
    )
    return rows[chosen]


def kept_indices(config: ConfigDict, dataset: Dataset, split: str) -> np.ndarray | None:
    """Returns the places of a split's images of no forgery that `data.leave_out` names, or None for all of them.

    Raises:
      UserError: for a name that is no kind of forgery of the data set, or where no fake is left.
    """
    if not config.data.leave_out:
        return None
    names = dataset.forgeries
    for name in config.data.leave_out:
        if name not in names[1:]:
            raise UserError(f"data.leave_out names {name!r}; {nearest(name, names[1:])}")
    ids = dataset.labels(split)
    left = [names.index(name) for name in config.data.leave_out]
    fake = ids["label"] == 1
    kept = ~(fake & np.isin(ids["forgery"], left))
    if fake.any() and not (fake & kept).any():
        raise UserError(
            f"data.leave_out={','.join(config.data.leave_out)} leaves no fake in split {split!r} of {dataset.where}; "
            "leave fewer kinds of forgery out"
        )
    return np.flatnonzero(kept)


def training_facts(dataset: Dataset, indices: np.ndarray | None) -> dict[str, Any]:
    """Returns how many images of how many a run trains on, and the fakes among them by kind, as JSON."""
    size = dataset.sizes["train"]
    if indices is None:
        return {"images": size, "of": size, "fakes": manifest.forgery_counts(dataset, "train")}
    ids = dataset.labels("train")
    kinds = ids["forgery"][indices][ids["label"][indices] == 1]
    return {
        "images": len(indices),
        "of": size,
        "fakes": {
            forgery_name(dataset.forgeries, kind): int(count)
            for kind, count in zip(*np.unique(kinds, return_counts=True), strict=True)
        },
    }


def training_groups(
    config: ConfigDict, dataset: Dataset, indices: np.ndarray | None
) -> list[Group] | None:
    """Returns how often which training images are drawn, or None where each is drawn once an epoch."""
    weights = config.data.weights if any(config.data.weights) else ()
    if config.data.balance == "none" and not weights:
        return None
    ids = dataset.labels("train")
    single = np.zeros(len(ids["label"]), int)
    return make_groups(
        ids["label"],
        ids["forgery"],
        dataset.parts("train") if isinstance(dataset, Mixture) else single,
        balance=config.data.balance,
        weights=weights,
        indices=indices,
    )
