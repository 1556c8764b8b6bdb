"""`kdjax evaluate`."""

import argparse

from kdjax import configs
from kdjax.commands.tables import print_corruptions, print_results
from kdjax.data_pipeline.corruptions import KINDS
from kdjax.train.evaluation import evaluate_run, evaluation_name
from kdjax.train.run import Run


def run(options: argparse.Namespace) -> None:
    """Runs the command."""
    data = options.data or ""
    extensions = configs.program(options.program)
    qualities = _listed(options.qualities)
    corruptions = KINDS if options.corruptions == "all" else _listed(options.corruptions)
    # before the first is evaluated: a pattern may have caught a table beside the runs
    for folder in options.runs:
        Run(folder)
    for folder in options.runs:
        evaluate_run(
            folder,
            split=options.split,
            data=data,
            limit=options.limit,
            qualities=qualities,
            corruptions=corruptions,
            extensions=extensions,
        )
    name = evaluation_name(options.split, data, options.limit, qualities, corruptions)
    if corruptions:
        print_corruptions(options.runs, corruptions, name)
    else:
        print_results(options.runs, name)


def _listed(text: str) -> tuple[str, ...]:
    return tuple(filter(None, text.split(",")))
