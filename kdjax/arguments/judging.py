"""The arguments of `kdjax evaluate`, `report` and `explain`."""

import argparse
from pathlib import Path

from kdjax.arguments.common import SPLITS, add_command, add_program


def add_evaluate(commands: argparse._SubParsersAction) -> None:
    """Adds `kdjax evaluate`."""
    parser = add_command(
        commands, "evaluate", "evaluate the best weights of runs, or any detector's scores"
    )
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN", help="folder of a run")
    parser.add_argument("--split", choices=SPLITS, help="split to evaluate on (default test)")
    parser.add_argument(
        "--data",
        type=Path,
        action="append",
        default=[],
        metavar="FOLDER",
        help="another data set than the run's own; may be given several times",
    )
    parser.add_argument("--limit", type=int, default=0, help="at most so many images; 0: all")
    parser.add_argument(
        "--qualities",
        default="",
        help="of these alone: stored ones, and JPEG as jpeg (drawn) or jpeg1 to jpeg100, made from the best; "
        "default: all that are stored, and what was made for the student",
    )
    parser.add_argument(
        "--corruptions",
        default="",
        help="under these instead, in five severities each: all, or some of jpeg, h264, blur, noise, resize",
    )
    parser.add_argument(
        "--calibrate",
        action="store_true",
        help="on the validation split, fit a temperature and choose a threshold, kept in the run's calibration.json",
    )
    parser.add_argument(
        "--false_alarms",
        type=float,
        metavar="RATE",
        help="the share of reals that may lie above the threshold (--calibrate); default: 0.01",
    )
    parser.add_argument(
        "--scores",
        nargs="+",
        metavar="FILE.csv",
        help="in place of runs, tables with columns id, label, score, and video, forgery, quality, dataset if known; "
        "several are compared with the first",
    )
    parser.add_argument(
        "--protocol",
        default="",
        metavar="NAME",
        help="evaluate by it and tell apart what it asks: quality-agnostic, quality-agnostic-jpeg, quality-aware, "
        "cross-manipulation, cross-dataset, corruptions, few-samples, or a Python file that defines protocol()",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="write the page on --scores too (HTML), or the numbers of --protocol (CSV)",
    )
    add_program(parser)


def add_report(commands: argparse._SubParsersAction) -> None:
    """Adds `kdjax report`."""
    parser = add_command(commands, "report", "write one HTML file about runs, to open offline")
    parser.add_argument(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="folder of a run, or of a sweep with seeds",
    )
    parser.add_argument(
        "--output", type=Path, help="default: report.html in the runs' common folder"
    )
    parser.add_argument(
        "--split", default="test", help="evaluation to show: a split of the data set"
    )
    parser.add_argument(
        "--latency",
        action="store_true",
        help="time an image through each network on this machine, for the section on costs",
    )
    add_program(parser)


def add_explain(commands: argparse._SubParsersAction) -> None:
    """Adds `kdjax explain`."""
    parser = add_command(
        commands, "explain", "show what runs look at: heat maps, errors, likeness to the teacher"
    )
    parser.add_argument(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="folder of a run; heat inside the masks of fakes is compared with the first one's",
    )
    parser.add_argument(
        "--teacher",
        type=Path,
        metavar="RUN",
        help="the run to compare them with; default: the one that taught the first of them that had any",
    )
    parser.add_argument(
        "--stage", default="stage4", help="the map that is explained: stage1 to stage4, or another"
    )
    parser.add_argument(
        "--method",
        default="gradcam",
        choices=("gradcam", "gradcam++"),
        help="kind of heat in the pictures; explain.json has the numbers of both",
    )
    parser.add_argument("--split", default="test", choices=SPLITS, help="split to look at")
    parser.add_argument("--data", type=Path, help="another data set than the first run's own")
    parser.add_argument(
        "--limit",
        type=int,
        default=512,
        help="at most so many images, spread over the split; 0: all",
    )
    parser.add_argument(
        "--qualities", default="", help="of these alone, as raw,c40; default: all that are stored"
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="folder of index.html, explain.json and heat/; default: explain in the runs' common folder",
    )
    add_program(parser)
