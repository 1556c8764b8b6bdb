"""`kdjax COMMAND`: flags in, one call out; errors of the user's become one line."""

import argparse
import itertools
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from kdjax.arguments import PARTS, add_going_on, add_prepare, add_sweep
from kdjax.checks import Terminated, UserError
from kdjax.compilation import keep_programs
from kdjax.termination import TERMINATED, terminable
from kdjax.version import __version__

CONFIG = "METHOD[:NETWORK], or a Python file or module of your own, FILE.py[:ARGUMENT]"

SPLITS = ("train", "validation", "test")

CONFIG_HELP = """\
Any field of the configuration is set by --config.KEY=VALUE, for example
--config.optimizer.learning_rate=1e-4 or --config.student.qualities=raw,c40.
`kdjax info --config=NAME` lists the fields with their values; `kdjax info` alone
lists the configurations and the networks. --flagfile=FILE stands for the arguments
in a file, one a line."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    parser = build_parser()
    try:
        words = expand_flagfiles(sys.argv[1:] if arguments is None else arguments)
        others, changes = split_overrides(words)
        options, rest = parser.parse_known_args(others)
        overrides = parse_overrides([*changes, *rest])
        if overrides and not (options.takes_config and options.config):
            raise UserError(f"kdjax {options.command} takes no --config.{next(iter(overrides))}")
        options.overrides = overrides
        _quiet_libraries()
        if problem := keep_programs():
            print(f"note: compiled programs are not kept: {problem}", file=sys.stderr)
        with terminable(wanted=options.command in ("train", "sweep")):
            from kdjax import commands

            commands.run(options)
    except UserError as error:
        print(f"kdjax: error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        where = f"{error.filename}: " if error.filename else ""
        print(f"kdjax: error: {where}{error.strerror or error}", file=sys.stderr)
        return 2
    except (MemoryError, RuntimeError) as error:
        # what XLA raises is a RuntimeError
        if not (isinstance(error, MemoryError) or "out of memory" in str(error).lower()):
            raise
        print(
            "kdjax: error: out of memory; lower data.batch_size, data.image_size or what the method keeps "
            f"(as method.bank_size): {str(error).splitlines()[0][:200] if str(error) else 'no details'}",
            file=sys.stderr,
        )
        return 2
    except Terminated:
        print("kdjax: terminated; the same command goes on where it was", file=sys.stderr)
        return TERMINATED
    except KeyboardInterrupt:
        print("kdjax: interrupted; the same command goes on where it was", file=sys.stderr)
        return 130
    return 0


def _quiet_libraries() -> None:
    # absl's INFO lines (Orbax) and TFDS' hints would drown the progress
    import logging

    # and its errors, pages of them, are raised too
    logging.getLogger("absl").setLevel(logging.CRITICAL)


def expand_flagfiles(words: Sequence[str], depth: int = 0) -> list[str]:
    """Returns the arguments with a file's in place of each `--flagfile=FILE` or `--flagfile FILE`, as absl has it.

    A line is an argument; empty lines and those that begin with # or // are passed over.

    Raises:
      UserError: for a file that cannot be read, or that names itself.
    """
    found: list[str] = []
    rest = iter(words)
    for word in rest:
        flag, equals, name = word.partition("=")
        if flag != "--flagfile":
            found.append(word)
            continue
        path = Path(name if equals else next(rest, ""))
        if depth > 8:
            raise UserError(f"--flagfile={path}: files that name each other")
        try:
            lines = [line.strip() for line in path.read_text("utf-8-sig").splitlines()]
        except (OSError, ValueError) as error:
            raise UserError(f"--flagfile={path} cannot be read: {error}") from error
        kept = [line for line in lines if line and not line.startswith(("#", "//"))]
        found += expand_flagfiles(kept, depth + 1)
    return found


def split_overrides(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Returns the arguments without and with `--config.KEY`: argparse takes one with a space in it for no option."""
    others: list[str] = []
    changes: list[str] = []
    rest = iter(words)
    for word in rest:
        if not word.startswith("--config."):
            others.append(word)
            continue
        changes.append(word)
        if "=" not in word:
            changes += itertools.islice(rest, 1)
    return others, changes


