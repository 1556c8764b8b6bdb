"""What each command calls, a module each: imported only once the flags are known to be right."""

import argparse
import importlib


def run(options: argparse.Namespace) -> None:
    """Runs the command that was parsed."""
    importlib.import_module(f"kdjax.commands.{options.command}").run(options)
