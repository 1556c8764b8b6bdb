"""What the arguments of several commands have in common."""

import argparse

CONFIG = "METHOD[:NETWORK], or a Python file or module of your own, FILE.py[:ARGUMENT]"

CONFIG_HELP = """\
Any field of the configuration is set by --config.KEY=VALUE, for example
--config.optimizer.learning_rate=1e-4 or --config.student.qualities=raw,c40.
`kdjax info --config=NAME` lists the fields with their values; `kdjax info` alone
lists the configurations and the networks. --flagfile=FILE stands for the arguments
in a file, one a line."""

SPLITS = ("train", "validation", "test")


class _Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows every default that says something, and the epilogue as it is written."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        says_nothing = (
            action.default is None or action.default is False or action.default in ("", [])
        )
        return action.help if says_nothing else super()._get_help_string(action)


def add_command(
    commands: argparse._SubParsersAction, name: str, text: str, *, takes_config: bool = False
) -> argparse.ArgumentParser:
    """Adds a command without arguments, and returns its parser.

    Args:
      commands: what `add_subparsers` returns.
      name: the command's.
      text: one line on what it does, from a small letter on.
      takes_config: whether `--config.KEY=VALUE` goes with it.
    """
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


def add_program(parser: argparse.ArgumentParser) -> None:
    """Adds `--program`."""
    parser.add_argument(
        "--program",
        default="",
        help="Python file, or module, that names networks, methods and so on of your own, as METHODS = {...}",
    )
