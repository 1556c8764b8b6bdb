"""The arguments of `kdjax predict` and `export`."""

import argparse
from pathlib import Path

from kdjax.arguments.common import add_command, add_program

EXIT_STATUS = """\
Exit status: 0 all inputs were looked through, whatever the verdict; 2 an error, or an input that
could not be read, or not to its end: the others are judged all the same."""


def add_predict(commands: argparse._SubParsersAction) -> None:
    """Adds `kdjax predict`."""
    parser = add_command(commands, "predict", "judge images and videos, and say why")
    parser.epilog = EXIT_STATUS
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="image, video, or folder of such; - for a list on standard input, one a line",
    )
    parser.add_argument(
        "--run", type=Path, required=True, metavar="RUN", help="folder of a run or of an export"
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="write records there: JSON lines (.jsonl) or a table (.csv)",
    )
    parser.add_argument(
        "--format",
        choices=("text", "jsonl", "csv"),
        help="of the records; default: by the ending of --output, else text",
    )
    parser.add_argument(
        "--detail",
        choices=("inputs", "faces", "frames"),
        default="frames",
        help="records of inputs alone, of their faces too, or of every face in every frame too",
    )
    parser.add_argument(
        "--page", type=Path, metavar="FILE.html", help="write one page with scores over time"
    )
    parser.add_argument(
        "--annotate",
        type=Path,
        metavar="FOLDER",
        help="write inputs anew, with a box and a score at each face",
    )
    _add_verdicts(parser)
    _add_faces(parser)
    add_program(parser)


def _add_verdicts(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("verdicts")
    group.add_argument(
        "--threshold",
        type=float,
        metavar="P",
        help="call fake what scores above it; default: the calibration's, by `kdjax evaluate RUN --calibrate`",
    )
    group.add_argument(
        "--min_frames",
        type=int,
        default=10,
        help="frames of a face below which a video is not judged by it, at least 4: fewer have no interval",
    )
    group.add_argument(
        "--any_quality",
        action="store_true",
        help="judge also what is compressed in another way, or shows smaller faces, than the detector was validated on",
    )


def _add_faces(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("faces")
    group.add_argument(
        "--detect_every",
        type=int,
        default=0,
        metavar="N",
        help="look for faces in every N-th frame, and follow them in between; default: as the data set's, or 5",
    )
    group.add_argument(
        "--score_every", type=int, default=1, metavar="N", help="score faces in every N-th frame"
    )
    group.add_argument(
        "--max_faces", type=int, default=32, metavar="N", help="judge the largest N of a frame"
    )
    group.add_argument(
        "--batch", type=int, default=32, metavar="N", help="faces scored at once, across inputs"
    )
    group.add_argument(
        "--detector",
        default="",
        help="hog, blazeface, centerface, or a YuNet model file (.onnx); default: as the detector's data set, or hog",
    )
    group.add_argument(
        "--landmarks",
        default="",
        metavar="FILE",
        help="model that turns faces upright, for a detector that was trained on such",
    )
    group.add_argument(
        "--margin",
        type=float,
        default=0.0,
        help="side of the crop by that of the face; default: as the detector's data set, or 1.3",
    )
    group.add_argument(
        "--cropped",
        action="store_true",
        help="inputs are faces cut out already: look for none",
    )
    group.add_argument(
        "--frames", action="store_true", help="a folder holds one video's frames as images"
    )


def add_export(commands: argparse._SubParsersAction) -> None:
    """Adds `kdjax export`."""
    parser = add_command(
        commands, "export", "write a run's detector as models and weights for elsewhere"
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a finished run")
    parser.add_argument(
        "--output", type=Path, help="a new or empty folder; default: export in the run's"
    )
    parser.add_argument(
        "--format",
        default="stablehlo,weights",
        metavar="NAME,...",
        help="stablehlo (JAX on CPU, CUDA and TPU), weights (safetensors), onnx, int8 (ONNX for CPUs, beside onnx; "
        "takes validation images); or all",
    )
    parser.add_argument(
        "--licence", default="", metavar="TEXT", help="of the weights, for the card"
    )
    parser.add_argument(
        "--limit",
        type=int,
        default=2000,
        help="validation images that the AUC of int8 is compared on, at most",
    )
    add_program(parser)
