"""`kdjax evaluate`."""

import argparse

from kdjax.commands.tables import print_results
from kdjax.train.evaluation import evaluate_run, evaluation_name


def run(options: argparse.Namespace) -> None:
    """Runs the command."""
    data = options.data or ""
    for folder in options.runs:
        evaluate_run(folder, split=options.split, data=data, limit=options.limit)
    print_results(options.runs, evaluation_name(options.split, data, options.limit))
