"""`kdjax report`."""

import argparse
import os
from pathlib import Path

from kdjax import configs
from kdjax.train.reporting import report


def run(options: argparse.Namespace) -> None:
    """Runs the command."""
    folders = [run.absolute() for run in options.runs]
    output = options.output or Path(os.path.relpath(os.path.commonpath(folders))) / "report.html"
    extensions = configs.program(options.program)
    print(
        report(
            options.runs,
            output,
            split=options.split,
            latency=options.latency,
            extensions=extensions,
        )
    )
