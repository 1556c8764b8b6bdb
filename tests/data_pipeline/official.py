"""Trees as the owners of data sets lay them out, of our own renderer's clips, with all that can be wrong in them."""

import csv
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import cv2
import defects
import numpy as np
from defects import DEFECTS, FOUND, clip, fake, real, write

SPLITS = ("train", "validation", "test")
SOUND = 6
"""Clips of each class that nothing is wrong with, two a split."""

NAMES = (
    *(
        "a b",
        "it's",
        'say "hi"',
        "žluťoučký 人",
        "100% #1; $HOME",
        "-rf",
        "a,b",
        "a..b",
        "café",
        "[x]",
    ),
    *("&amp;", "back\\slash", "frame%03d"),
)
"""Of files whose owners do not care."""


@dataclass
class Expected:
    """What has to become of a tree.

    Attributes:
      dataset: its name for `kdjax prepare`.
      source: what to name as the source.
      stored: label, split (empty: drawn) and forgery of each item that is stored, by name.
      lost: why items are left out that had to be looked at: patterns by name.
      unusable: why names are left out that nothing is looked at for.
      notes: counts in the manifest.
      masked: names of what has masks.
      options: more arguments.
    """

    dataset: str
    source: Path
    stored: dict[str, tuple[int, str, str]] = field(default_factory=dict)
    lost: dict[str, str] = field(default_factory=dict)
    unusable: dict[str, str] = field(default_factory=dict)
    notes: Counter = field(default_factory=Counter)
    masked: set[str] = field(default_factory=set)
    options: tuple[str, ...] = ()

    def expect(self, name: str, case: "Case", split: str, forgery: str) -> None:
        """Notes what has to become of a clip."""
        if case.reason:
            self.lost[name] = case.reason
            return
        self.stored[name] = (case.label, split, forgery if case.label else "none")
        if case.note:
            self.notes[case.note] += 1


class Case(NamedTuple):
    """One clip: what is wrong with it, its class, which scene it shows."""

    kind: str
    label: int
    scene: int

    @property
    def reason(self) -> str:
        return DEFECTS[self.kind].reason if self.kind in DEFECTS else ""

    @property
    def note(self) -> str:
        return DEFECTS[self.kind].note if self.kind in DEFECTS else ""


