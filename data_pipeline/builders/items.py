"""What is made of one item, an image or a video: its faces in every quality, and forgeries of them."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from kdjax import checks
from kdjax.data_pipeline import (
    alignment,
    clips,
    compression,
    faces,
    forge,
    landmarks,
    tracking,
    video,
)
from kdjax.data_pipeline.builders import schema
from kdjax.data_pipeline.builders.cuts import Cut, same_frames
from kdjax.data_pipeline.builders.options import MediaConfig
from kdjax.data_pipeline.builders.squares import Scene, moved_square, square_of
from kdjax.data_pipeline.frames import Frames, common_names, open_source
from kdjax.data_pipeline.results import AGAIN, Result
from kdjax.data_pipeline.trees.item import Item, find_files


class Task(NamedTuple):
    """What a worker needs for one item; a quality that it has no file of is made from its best."""

    item: Item
    config: MediaConfig
    qualities: tuple[str, ...]


def content_of(task: Task) -> str:
    """Returns a hash of all that decides the result of an item but the options: its name, its facts and its files.

    Nothing where a file cannot be read: tomorrow it may be.
    """
    item = task.item
    digest = hashlib.sha256()
    facts = (item.name, item.label, item.forgery, item.cropped, bool(item.mask), list(item.files))
    digest.update(json.dumps(facts).encode())
    beside = [place for place in (item.mask, item.landmarks) if place is not None]
    for place in (*item.files.values(), *beside):
        for path in _files(place):
            digest.update(f"\0{path.name}\0".encode("utf-8", "surrogateescape"))
            try:
                with path.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
            except OSError:
                return ""
    return digest.hexdigest()


def _files(place: Path) -> list[Path]:
    """Returns a file, or the files of a folder as far as it can be looked into."""
    with suppress(checks.UserError):
        found = sorted(find_files(place)) if os.path.isdir(place) else [place]
        # opening a pipe waits for whoever writes to it
        return [path for path in found if os.path.isfile(path)]
    return []


def lost_item(reason: str) -> Result:
    """Returns the result of an item that cannot be worked on."""
    return {"examples": [], "faceless": 0, "reason": reason, "notes": {}}


def seconds_for(item: Item) -> float:
    """Returns what an item may take: ten minutes, and two seconds for each megabyte of its files."""
    sizes = 0
    for path in item.files.values():
        with suppress(OSError):
            sizes += path.stat().st_size
    return 600 + 2 * sizes / 2**20


def process_item(task: Task) -> Result:
    """Returns the examples of one item: their ids, and the PNG of each quality and mask.

    `examples` lists `label`, `forgery` and `frame`; example N's images are `N/QUALITY` and `N/mask`. `faceless` counts
    sampled frames without a face; `reason` says why there is no example at all. `source` is what the best quality was
    made from; `notes` counts what else is worth knowing.
    """
    result: Result = {"examples": [], "faceless": 0, "reason": "", "notes": {}}
    best, *others = task.item.files.items()
    cuts: dict[int, Cut] = {}
    try:
        wanted = [path for quality, path in others if quality in task.qualities]
        common = common_names([best[1], *wanted])
        with open_source(best[1], common) as media:
            result["source"] = {"codec": media.codec, "lossless": media.lossless}
            still = media.frames == 1 and not isinstance(media, Frames)
            track = None
            if not (still or task.item.cropped):
                track = _track(best[1], common, task.config, result)
            if isinstance(media, Frames) and media.left_out:
                result["notes"]["frames_not_in_all_qualities"] = media.left_out
            for clip in _clips(media, task.config):
                box = _face(clip, track, task)
                if box is None:
                    result["faceless"] += 1
                    continue
                points = _landmarks(clip, box, media, task)
                square = square_of(clip, box, points, task.config)
                if task.config.landmarks and isinstance(square, faces.Box):
                    notes = result["notes"]
                    notes["faces_not_aligned"] = notes.get("faces_not_aligned", 0) + 1
                cuts[clip.position] = Cut(len(result["examples"]), square, clip.frames.shape[1:3])
                _add_examples(result, clip, Scene(clip.frames, box, square), still, task, best[0])
            if not still:
                result["notes"] |= {f"videos_{name}": 1 for name in sorted(media.oddities)}
            for quality, path in others:
                if quality in task.qualities:
                    _add_quality(result, quality, path, media, cuts, task.config)
            if task.item.mask is not None and cuts:
                _add_masks(result, task.item.mask, media, cuts, task.config)
    except video.MediaError as error:
        return lost_item(error.reason)
    except MemoryError:
        return {**lost_item("cannot be worked on: too little memory"), AGAIN: True}
    except (cv2.error, ValueError, OverflowError) as error:
        return lost_item(f"cannot be worked on: {checks.kind_and_line(error)}")
    if not result["examples"]:
        result["reason"] = "no face was found"
    return result


def _track(
    path: Path, only: frozenset[str] | None, config: MediaConfig, result: Result
) -> tracking.Track:
    """Follows the largest face of a video; the video is decoded once for it, one frame at a time."""
    with open_source(path, only) as media:
        positions = clips.spread(config.frames_per_video, media.frames)
        detector = faces.make_detector(config.detector)
        track = tracking.find_track(
            media, positions, detector, every=config.detect_every, max_side=config.max_side
        )
    for name, seen in (
        ("videos_with_cuts", track.cuts),
        ("videos_with_several_faces", track.crowded),
    ):
        if seen:
            result["notes"][name] = 1
    return track


def _face(clip: clips.Clip, track: tracking.Track | None, task: Task) -> faces.Box | None:
    frame = clip.frames[clip.anchor]
    if task.item.cropped:
        return faces.Box(0, 0, frame.shape[1], frame.shape[0])
    if track is None:
        return faces.find_face(frame, faces.make_detector(task.config.detector))
    box = track.boxes.get(clip.position)
    inside = box is not None and box.left < frame.shape[1] and box.top < frame.shape[0]
    return box if inside and box is not None and box.right > 0 and box.bottom > 0 else None


def _clips(media: video.Media | Frames, config: MediaConfig) -> Iterator[clips.Clip]:
    for clip in clips.sample_clips(
        media, config.frames_per_video, config.clip_length, max_side=config.max_side
    ):
        height, width = clip.frames.shape[1:3]
        if min(height, width) < config.image_size:
            raise video.MediaError(
                media.path, f"{width}x{height} is smaller than the crop of {config.image_size}"
            )
        yield clip


def _landmarks(
    clip: clips.Clip, box: faces.Box, media: video.Media | Frames, task: Task
) -> np.ndarray | None:
    """Returns the landmarks of a wanted frame's face, where they are wanted and there are any."""
    wanted = task.config.landmarks
    if wanted == landmarks.GIVEN:
        if task.item.landmarks is None or not isinstance(media, Frames):
            return None
        return alignment.read_landmarks(task.item.landmarks / f"{media.name_of(clip.position)}.npy")
    return landmarks.make_landmarks(wanted)(clip.frames[clip.anchor], box) if wanted else None


