"""Data: media in, aligned qualities of each face out, stored as ArrayRecord and read with Grain."""

from typing import TYPE_CHECKING

from kdjax.lazy import lazily

if TYPE_CHECKING:
    from kdjax.data_pipeline import augmentations as augmentations
    from kdjax.data_pipeline import jpeg as jpeg
    from kdjax.data_pipeline.augment import check_images as check_images
    from kdjax.data_pipeline.augment import make_augment as make_augment
    from kdjax.data_pipeline.dataset import Dataset as Dataset
    from kdjax.data_pipeline.loader import evaluation_batches as evaluation_batches
    from kdjax.data_pipeline.loader import training_batches as training_batches
    from kdjax.data_pipeline.manifest import checksum as checksum
    from kdjax.data_pipeline.mixture import Mixture as Mixture
    from kdjax.data_pipeline.own import Sources as Sources
    from kdjax.data_pipeline.prepared import PreparedDataset as PreparedDataset
    from kdjax.data_pipeline.prepared import open_dataset as open_dataset
    from kdjax.data_pipeline.subsets import choose_subset as choose_subset

PLACES = {
    "Dataset": "dataset",
    "Mixture": "mixture",
    "PreparedDataset": "prepared",
    "Sources": "own",
    "augmentations": "",
    "check_images": "augment",
    "checksum": "manifest",
    "choose_subset": "subsets",
    "evaluation_batches": "loader",
    "jpeg": "",
    "make_augment": "augment",
    "open_dataset": "prepared",
    "training_batches": "loader",
}
"""The module of each public name."""

__all__ = list(PLACES)

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazily(__name__, PLACES)
