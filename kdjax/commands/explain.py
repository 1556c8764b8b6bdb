"""`kdjax explain`."""

import argparse
import os
from pathlib import Path

from kdjax import configs
from kdjax.commands.evaluate import said_once
from kdjax.train.explaining import explain_runs


def run(options: argparse.Namespace) -> None:
    """Runs the command."""
    folders = [run.absolute() for run in options.runs]
    output = options.output or Path(os.path.relpath(os.path.commonpath(folders))) / "explain"
    with said_once():
        page = explain_runs(
            options.runs,
            output,
            teacher=options.teacher,
            stage=options.stage,
            method=options.method,
            split=options.split,
            data=options.data or "",
            limit=options.limit,
            qualities=tuple(filter(None, options.qualities.split(","))),
            extensions=configs.program(options.program),
        )
    print(page)