def _add_examples(
    result: Result, clip: clips.Clip, seen: Scene, still: bool, task: Task, best: str
) -> None:
    """Appends what one wanted frame gives: the item itself, and a forgery if one is asked for."""
    config = task.config
    for take in range(config.takes if still else 1):
        seed = _seed(task, take)
        scene = seen
        if take:
            scene = seen._replace(square=moved_square(seen, config, seed))
        if config.face_side is not None and isinstance(scene.square, faces.Box):
            scene = Scene(*faces.shrink_to(scene.frames, scene.box, scene.square, config.face_side))
        for frames, mask, forgery in _versions(scene, task, seed):
            version = clip._replace(frames=frames)
            if still:
                version = clips.still_to_clip(frames[0], config.clip_length, seed=seed)
                version = version._replace(position=take)
            position = len(result["examples"])
            made = [quality for quality in task.qualities if quality not in task.item.files]
            for quality, image in _qualities(version, best, made).items():
                if quality in task.qualities:
                    face = faces.crop(image, scene.square, config.image_size)
                    result[f"{position}/{quality}"] = schema.encode_png(face)
            result[f"{position}/mask"] = _mask(mask, scene.square, config.image_size)
            label = int(forgery != "none")
            result["examples"].append(
                {"label": label, "forgery": forgery, "frame": version.position}
            )


def _add_quality(
    result: Result,
    quality: str,
    path: Path,
    best: video.Media | Frames,
    cuts: dict[int, Cut],
    config: MediaConfig,
) -> None:
    """Cuts the same squares out of another quality's own file.

    Raises:
      MediaError: it is not, frame by frame, the same video.
    """
    try:
        for cut, frame in same_frames(path, best, cuts, config):
            face = faces.crop(frame, cut.square, config.image_size)
            result[f"{cut.position}/{quality}"] = schema.encode_png(face)
    except video.MediaError as error:
        raise video.MediaError(path, f"{quality}: {error.reason}") from error


def _add_masks(
    result: Result,
    path: Path,
    best: video.Media | Frames,
    cuts: dict[int, Cut],
    config: MediaConfig,
) -> None:
    """Cuts the same squares out of the video of the masks; one that does not fit leaves the masks dark, and a note."""
    try:
        masks = {
            f"{cut.position}/mask": _mask(frame.max(axis=-1), cut.square, config.image_size)
            for cut, frame in same_frames(path, best, cuts, config, rate=False)
        }
    except (video.MediaError, ValueError):
        result["notes"]["videos_with_unusable_masks"] = 1
    else:
        result.update(masks)


def _mask(mask: np.ndarray, square: faces.Square, size: int) -> bytes:
    """Returns the PNG of a mask's crop; enlarging by cubic splines overshoots, and a mask stays 0 or 255."""
    cropped = np.where(faces.crop(mask, square, size) > 127, 255, 0)
    return schema.encode_png(cropped.astype(np.uint8))


def _versions(scene: Scene, task: Task, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray, str]]:
    """Yields frames, forgery mask and kind of forgery."""
    nothing = np.zeros(scene.frames.shape[1:3], np.uint8)
    yield scene.frames, nothing, task.item.forgery
    if task.config.forge and task.item.label == 0:
        strength = {"sharpness": task.config.forge_sharpness, "grid": task.config.forge_grid}
        yield *forge.self_blend(scene.frames, scene.box, seed=seed, **strength), "self_blended"


def _qualities(clip: clips.Clip, best: str, made: list[str]) -> dict[str, np.ndarray]:
    """Returns the wanted frame, whole, in its best quality and in those that are made from it."""
    compressed = {
        quality: compression.compress_clip(clip.frames, schema.QUALITY_FACTORS[quality])[
            clip.anchor
        ]
        for quality in made
    }
    return {best: clip.frames[clip.anchor], **compressed}


def _seed(task: Task, take: int = 0) -> int:
    name = f"{task.config.seed}/{task.item.name}" + (f"\0{take}" if take else "")
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big")
