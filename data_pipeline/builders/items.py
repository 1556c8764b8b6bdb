"""What is made of one item, an image or a video: its faces in every quality, and forgeries of them."""

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from kdjax.data_pipeline import clips, compression, faces, forge, video
from kdjax.data_pipeline.builders import schema
from kdjax.data_pipeline.builders.options import FolderConfig
from kdjax.data_pipeline.builders.sources import Item
from kdjax.data_pipeline.work import Result

_CAMERA = 1
"""Keeps the draws of the square apart from those of the forgery."""


class Task(NamedTuple):
    """What a worker needs for one item."""

    item: Item
    config: FolderConfig


class Scene(NamedTuple):
    """What a face is cut out of: whole frames uint8 `[T, H, W, 3]`, the face, the square around it."""

    frames: np.ndarray
    box: faces.Box
    square: faces.Box


def process_item(task: Task) -> Result:
    """Returns the examples of one item: their ids, and the PNG of each quality and mask.

    `examples` lists `label`, `forgery` and `frame`; example N's images are `N/raw`, `N/c23`,
    `N/c40` and `N/mask`. `faceless` counts sampled frames without a face; `reason` says why there
    is no example at all. `source` is what `raw` was made from.
    """
    result: Result = {"examples": [], "faceless": 0, "reason": ""}
    try:
        with video.open_media(task.item.path) as media:
            result["source"] = {"codec": media.codec, "lossless": media.lossless}
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
