"""The parser of all commands, and what `kdjax demo` and `info` take."""

import argparse
from pathlib import Path
from typing import NoReturn

from kdjax.arguments.common import add_command
from kdjax.arguments.data import add_prepare
from kdjax.arguments.judging import add_evaluate, add_explain, add_report
from kdjax.arguments.serving import add_serve
from kdjax.arguments.training import add_sweep, add_train
from kdjax.arguments.using import add_export, add_predict
from kdjax.checks import UserError
from kdjax.version import __version__


class Parser(argparse.ArgumentParser):
    """Raises what is wrong, which becomes one line as every other error of the user's."""

    def error(self, message: str) -> NoReturn:
        """Raises UserError."""
        raise UserError(f"{message}; see {self.prog} --help")


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of all commands."""
    parser = Parser(
        prog="kdjax",
        description="Distil detectors of deepfakes that work on compressed images and video.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"kdjax {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    adders = (
        *(add_demo, add_prepare, add_train, add_evaluate, add_report, add_explain),
        *(add_predict, add_serve, add_export, add_sweep, add_info),
    )
    for add in adders:
        add(commands)
    return parser


def add_demo(commands: argparse._SubParsersAction) -> None:
    """Adds `kdjax demo`."""
    parser = add_command(
        commands,
        "demo",
        "make a data set, train teacher and students, evaluate, export, judge clips, report",
    )
    parser.add_argument("--workdir", type=Path, default=Path("demo"), help="where all of it goes")
    parser.add_argument("--seed", type=int, default=0, help="seed of the data and the students")
    parser.add_argument("--full", action="store_true", help="longer training on more identities")


def add_info(commands: argparse._SubParsersAction) -> None:
    """Adds `kdjax info`."""
    parser = add_command(
        commands, "info", "show versions, devices, networks, a run or a data set", takes_config=True
    )
    parser.add_argument("path", nargs="?", type=Path, help="folder of a run or a data set")
    parser.add_argument(
        "--sheet", type=Path, metavar="FILE.html", help="write a contact sheet of the data set"
    )
    parser.add_argument("--config", help="show the fields of METHOD[:NETWORK], or of FILE.py")
    parser.add_argument(
        "--network", help="show parameters, multiply-adds and feature shapes of a network"
    )
    parser.add_argument(
        "--image_size", type=int, help="side of the image in pixels (--network); default: 224"
    )
