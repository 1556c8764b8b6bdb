"""`kdjax evaluate`."""

import argparse

from kdjax import configs
from kdjax.commands.tables import print_results
from kdjax.train.evaluation import evaluate_run, evaluation_name


def run(options: argparse.Namespace) -> None:
    """Runs the command."""
    data = options.data or ""
    extensions = configs.program(options.program)
    qualities = tuple(filter(None, options.qualities.split(",")))
    for folder in options.runs:
        evaluate_run(
            folder,
            split=options.split,
            data=data,
            limit=options.limit,
            qualities=qualities,
            extensions=extensions,
        )
    print_results(options.runs, evaluation_name(options.split, data, options.limit, qualities))
