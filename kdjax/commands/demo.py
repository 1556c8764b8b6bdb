"""`kdjax demo`."""

import argparse

from kdjax.demo import run_demo


def run(options: argparse.Namespace) -> None:
    """Runs the command."""
    run_demo(options.workdir, seed=options.seed, full=options.full)
