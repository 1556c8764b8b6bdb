"""Which training examples a run uses, and how often each is drawn."""

import numpy as np
from ml_collections import ConfigDict

from kdjax.data_pipeline.dataset import Dataset
from kdjax.data_pipeline.mixture import Mixture
from kdjax.data_pipeline.sampling import Group, make_groups
from kdjax.data_pipeline.subsets import choose_subset


def training_indices(config: ConfigDict, dataset: Dataset) -> np.ndarray | None:
    """Returns the places of the training images in use, or None for all of them."""
    if not config.data.subset:
        return None
    found = dataset.labels("train")
    return choose_subset(
        found["label"],
        found["identity"],
        size=config.data.subset,
        seed=config.data.subset_seed,
    )


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
