"""`manifest.json`: what a prepared data set was made with, what it holds and what was left out.

No time, no absolute path and no name of a machine goes in, so that two runs give the same bytes.
"""

import hashlib
import importlib.metadata
import json
import os
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np

from kdjax import checks
from kdjax.data_pipeline import compression, prepared
from kdjax.data_pipeline.builders.schema import SPLITS, FaceDataset
from kdjax.data_pipeline.concerns import concerns
from kdjax.data_pipeline.dataset import IDS, Dataset, forgery_name
from kdjax.types import LABELS

NAME = "manifest.json"
FORMAT = 1

Manifest = dict[str, Any]


def describe(builder: FaceDataset) -> Manifest:
    """Returns what a user asked for: the part of a manifest that is known before the work."""
    config = builder.builder_config.name
    fixed = f"/{config}" if config in builder.builder_configs else ""
    return {
        "format": FORMAT,
        "dataset": builder.name + fixed,
        "version": str(builder.version),
        "options": builder.recorded_options(),
        "source": builder.recorded_source(),
    }


def tool_versions() -> dict[str, str]:
    """Returns the versions of everything that has a hand in the pixels and records."""
    ffmpeg = {name: ".".join(map(str, v)) for name, v in av.library_versions.items()}
    packages = ("kdjax", "av", "numpy", "opencv-python-headless", "dlib-bin", "tensorflow-datasets")
    return {
        **{name: _package_version(name) for name in packages},
        **{name: ffmpeg[name] for name in ("libavformat", "libavcodec", "libswscale")},
        "libx264": compression.encoder_version(),
    }


def complete(described: Manifest, folder: Path, builder: FaceDataset) -> Manifest:
    """Returns the whole manifest of the data set in `folder`, which is read for counts."""
    skipped = builder.skipped
    reasons = Counter(entry["reason"] for entry in skipped)
    return {
        **described,
        "tools": tool_versions(),
        "counts": count_records(folder),
        "notes": builder.notes,
        "qualities": builder.made_from(),
        "codecs": builder.codecs,
        "concerns": concerns(prepared.open_dataset(folder), builder.codecs),
        "skipped": {
            "total": len(skipped),
            "by_reason": dict(reasons),
            "items": sorted(skipped, key=lambda entry: (entry["item"], entry["reason"])),
        },
    }


def count_records(folder: Path) -> dict[str, Any]:
    """Returns records, videos and identities by split, and records by class and forgery."""
    dataset = prepared.open_dataset(folder)
    counts = {}
    for split in SPLITS:
        ids = dataset.labels(split)
        labels, forgeries = Counter(ids["label"].tolist()), Counter(ids["forgery"].tolist())
        counts[split] = {
            "records": len(ids["label"]),
            "videos": len(set(ids["video"].tolist())),
            "identities": len(set(ids["identity"].tolist())),
            "by_class": {name: labels[index] for index, name in enumerate(LABELS)},
            "by_forgery": {
                forgery_name(dataset.forgeries, kind): count
                for kind, count in sorted(forgeries.items())
            },
        }
    return counts


def checksum(folder: str | Path) -> str:
    """Returns the SHA-256 of what a prepared data set says, as 64 hexadecimal digits.

    It covers each split's name, size and records in their order: ids, and the decoded pixels of
    every quality and of the mask. It covers neither paths, times and versions of tools nor how
    PNG and records are packed: two data sets with one checksum train and test alike.

    Raises:
      checks.UserError: there is no data set, or a record cannot be read.
    """
    dataset = prepared.open_dataset(folder)
    digest = hashlib.sha256()
    for split, size in sorted(dataset.sizes.items()):
        digest.update(f"{split} {size} {dataset.image_size}\n".encode())
        source = dataset.source(split)
        for index in range(size):
            example = prepared.decode_record(
                index, source[index], dataset.qualities, with_mask=True
            )
            digest.update(np.array([example[name] for name in IDS], "<i4").tobytes())
            for pixels in (*example["image"].values(), example["forgery_mask"]):
                digest.update(pixels.tobytes())
    return digest.hexdigest()


def class_counts(dataset: Dataset, split: str) -> dict[int, int]:
    """Returns the number of a split's records by label: what the manifest says, or else the records."""
    try:
        found = (read(Path(dataset.where)) or {})["counts"][split]["by_class"]
        return {label: int(found[name]) for label, name in enumerate(LABELS)}
    except (checks.UserError, KeyError, TypeError, ValueError):
        return dict(Counter(dataset.labels(split)["label"].tolist()))


def forgery_counts(dataset: Dataset, split: str) -> dict[str, int]:
    """Returns the number of a split's fakes by kind of forgery: what the manifest says, or else the records."""
    try:
        found = (read(Path(dataset.where)) or {})["counts"][split]["by_forgery"]
        return {name: int(found[name]) for name in dataset.forgeries[1:] if name in found}
    except (checks.UserError, KeyError, TypeError, ValueError):
        ids = dataset.labels(split)
        counts = Counter(ids["forgery"][ids["label"] == 1].tolist())
        return {forgery_name(dataset.forgeries, kind): counts[kind] for kind in sorted(counts)}


def codecs_of(manifest: Manifest, qualities: Sequence[str]) -> set[str]:
    """Returns FFmpeg's names of what images went through in some qualities, those that are made of JPEG among them."""
    found: set[str] = set()
    for quality in qualities:
        made_from = str(manifest.get("qualities", {}).get(quality, ""))
        if not made_from and quality.startswith("jpeg"):
            found.add("mjpeg")
        if "the source" in made_from:
            found.update(manifest.get("codecs", {}))
        if "H.264" in made_from:
            found.add("h264")
    return found


def write(folder: Path, manifest: Manifest) -> None:
    """Writes the manifest whole or not at all."""
    text = json.dumps(manifest, indent=2, sort_keys=True) + "\n"
    descriptor, temporary = tempfile.mkstemp(dir=folder, suffix=".tmp")
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.chmod(temporary, 0o644)
    os.replace(temporary, folder / NAME)


def read(folder: Path) -> Manifest | None:
    """Returns the manifest in `folder`, or `None` if there is none.

    Raises:
      checks.UserError: it is there and is not one of ours.
    """
    path = folder / NAME
    try:
        manifest = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise checks.UserError(f"{path} cannot be read as a manifest of kdjax") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise checks.UserError(f"{path} is not a manifest of this version of kdjax")
    return manifest


def differences(old: Manifest, new: Manifest) -> list[str]:
    """Returns `key: old value -> new value` for what was asked for and is not the same."""
    flat_old, flat_new = _flatten(old), _flatten(new)
    keys = [k for k in flat_old if k.split(".")[0] in new] + list(flat_new)
    return [
        f"{key}: {flat_old.get(key, 'absent')} -> {flat_new.get(key, 'absent')}"
        for key in dict.fromkeys(keys)
        if flat_old.get(key, "absent") != flat_new.get(key, "absent")
    ]


def fingerprint(value: Any) -> str:
    """Returns a short hash of anything JSON can hold."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        flat |= _flatten(inner, f"{prefix}.{key}" if prefix else key)
    return flat


def _package_version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
