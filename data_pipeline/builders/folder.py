"""The user's own images and videos, real and fake, or real ones alone and forgeries made of them."""

import dataclasses
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from kdjax import checks
from kdjax.data_pipeline import clips, compression, faces, forge, video
from kdjax.data_pipeline.builders import schema, sources
from kdjax.data_pipeline.builders.sources import Item
from kdjax.data_pipeline.work import Result
from kdjax.types import LABELS

_CAMERA = 1
"""Keeps the draws of the square apart from those of the forgery."""


@dataclasses.dataclass
class FolderConfig(tfds.core.BuilderConfig):
    """The options of the `folder` data set.

    Attributes:
      name: `forge` or `plain`, from the field of that name.
      image_size: side of the stored faces in pixels.
      seed: decides splits, the motion of stills and forgeries.
      forge: make a self-blended fake from every real item.
      frames_per_video: evenly spaced frames taken from a video, at most.
      clip_length: frames that are compressed together around each of them.
      max_side: a larger frame is shrunk to this longer side before it is compressed.
      margin: side of the crop by that of the face.
      detector: `hog`, or the path of a YuNet model file.
      face_side: frames are shrunk, before they are forged and compressed, until the crop has so
        many pixels a side in them; `None` leaves them as they are.
      forge_sharpness: multiplies how far the sharpness of a self-blended copy is changed.
      forge_grid: largest strength of a generator's grid in a forgery, in steps of 8 bits.
      takes: how often a still is taken: cut out a little differently each time, forged anew.
      test_share: share of the people that are kept for the test; 15 % validate, the rest trains.
    """

    name: str = ""
    image_size: int = 128
    seed: int = 0
    forge: bool = False
    frames_per_video: int = 16
    clip_length: int = 8
    max_side: int = 1280
    margin: float = 1.3
    detector: str = "hog"
    face_side: int | None = None
    forge_sharpness: float = 1.0
    forge_grid: float = 0.0
    takes: int = 1
    test_share: float = schema.SPLIT_FRACTIONS[2]

    def __post_init__(self) -> None:
        limits = {
            "image_size": (8, 1024),
            "frames_per_video": (1, 10_000),
            "clip_length": (1, 250),
            "max_side": (64, 8192),
            "margin": (0.5, 4.0),
            "face_side": (16, 1024),
            "forge_sharpness": (0.1, 5.0),
            "forge_grid": (0.0, 64.0),
            "takes": (1, 64),
            "test_share": (0.05, 0.8),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if value is None and name == "face_side":
                continue
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not low <= value <= high:
                raise ValueError(f"{name}={value!r} must be between {low} and {high}")
        for name in ("forge_sharpness", "forge_grid"):
            value = getattr(self, name)
            if not self.forge and value != getattr(type(self), name):
                raise ValueError(f"{name}={value!r} goes with forge: nothing is forged without it")
        self.name = "forge" if self.forge else "plain"

    def fractions(self) -> tuple[float, float, float]:
        """Returns the shares of the splits."""
        validation = schema.SPLIT_FRACTIONS[1]
        return 1 - validation - self.test_share, validation, self.test_share


class Task(NamedTuple):
    """What a worker needs for one item."""

    item: Item
    config: FolderConfig


class Scene(NamedTuple):
    """What a face is cut out of: whole frames uint8 `[T, H, W, 3]`, the face, the square around it."""

    frames: np.ndarray
    box: faces.Box
    square: faces.Box


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
        elif result["faceless"]:
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


def process_item(task: Task) -> Result:
    """Returns the examples of one item: their ids, and the PNG of each quality and mask.

    `examples` lists `label`, `forgery` and `frame`; example N's images are `N/raw`, `N/c23`,
    `N/c40` and `N/mask`. `faceless` counts sampled frames without a face; `reason` says why there
    is no example at all.
    """
    result: Result = {"examples": [], "faceless": 0, "reason": ""}
    try:
        with video.open_media(task.item.path) as media:
            for clip in _clips(media, task.config):
                _add_examples(result, clip, media.frames == 1, task)
    except video.MediaError as error:
        return {"examples": [], "faceless": 0, "reason": error.reason}
    if not result["examples"]:
        result["reason"] = "no face was found"
    return result


def _clips(media: video.Media, config: FolderConfig) -> Iterator[clips.Clip]:
    for clip in clips.sample_clips(
        media, config.frames_per_video, config.clip_length, max_side=config.max_side
    ):
        height, width = clip.frames.shape[1:3]
        if min(height, width) < config.image_size:
            raise video.MediaError(
                media.path, f"{width}x{height} is smaller than the crop of {config.image_size}"
            )
        yield clip


def _add_examples(result: Result, clip: clips.Clip, still: bool, task: Task) -> None:
    """Appends what one wanted frame gives: the item itself, and a forgery if one is asked for."""
    config = task.config
    box = faces.find_face(clip.frames[clip.anchor], faces.make_detector(config.detector))
    if box is None:
        result["faceless"] += 1
        return
    for take in range(config.takes if still else 1):
        seed = _seed(task, take)
        square = _square(clip.frames, box, config, seed if take else None)
        scene = Scene(clip.frames, box, square)
        if config.face_side is not None:
            scene = Scene(*faces.shrink_to(*scene, config.face_side))
        for frames, mask, forgery in _versions(scene, task, seed):
            version = clip._replace(frames=frames)
            if still:
                version = clips.still_to_clip(frames[0], config.clip_length, seed=seed)
                version = version._replace(position=take)
            position = len(result["examples"])
            for quality, image in _qualities(version).items():
                face = faces.crop(image, scene.square, config.image_size)
                result[f"{position}/{quality}"] = schema.encode_png(face)
            # Enlarging by cubic splines overshoots; a mask stays 0 or 255.
            mask = np.where(faces.crop(mask, scene.square, config.image_size) > 127, 255, 0)
            result[f"{position}/mask"] = schema.encode_png(mask.astype(np.uint8))
            label = int(forgery != "none")
            result["examples"].append(
                {"label": label, "forgery": forgery, "frame": version.position}
            )


def _square(
    frames: np.ndarray, box: faces.Box, config: FolderConfig, seed: int | None
) -> faces.Box:
    """Returns the square to cut out; with a seed, moved by up to 8 % and scaled by up to 15 %."""
    if seed is None:
        return faces.square_around(box, config.margin, *frames.shape[1:3])
    generator = np.random.default_rng([seed, _CAMERA])
    margin = config.margin * generator.uniform(0.85, 1.15)
    right, down = generator.uniform(-0.08, 0.08, 2) * margin * max(box.width, box.height)
    moved = np.add(box, np.rint([right, down, right, down])).astype(int)
    return faces.square_around(faces.Box(*moved.tolist()), margin, *frames.shape[1:3])


def _versions(scene: Scene, task: Task, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray, str]]:
    """Yields frames, forgery mask and kind of forgery."""
    nothing = np.zeros(scene.frames.shape[1:3], np.uint8)
    yield scene.frames, nothing, "unknown" if task.item.label else "none"
    if task.config.forge and task.item.label == 0:
        strength = {"sharpness": task.config.forge_sharpness, "grid": task.config.forge_grid}
        yield *forge.self_blend(scene.frames, scene.box, seed=seed, **strength), "self_blended"


def _qualities(clip: clips.Clip) -> dict[str, np.ndarray]:
    """Returns the wanted frame, whole, in every quality."""
    compressed = {
        quality: compression.compress_clip(clip.frames, crf)[clip.anchor]
        for quality, crf in schema.QUALITY_FACTORS.items()
    }
    return {"raw": clip.frames[clip.anchor], **compressed}


def _seed(task: Task, take: int = 0) -> int:
    name = f"{task.config.seed}/{task.item.name}" + (f"\0{take}" if take else "")
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big")