def cases() -> list[tuple[Case, str]]:
    """Returns all clips of a tree with the split that each may be put into; what is wrong is real and fake in turns."""
    sound = [Case("sound clip", label, FOUND[k]) for k in range(SOUND) for label in (0, 1)]
    wrong = [
        Case(kind, number % 2, FOUND[number % len(FOUND)]) for number, kind in enumerate(DEFECTS)
    ]
    return [(case, SPLITS[number // 2 % 3]) for number, case in enumerate([*sound, *wrong])]


class Pool:
    """Clips that are made once and copied wherever they are wanted."""

    def __init__(self, folder: Path):
        self.folder = folder

    def put(self, case: Case, path: Path, **options: str) -> None:
        """Makes a clip lie at a path."""
        key = "-".join([case.kind, str(case.label), str(case.scene), *options.values()])
        kept = self.folder / f"{key}.mp4"
        if not kept.exists():
            make = DEFECTS[case.kind].write if case.kind in DEFECTS else write
            make(kept, clip(case.label, case.scene), **options)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(kept, path)


def names() -> Iterator[str]:
    """Yields names, odd ones first."""
    yield from NAMES
    number = 0
    while True:
        yield f"clip{number:03d}"
        number += 1


def faceforensics(root: Path, pool: Pool) -> Expected:
    """In c23 and c40, some with masks; the owners' lists name nearly a thousand videos that are not here."""
    text = resources.files("kdjax.data_pipeline.trees").joinpath("faceforensics.json").read_text()
    lists = json.loads(text)
    pairs = {split: iter(lists[{"validation": "val"}.get(split, split)]) for split in SPLITS}
    found = Expected("faceforensics", root)
    originals, fakes = root / "original_sequences/youtube", root / "manipulated_sequences"

    def place(split: str, label: int) -> tuple[Path, str]:
        one, other = next(pairs[split])
        return (fakes / "FaceSwap", f"{one}_{other}") if label else (originals, one)

    for number, (case, split) in enumerate(cases()):
        folder, name = place(split, case.label)
        shown = (folder / f"c23/videos/{name}.mp4").relative_to(root).as_posix()
        pool.put(case, root / shown)
        smaller = {} if case.kind in DEFECTS else {"crf": "40"}
        pool.put(case, folder / f"c40/videos/{name}.mp4", **smaller)
        # one defect is told of the best quality, which is looked at first
        found.expect(shown, case, split, "faceswap")
        if case.kind == "sound clip" and case.label:
            masks = folder / f"masks/videos/{name}.mp4"
            masks.parent.mkdir(parents=True, exist_ok=True)
            masked = fake(case.scene)[1]
            wrong = {7: masked[:-1], 9: masked.repeat(2, 1).repeat(2, 2)}.get(number)
            write(masks, masked if wrong is None else wrong, crf="10")
            if wrong is None:
                found.masked.add(shown)
            else:
                found.notes["videos_with_unusable_masks"] += 1
    frames = real(FOUND[0])
    for split, (other, reason, options) in zip(
        SPLITS * 2,
        (
            (frames[:-1], "c40: has 15 frames, the best quality 16", {}),
            (frames[:, ::2, ::2], "c40: is 64x56, the best quality 128x112", {}),
            (frames, "c40: has 10 frames/s, the best quality 25", {"rate": 10}),
            (None, "c40: is turned otherwise than the best quality", {}),
            (np.zeros_like(frames[:1]), "c40: has 1 frames, the best quality 16", {}),
        ),
        strict=False,
    ):
        folder, name = place(split, 0)
        pool.put(Case("sound clip", 0, FOUND[0]), folder / f"c23/videos/{name}.mp4")
        path = folder / f"c40/videos/{name}.mp4"
        if other is None:
            defects.turned(path, np.rot90(frames, -1, (1, 2)))
        else:
            write(path, other, **options)
        found.lost[f"original_sequences/youtube/c23/videos/{name}.mp4"] = reason
    for name, folder, reason in (
        ("071 it's.mp4", "original_sequences/youtube", "its name is not like 000"),
        ("ü.mp4", "original_sequences/youtube", "its name is not like 000"),
        ("071_000.mp4", "manipulated_sequences/Deepfakes", "in none of the lists of pairs"),
        ("999_998_997.mp4", "manipulated_sequences/FaceSwap", "its name is not like 000_003"),
    ):
        pool.put(Case("sound clip", 0, FOUND[0]), root / folder / "c23/videos" / name)
        found.unusable[f"{folder}/c23/videos/{name}"] = reason
    folder, name = place("train", 0)
    pool.put(Case("sound clip", 0, FOUND[0]), folder / f"c23/videos/{name}.mp4")
    found.unusable[f"original_sequences/youtube/c23/videos/{name}.mp4"] = "has no c40"
    seen = len(found.stored) + len(found.lost) + 1
    found.notes["listed_videos_that_are_absent"] = 1000 - seen
    return found


def celebdf(root: Path, pool: Pool, *, version: int = 2) -> Expected:
    """The first version is smaller, and people of the second are tied to each other all around."""
    found = Expected("celebdf", root, options=("--seed=17",))
    listed = [("1", "Celeb-real/id90_0000.mp4"), ("0", "Celeb-synthesis/../../id0_id1_0000.mp4")]
    for number, (case, split) in enumerate(cases()):
        person = f"id{number}"
        if case.label:
            other = f"id{40 + number}" if version == 1 else f"id{40 + number // 2 % 3}"
            shown = f"Celeb-synthesis/{person}_{other}_0000.mp4"
        else:
            shown = (
                f"YouTube-real/{number:05d}.mp4" if number % 4 else f"Celeb-real/{person}_0001.mp4"
            )
        pool.put(case, root / shown)
        official = split if split == "test" else ""
        if official:
            listed.append((str(1 - case.label), shown))
        found.expect(shown, case, official, "celeb_synthesis")
    lines = [f"{mark} {name}" for mark, name in listed]
    ending = "\r\n" if version == 1 else "\n"
    (root / "List_of_testing_videos.txt").write_text(ending.join(lines), newline="")
    for _, name in listed[:2]:
        found.unusable[name] = "is in List_of_testing_videos.txt and nowhere else"
    pool.put(Case("sound clip", 0, FOUND[0]), root / 'Celeb-real/my ü\'s "clip".mp4')
    found.unusable['Celeb-real/my ü\'s "clip".mp4'] = "its name is not as Celeb-real has them"
    return found


def ffiw(root: Path, pool: Pool) -> Expected:
    found = Expected("ffiw", root)
    free = names()
    for case, split in cases():
        folder = (
            f"{'target' if case.label else 'source'}/{'val' if split == 'validation' else split}"
        )
        shown = f"{folder}/{next(free)}.mp4"
        pool.put(case, root / shown)
        found.expect(shown, case, split, "ffiw")
    return found


def dfdc(root: Path, pool: Pool) -> Expected:
    """In two parts; what metadata.json names besides lies outside of the tree, or nowhere."""
    found = Expected("dfdc", root)
    free = names()
    for part in (0, 1):
        folder = f"dfdc_train_part_{part}"
        metadata: dict = {}
        original = ""
        for case, _ in cases()[:16] if part else cases()[16:]:
            name = f"{next(free)}.mp4"
            pool.put(case, root / folder / name)
            metadata[name] = {"label": ("REAL", "FAKE")[case.label], "split": "train"}
            if case.label:
                metadata[name]["original"] = original or "../../outside.mp4"
            else:
                original = name
            found.expect(f"{folder}/{name}", case, "", "dfdc")
        for absent in ("gone.mp4", "../../outside.mp4"):
            metadata[absent] = {"label": "REAL"}
            found.unusable[f"{folder}/{absent}"] = "is in metadata.json and nowhere else"
        pool.put(Case("sound clip", 0, FOUND[0]), root / folder / "unnamed.mp4")
        said = "metadata.json does not say REAL or FAKE of it"
        found.unusable[f"{folder}/unnamed.mp4"] = said
        (root / folder / "metadata.json").write_text(json.dumps(metadata))
    pool.put(Case("sound clip", 0, FOUND[0]), root.parent / "outside.mp4")
    return found


def videos(root: Path, pool: Pool) -> Expected:
    """A table that names c40 files too, masks, and files that are not there."""
    found = Expected("videos", root / "table.csv")
    free = names()
    rows = []
    for case, split in cases():
        shown = f"clips/{next(free)}.mp4"
        pool.put(case, root / shown)
        found.expect(shown, case, split, "swap")
        row = {"path": shown, "label": ("real", "fake")[case.label], "split": split}
        row |= {"c40": "", "mask": "", "forgery": "swap" if case.label else ""}
        if case.kind == "sound clip":
            row["c40"] = f"low/{len(rows)}.mp4"
            pool.put(case, root / row["c40"], crf="40")
            if case.label:
                row["mask"] = f"mask {len(rows)}.mp4"
                write(root / row["mask"], fake(case.scene)[1], crf="10")
                found.masked.add(shown)
        rows.append(row)
    pool.put(Case("sound clip", 0, FOUND[0]), root / "whole/0.mp4")
    (root / "nothing").mkdir()
    for absent, reason in {
        "gone.mp4": "does not exist or cannot be reached",
        "../../nowhere/gone.mp4": "does not exist or cannot be reached",
        "nothing": "a folder without images",
        "whole": "a folder of frames, of which 0.mp4 is a video",
    }.items():
        rows.append({"path": absent, "label": "fake", "split": "train", "forgery": "swap"})
        found.lost[absent] = reason
    with found.source.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, ["path", "label", "split", "forgery", "mask", "c40"])
        table.writeheader()
        table.writerows(rows)
    found.options = ("--reencode", "--qualities=raw,c40")
    return found


def folder(root: Path, pool: Pool) -> Expected:
    """Every file below two folders, whatever its name; some names are no UTF-8."""
    found = Expected("folder", root)
    free = names()
    for number, (case, _) in enumerate(cases()):
        name = next(free)
        if number == 20:
            name = os.fsdecode(b"latin-\xe9")
        shown = f"{'fake' if case.label else 'real'}/{name}.mp4"
        pool.put(case, root / shown)
        found.expect(shown, case, "", "unknown")
    return found


def image(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    colours = pixels[..., ::-1] if pixels.ndim == 3 and pixels.shape[2] == 3 else pixels
    done, encoded = cv2.imencode(path.suffix, colours)
    assert done
    path.write_bytes(encoded.tobytes())


FRAMES: dict[str, tuple[Callable[[np.ndarray], np.ndarray | bytes], str]] = {
    "grey": (lambda pixels: pixels[..., 0], ""),
    "deep": (lambda pixels: pixels.astype(np.uint16) * 257, ""),
    "alpha": (lambda pixels: np.dstack([pixels, pixels[..., :1]]), ""),
    "odd": (lambda pixels: pixels[:95, :93], ""),
    "small": (lambda pixels: pixels[:40, :40], "40x40 is smaller than the crop of 64"),
    "cut": (lambda pixels: b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "truncated|not an image"),
    "zero": (lambda pixels: b"", r"empty \(zero bytes\)"),
    "list": (lambda pixels: b"ffconcat version 1.0\nfile 001.png\n", "not an image"),
}
"""What can be wrong with the frames of a video, all but the first, and why it is left out then."""


def deepfakebench(root: Path, pool: Pool) -> Expected:
    """Folders of frames in c23 and c40 and their JSON, which names absent ones, and some outside of the tree."""
    del pool
    found = Expected("deepfakebench/FF++", root)
    kinds: dict = {
        kind: {split: {"c23": {}, "c40": {}} for split in ("train", "val", "test")}
        for kind in ("FF-real", "FF-FS")
    }
    plan = [("sound", k, label) for k in range(12) for label in (0, 1)]
    plan += [(kind, 2 * k, k % 2) for k, kind in enumerate(FRAMES)]
    for number, (kind, scene, label) in enumerate(plan):
        split = ("train", "val", "test")[number // 2 % 3]
        name = f"{number:03d}_{number + 500:03d}" if label else f"it's {number} ü"
        change, reason = FRAMES.get(kind, (None, ""))
        for quality in ("c23", "c40"):
            place = f"FF/{('real', 'swapped')[label]}/{quality}/frames/{name}"
            pixels = defects.clip(label, FOUND[scene % len(FOUND)])[:3, :, 16:112]
            for k, frame in enumerate(pixels):
                path = root / place / f"{17 * k:03d}.png"
                changed = change(frame) if change and (k or kind != "cut") else frame
                if isinstance(changed, bytes):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(changed)
                else:
                    image(path, changed)
            entry = {
                "label": kind,
                "frames": [f"C:\\lab\\rgb\\{place}\\000.png".replace("/", "\\")],
            }
            if label and kind == "sound":
                masks = f"FF/swapped/{quality}/masks/{name}"
                for k, mask in enumerate(fake(FOUND[scene % len(FOUND)])[1][:3, :, 16:112]):
                    image(root / masks / f"{17 * k:03d}.png", mask[..., 0])
                entry["masks"] = [f"{masks}/000.png"]
            kinds[("FF-real", "FF-FS")[label]][split][quality][name] = entry
        shown = f"FF/{('real', 'swapped')[label]}/c23/frames/{name}"
        where = "validation" if split == "val" else split
        if reason:
            found.lost[shown] = reason
        else:
            found.stored[shown] = (label, where, "ff-fs" if label else "none")
            if label and kind == "sound":
                found.masked.add(shown)
    image(root.parent / "outside/000.png", real(0)[0])
    for name, frames in {
        "gone": ["FF/nowhere/000.png"],
        "up": ["../outside/000.png"],
        "rooted": [str(root.parent / "outside/000.png")],
        "number": [3],
        "none": [],
    }.items():
        kinds["FF-real"]["train"]["c23"][name] = {"label": "FF-real", "frames": frames}
        found.unusable[f"FF-real/{name}"] = "its frames are not where the list says"
    (root / "dataset_json").mkdir()
    (root / "dataset_json/FF++.json").write_text(json.dumps({"FF++": kinds}))
    return found


TREES: dict[str, Callable[[Path, Pool], Expected]] = {
    "faceforensics": faceforensics,
    "celebdf v1": lambda root, pool: celebdf(root, pool, version=1),
    "celebdf v2": celebdf,
    "ffiw": ffiw,
    "dfdc": dfdc,
    "deepfakebench": deepfakebench,
    "videos": videos,
    "folder": folder,
}
