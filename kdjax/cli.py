"""`kdjax COMMAND`: flags in, one call out; errors of the user's become one line."""

import itertools
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from kdjax.arguments.parser import build_parser
from kdjax.checks import Terminated, UserError, plain_lines
from kdjax.compilation import keep_programs
from kdjax.termination import INTERRUPTED, TERMINATED, stoppable

GOES_ON = ("train", "sweep", "prepare", "demo")
"""Commands that have saved something before they end."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    parser, command = build_parser(), ""
    try:
        words = expand_flagfiles(sys.argv[1:] if arguments is None else arguments)
        others, changes = split_overrides(words)
        options, rest = parser.parse_known_args(others)
        command, overrides = options.command, parse_overrides([*changes, *rest])
        if overrides and not (options.takes_config and options.config):
            raise UserError(f"kdjax {options.command} takes no --config.{next(iter(overrides))}")
        options.overrides = overrides
        _quiet_libraries()
        if problem := keep_programs():
            print(f"note: compiled programs are not kept: {problem}", file=sys.stderr)
        with stoppable(terminated=options.command in ("train", "sweep")):
            from kdjax import commands

            commands.run(options)
    except UserError as error:
        print(f"kdjax: error: {plain_lines(error)}", file=sys.stderr)
        return 2
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        where = f"{error.filename}: " if error.filename else ""
        print(f"kdjax: error: {plain_lines(f'{where}{error.strerror or error}')}", file=sys.stderr)
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
        print(
            "kdjax: terminated; what was saved is kept, and the same command goes on from there",
            file=sys.stderr,
        )
        return TERMINATED
    except KeyboardInterrupt as stop:
        kept = (
            "what was saved is kept, and the same command goes on from there"
            if command in GOES_ON
            else "nothing is half written, and the same command begins again"
        )
        print(f"kdjax: interrupted; {stop.args[0] if stop.args else kept}", file=sys.stderr)
        return INTERRUPTED
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
