"""The arguments of `kdjax serve`."""

import argparse
from pathlib import Path

from kdjax.arguments.common import add_command, add_program
from kdjax.serve.web.limits import Limits

TEXTS = {
    "megabytes": "of a file",
    "seconds": "that a file may be worked on",
    "waiting": "files that lie here at a time: on their way, waiting, or worked on",
    "kept": "results that are kept, the newest; an hour at most",
    "memory_megabytes": "memory of the process that decodes",
}
"""Of the limits that can be set."""


def add_serve(commands: argparse._SubParsersAction) -> None:
    """Adds `kdjax serve`."""
    parser = add_command(commands, "serve", "judge images and videos on a web page of this machine")
    parser.add_argument(
        "--run", type=Path, required=True, metavar="RUN", help="folder of a run or of an export"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at")
    parser.add_argument("--port", type=int, default=8000, help="port; 0: any that is free")
    parser.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="NAME",
        help="a name that others ask this machine by, where --host is not this machine alone; several times if need be",
    )
    limits = parser.add_argument_group("limits")
    for name, text in TEXTS.items():
        default = getattr(Limits(), name)
        limits.add_argument(f"--{name}", type=int, default=default, metavar="N", help=text)
    verdicts = parser.add_argument_group("verdicts", "as of kdjax predict")
    verdicts.add_argument(
        "--threshold",
        type=float,
        metavar="P",
        help="call fake what scores above it; default: the calibration's",
    )
    verdicts.add_argument(
        "--any_quality", action="store_true", help="judge any compression, unless asked otherwise"
    )
    verdicts.add_argument(
        "--detector", default="", help="finds faces; default: the one of the detector's data set"
    )
    verdicts.add_argument(
        "--landmarks", default="", metavar="FILE", help="model that faces are turned upright by"
    )
    add_program(parser)
