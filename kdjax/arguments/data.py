"""The arguments of `kdjax prepare`: each option, the data sets that know it, what it does."""

import argparse
from pathlib import Path
from typing import Any

from kdjax.arguments.common import add_command

DATASETS = (
    *("folder", "synthfaces", "synthfaces/benchmark"),
    *("faceforensics", "celebdf", "ffiw", "dfdc", "deepfakebench", "videos"),
)

PARTS = """\
faceforensics, as its owners' script leaves it, has parts: /all (the default: what was made
of the videos of YouTube), /deepfakes, /face2face, /faceswap, /neuraltextures, /faceshifter,
/deepfakedetection. deepfakebench takes the name of its JSON: deepfakebench/FaceForensics++.
videos takes a table, .csv or .jsonl, with columns path and label.
Data sets made of files need --source; nothing is downloaded."""

FILES, FOLDER, SYNTH, TREES = "files", "folder", "synthfaces", "all but folder and synthfaces"

OPTIONS: tuple[tuple[str, type, str, str], ...] = (
    ("image_size", int, "", "side of the faces in pixels; default: 128, 64 for synthfaces"),
    ("frames", int, FILES, "frames kept of each video; default: 16"),
    ("detector", str, FILES, "hog; blazeface or centerface (turned, small and covered faces too; weights in "
     "packages); or a YuNet model file (.onnx); default: hog"),
    ("landmarks", str, FILES, "turn faces upright: given (beside DeepfakeBench's frames), a dlib shape predictor "
     "(.dat) or a YuNet model (.onnx); default: faces stay as they are"),
    ("detect_every", int, FILES, "frames of a video between two searches for faces; default: 5"),
    ("margin", float, FILES, "side of the crop by that of the face; default: 1.3"),
    ("splits", str, TREES, "official, drawn, or (faceforensics) a folder with train.json, "
     "val.json and test.json; default: official"),
    ("qualities", str, TREES, "which are stored, as raw,c23,c40; default: those that have files"),
    ("face_side", int, FOLDER, "shrink frames before they are forged and compressed until the crop "
     "has so many pixels a side; default: frames stay as they are"),
    ("forge_sharpness", float, FOLDER, "multiplies how far a forgery changes sharpness; default: 1"),
    ("forge_grid", float, FOLDER, "largest strength of a generator's grid in a forgery, in steps of "
     "8 bits; default: 0"),
    ("takes", int, FOLDER, "how often a still is taken, cut out a little differently and forged anew "
     "each time; default: 1"),
    ("encoding", str, "", "how images are stored: png, raw (read fastest, 1.6 times as large), or "
     "jpeg and webp, which lose; default: png"),
    ("test_share", float, FILES, "share of the people in the test; default: 0.15"),
    ("identities", int, SYNTH, "people to draw; default: 240"),
    ("seed", int, "", "seed of everything that is drawn; default: 0"),
)  # fmt: skip
"""Name, type, the data sets that know it, and help of each option that has a value."""

FLAGS = (
    ("forge", FOLDER, "make fakes out of the real faces"),
    ("reencode", TREES, "make a quality that a video has no file of from its best one"),
)


def add_prepare(commands: argparse._SubParsersAction) -> None:
    """Adds `kdjax prepare`."""
    parser = add_command(commands, "prepare", "make a data set of faces in several qualities")
    parser.epilog = PARTS
    parser.add_argument(
        "--dataset",
        default="folder",
        metavar="NAME[/PART]",
        help=f"kind of data set: {', '.join(DATASETS)}; synthfaces/benchmark is of a fixed size and seed",
    )
    parser.add_argument("--source", type=Path, help="the folder of the files, or the table (files)")
    parser.add_argument("--output", type=Path, help="where the data set goes", required=True)
    for name, kind, known, text in OPTIONS:
        parser.add_argument(f"--{name}", type=kind, help=_help(text, known))
    for name, known, text in FLAGS:
        parser.add_argument(f"--{name}", action="store_true", help=_help(text, known))
    parser.add_argument("--workers", type=int, help="processes; default: one a core")
    parser.add_argument(
        "--beam_options",
        default="",
        help="options of an Apache Beam runner that does the work, as '--runner=DirectRunner "
        "--direct_running_mode=multi_processing --direct_num_workers=2' (files); default: this machine does",
    )
    parser.add_argument(
        "--max_skipped",
        type=float,
        default=1.0,
        help="share of the items that may be left out; with more nothing is stored",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace a data set made with other options"
    )


def prepare_options(options: argparse.Namespace) -> dict[str, Any]:
    """Returns those options of a data set that were given, by the names of its fields."""
    given = {name: getattr(options, name) for name, *_ in OPTIONS}
    given |= {name: getattr(options, name) or None for name, *_ in FLAGS}
    given["frames_per_video"] = given.pop("frames")
    if given["qualities"] is not None:
        given["qualities"] = tuple(filter(None, given["qualities"].split(",")))
    return {name: value for name, value in given.items() if value is not None}


def _help(text: str, known: str) -> str:
    about, semicolon, default = text.rpartition("; default: ")
    if not known:
        return text
    return f"{about if semicolon else text} ({known}){semicolon}{default if semicolon else ''}"
