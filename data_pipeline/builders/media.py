"""Data sets made of images and videos: of the user's own, and of those that labs distribute."""

import dataclasses
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from kdjax import checks
from kdjax.data_pipeline import faces, landmarks, splits
from kdjax.data_pipeline.builders import schema
from kdjax.data_pipeline.builders.items import (
    Task,
    content_of,
    lost_item,
    process_item,
    seconds_for,
)
from kdjax.data_pipeline.builders.options import MediaConfig, TreeConfig
from kdjax.data_pipeline.estimate import estimate
from kdjax.data_pipeline.results import Result
from kdjax.data_pipeline.trees import item
from kdjax.data_pipeline.trees.item import Item
from kdjax.types import FORGERIES, QUALITIES


class MediaDataset(schema.FaceDataset, skip_registration=True):  # type: ignore[call-arg]
    """Faces of a tree of images and videos.

    A subclass names the module of its `TREE`, whose `scan(source, output, **CONFIG.scan_options())` returns a `Tree`.
    """

    VERSION = tfds.core.Version("1.0.0")
    CONFIG: ClassVar[type[MediaConfig]] = TreeConfig
    TREE: Any = None

    def __init__(self, *, source: Path, output: Path, config: MediaConfig, **arguments: Any):
        faces.make_detector(config.detector)
        if config.landmarks not in ("", landmarks.GIVEN):
            landmarks.make_landmarks(config.landmarks)
        self._tree = self.TREE.scan(source, output, **config.scan_options())
        self._qualities = _stored(self._tree.items, config)
        if config.landmarks == landmarks.GIVEN and not any(e.landmarks for e in self._tree.items):
            raise checks.UserError(
                f"landmarks=given, but no folder of landmarks lies beside frames below {source}, as DeepfakeBench "
                "has them"
            )
        super().__init__(config=config, **arguments)
        self.skipped += self._tree.skipped
        self.items = len(self._tree.items) + len(self._tree.skipped)
        if isinstance(config, TreeConfig):
            self._leave_out_incomplete(reencode=config.reencode)
        self.notes |= self._tree.notes

    def qualities(self) -> tuple[str, ...]:
        """Returns the names of the qualities that are stored."""
        return self._qualities

    def forgeries(self) -> tuple[str, ...]:
        """Returns the names of the kinds of forgery."""
        return self._tree.forgeries

    def made_from(self) -> dict[str, str]:
        """Returns what each quality is made from."""
        found = {}
        for quality in self._qualities:
            best = Counter(next(iter(e.files)) for e in self._tree.items if quality not in e.files)
            made = [
                f"{name} by H.264, crf {schema.QUALITY_FACTORS.get(quality)}"
                + (f" (of {count} items)" if count < len(self._tree.items) else "")
                for name, count in sorted(best.items())
            ]
            own = ["the source"] if best.total() < len(self._tree.items) else []
            found[quality] = "; ".join(own + made)
        return found

    def prospect(self) -> list[str]:
        """Returns lines that say, before the work, what it will take."""
        return estimate(
            self._tree.items,
            self.builder_config,
            self._qualities,
            self.work.workers,
            Path(self.data_dir),
        )

    def recorded_options(self) -> dict[str, Any]:
        """Returns the options; a detector's weights by the hash of their file."""
        options = super().recorded_options()
        options["detector"] = faces.recorded_detector(options["detector"])
        options["landmarks"] = landmarks.recorded_landmarks(options["landmarks"])
        if not options["landmarks"]:
            del options["landmarks"]  # what there was before there were any
        if "qualities" in options:
            options["qualities"] = list(options["qualities"])
        return options

    def recorded_source(self) -> dict[str, Any]:
        """Returns the number of items, and a hash of the names and sizes of their files."""
        return dict(item.summary(self._tree.items))

    def _leave_out_incomplete(self, *, reencode: bool) -> None:
        """Leaves out what lacks a quality that is stored and is not made: none is made of a worse one."""
        kept = []
        for each in self._tree.items:
            best = QUALITIES.index(next(iter(each.files)))
            lacking = [
                quality
                for quality in self._qualities
                if quality not in each.files and not (reencode and QUALITIES.index(quality) > best)
            ]
            if lacking:
                reason = f"has no {' and no '.join(lacking)}"
                reason += ", nor a better file to make it from" if reencode else ""
                self.skipped.append({"item": each.name, "reason": reason})
            else:
                kept.append(each)
        self._tree = dataclasses.replace(self._tree, items=kept)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        """Works through all items first: who goes where is decided among those that have a face."""
        usable = []
        for each, result in zip(self._tree.items, self._results(self._tree.items), strict=True):
            self._account(each, result)
            if result["examples"]:
                usable.append(each)
        if not usable:
            reasons = sorted({entry["reason"] for entry in self.skipped})
            raise checks.UserError(f"no item of the source can be used: {'; '.join(reasons[:3])}")
        self._check_skipped()
        config = self.builder_config
        made = (1,) if config.forge else ()
        found = splits.assign(usable, seed=config.seed, fractions=config.fractions(), made=made)
        reason = "its people came into different splits"
        self.skipped += [{"item": name, "reason": reason} for name in found.left_out]
        if found.shared:
            self.notes["people_in_several_splits"] = found.shared
        people = sorted({each.identity for each in usable})
        numbers = {name: number for number, name in enumerate(people)}
        chosen = {
            split: [each for each in usable if found.of.get(each.name) == split]
            for split in schema.SPLITS
        }
        return {
            split: self._generate_examples(items, numbers)
            for split, items in chosen.items()
            if items
        }

    def _check_skipped(self) -> None:
        """Raises UserError when more was left out than may be."""
        if len(self.skipped) <= self.max_skipped * self.items:
            return
        reasons = Counter(entry["reason"] for entry in self.skipped).most_common(3)
        raise checks.UserError(
            f"{len(self.skipped)} of {self.items} items would be left out, more than "
            f"--max_skipped={self.max_skipped:g}: "
            + "; ".join(f"{reason} ({count})" for reason, count in reasons)
            + "; with a larger share the same command goes on from there"
        )

    def _results(self, items: list[Item], *, again: bool = False) -> Iterator[Result]:
        tasks = [Task(each, self.builder_config, self._qualities) for each in items]
        keys = [item.state_key(each) for each in items]
        work = (
            dataclasses.replace(self.work, workers=0, progress=False, beam=())
            if again
            else self.work
        )
        return work.run(
            process_item,
            tasks,
            keys=keys,
            content=content_of,
            lost=lost_item,
            seconds=[seconds_for(each) for each in items],
            light=not again,
            description="faces",
        )

    def _account(self, each: Item, result: Result) -> None:
        for name, count in result["notes"].items():
            self.notes[name] = self.notes.get(name, 0) + count
        if result["reason"]:
            self.skipped.append({"item": each.name, "reason": result["reason"]})
            return
        codec, lossless = result["source"]["codec"], result["source"]["lossless"]
        known = self.codecs.setdefault(codec, {"items": 0, "lossless": 0})
        known["items"] += 1
        known["lossless"] += lossless
        if result["faceless"]:
            self.notes["frames_without_face"] = (
                self.notes.get("frames_without_face", 0) + result["faceless"]
            )

    def _generate_examples(
        self, items: list[Item], identities: dict[str, int]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        order = {each.name: 2 * number for number, each in enumerate(self._tree.items)}
        videos: dict[str, int] = {}
        for each in self._tree.items:
            videos.setdefault(each.video or each.name, order[each.name])
        for each, result in zip(items, self._results(items, again=True), strict=True):
            for position, example in enumerate(result["examples"]):
                record = schema.encode_example(
                    {quality: result[f"{position}/{quality}"] for quality in self._qualities},
                    result[f"{position}/mask"],
                    label=example["label"],
                    forgery=example["forgery"],
                    video=videos[each.video or each.name] + (example["forgery"] == "self_blended"),
                    identity=identities[each.identity],
                    frame=example["frame"],
                    forgeries=self.forgeries() or FORGERIES,
                    encoding=self.encoding(),
                )
                yield f"{order[each.name]:09d}_{position:06d}", record


def _stored(items: list[Item], config: MediaConfig) -> tuple[str, ...]:
    """Returns the qualities that are stored.

    Raises:
      checks.UserError: one that is asked for is neither there nor can be made.
    """
    there = [quality for quality in QUALITIES if any(quality in each.files for each in items)]
    if not isinstance(config, TreeConfig):
        return QUALITIES
    for quality in config.qualities:
        if quality not in QUALITIES:
            raise checks.UserError(
                f"qualities names {quality!r}; {checks.nearest(quality, QUALITIES)}"
            )
        makes = config.reencode and quality in schema.QUALITY_FACTORS
        if quality not in there and not makes:
            way = "nothing makes it" if config.reencode else "--reencode makes it from the best one"
            raise checks.UserError(
                f"the source has no files of quality {quality!r}, it has {', '.join(there)}; {way}"
            )
    below = QUALITIES[QUALITIES.index(there[0]) :] if config.reencode else there
    return tuple(config.qualities or below)