def parse_overrides(rest: Sequence[str]) -> dict[str, str]:
    """Returns `{key: text}` of `--config.key=text` or `--config.key text`.

    Raises:
      UserError: for any other argument.
    """
    found: dict[str, str] = {}
    words = iter(rest)
    for word in words:
        if not word.startswith("--config."):
            raise UserError(f"unknown argument {word!r}; see kdjax --help")
        key, equals, text = word.removeprefix("--config.").partition("=")
        if not equals:
            following = next(words, None)
            if following is None:
                raise UserError(f"{word} needs a value, as in {word}=VALUE")
            text = following
        found[key] = text
    return found


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="kdjax",
        description="Distil detectors of deepfakes that work on compressed images and video.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"kdjax {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (_demo, _prepare, _train, _evaluate, _report, _sweep, _info):
        add(commands)
    return parser


class _Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows every default that says something, and the epilogue as it is written."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        says_nothing = action.default is None or action.default is False or action.default == ""
        return action.help if says_nothing else super()._get_help_string(action)


def _command(
    commands: argparse._SubParsersAction, name: str, text: str, *, takes_config: bool = False
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog=CONFIG_HELP if takes_config else None,
        formatter_class=_Help,
        allow_abbrev=False,
    )
    parser.set_defaults(takes_config=takes_config, config="")
    return parser


def _demo(commands: argparse._SubParsersAction) -> None:
    parser = _command(
        commands, "demo", "make a data set, train teacher and students, report: the whole job"
    )
    parser.add_argument("--workdir", type=Path, default=Path("demo"), help="where all of it goes")
    parser.add_argument("--seed", type=int, default=0, help="seed of the data and the students")
    parser.add_argument("--full", action="store_true", help="longer training on more identities")


def _prepare(commands: argparse._SubParsersAction) -> None:
    parser = _command(commands, "prepare", "make a data set of faces in several qualities")
    parser.epilog = PARTS
    add_prepare(parser)


def _add_program(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--program",
        default="",
        help="Python file, or module, that names networks, methods and so on of your own, as METHODS = {...}",
    )


def _train(commands: argparse._SubParsersAction) -> None:
    parser = _command(
        commands, "train", "train a run, or go on with an interrupted one", takes_config=True
    )
    parser.add_argument("--config", required=True, help=CONFIG)
    parser.add_argument("--workdir", type=Path, required=True, help="folder of the run")
    parser.add_argument(
        "--profile",
        default="",
        metavar="START:STOP",
        help="trace these steps into the folder's `profile`, for TensorBoard or Perfetto",
    )
    hosts = parser.add_argument_group(
        "several hosts", "the same command on each, with a --workdir that all of them see"
    )
    hosts.add_argument(
        "--distributed",
        action="store_true",
        help="as the cluster's own environment says (SLURM, Open MPI, GKE, Cloud TPU)",
    )
    hosts.add_argument("--coordinator", default="", metavar="HOST:PORT", help="address of host 0")
    hosts.add_argument("--hosts", type=int, default=0, help="how many there are")
    hosts.add_argument("--host", type=int, default=-1, help="which this is, from 0 on")
    _add_program(parser)
    add_going_on(parser)


def _evaluate(commands: argparse._SubParsersAction) -> None:
    parser = _command(commands, "evaluate", "evaluate the best weights of runs in every quality")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a run")
    parser.add_argument("--split", default="test", choices=SPLITS, help="split to evaluate on")
    parser.add_argument("--data", type=Path, help="another data set than the run's own")
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
    _add_program(parser)


def _report(commands: argparse._SubParsersAction) -> None:
    parser = _command(commands, "report", "write one HTML file about runs, to open offline")
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
    _add_program(parser)


def _sweep(commands: argparse._SubParsersAction) -> None:
    parser = _command(
        commands, "sweep", "train and evaluate one run for each override", takes_config=True
    )
    add_sweep(parser, CONFIG)
    _add_program(parser)


def _info(commands: argparse._SubParsersAction) -> None:
    parser = _command(
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
