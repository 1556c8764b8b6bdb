"""The user's own images and videos, real and fake, or real ones alone and forgeries made of them."""

import dataclasses
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from kdjax import checks
from kdjax.data_pipeline import faces
from kdjax.data_pipeline.builders import schema, sources
from kdjax.data_pipeline.builders.items import Task, process_item
from kdjax.data_pipeline.builders.options import FolderConfig
from kdjax.data_pipeline.builders.sources import Item
from kdjax.data_pipeline.work import Result
from kdjax.types import LABELS


class Folder(schema.FaceDataset):
    """Faces from the user's own images and videos, in three qualities."""

    VERSION = tfds.core.Version("1.0.0")
    CONFIG = FolderConfig

    def __init__(self, *, source: Path, output: Path, config: FolderConfig, **arguments: Any):
        faces.make_detector(config.detector)
        self._items = sources.scan(source, forge=config.forge, output=output)
        super().__init__(config=config, **arguments)

    def recorded_options(self) -> dict[str, Any]:
        """Returns the options; a detector's file by the hash of its bytes."""
        options = super().recorded_options()
        if options["detector"] != "hog":
            model = Path(options["detector"]).expanduser().read_bytes()
            options["detector"] = f"yunet {hashlib.sha256(model).hexdigest()[:16]}"
        return options

    def recorded_source(self) -> dict[str, Any]:
        """Returns the number of files, and a hash of their names and sizes."""
        return dict(sources.summary(self._items))

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        """Works through all items first: who goes where is decided among those that have a face."""
        tasks = [Task(item, self.builder_config) for item in self._items]
        keys = [sources.state_key(item) for item in self._items]
        usable = []
        results = self.work.run(process_item, tasks, keys=keys, description="faces")
        for item, result in zip(self._items, results, strict=True):
            self._account(item, result)
            if result["examples"]:
                usable.append(item)
        splits = self._splits(usable)
        numbers = {name: number for number, name in enumerate(sorted(splits))}
        return {
            split: self._generate_examples(
                [item for item in usable if splits[item.identity] == split], numbers
            )
            for split in schema.SPLITS
        }

    def _account(self, item: Item, result: Result) -> None:
        if result["reason"]:
            self.skipped.append({"item": item.name, "reason": result["reason"]})
            return
        codec, lossless = result["source"]["codec"], result["source"]["lossless"]
        known = self.codecs.setdefault(codec, {"items": 0, "lossless": 0})
        known["items"] += 1
        known["lossless"] += lossless
        if result["faceless"]:
            self.notes["frames_without_face"] = (
                self.notes.get("frames_without_face", 0) + result["faceless"]
            )

    def _splits(self, usable: list[Item]) -> dict[str, str]:
        """Splits people, those with the same classes among themselves, so that no split lacks one."""
        if not usable:
            reasons = sorted({entry["reason"] for entry in self.skipped})
            raise checks.UserError(f"no item of the source can be used: {'; '.join(reasons[:3])}")
        classes: dict[str, frozenset[int]] = {}
        for item in usable:
            made = {1} if self.builder_config.forge and item.label == 0 else set()
            classes[item.identity] = classes.get(item.identity, frozenset()) | {item.label} | made
        splits: dict[str, str] = {}
        for kind in set(classes.values()):
            alike = [identity for identity, found in classes.items() if found == kind]
            splits |= schema.assign_splits(
                alike, seed=self.builder_config.seed, fractions=self.builder_config.fractions()
            )
        for split in schema.SPLITS:
            present = {label for name in splits if splits[name] == split for label in classes[name]}
            for label in {0, 1} - present:
                raise checks.UserError(
                    f"{len(classes)} different people are too few: split {split!r} would have no "
                    f"{LABELS[label]} item; at least 3 of each class are needed"
                )
        return splits

    def _generate_examples(
        self, items: list[Item], identities: dict[str, int]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        tasks = [Task(item, self.builder_config) for item in items]
        keys = [sources.state_key(item) for item in items]
        videos = {item.name: 2 * number for number, item in enumerate(self._items)}
        kept = dataclasses.replace(self.work, workers=0, progress=False)
        for item, result in zip(items, kept.run(process_item, tasks, keys=keys), strict=True):
            for position, example in enumerate(result["examples"]):
                record = schema.encode_example(
                    {q: result[f"{position}/{q}"] for q in ("raw", *schema.QUALITY_FACTORS)},
                    result[f"{position}/mask"],
                    label=example["label"],
                    forgery=example["forgery"],
                    video=videos[item.name] + (example["forgery"] == "self_blended"),
                    identity=identities[item.identity],
                    frame=example["frame"],
                )
                yield f"{videos[item.name]:09d}_{position:06d}", record
