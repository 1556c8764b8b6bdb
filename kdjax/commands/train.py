"""`kdjax train`."""

import argparse

from kdjax import configs
from kdjax.train.loop import train


def run(options: argparse.Namespace) -> None:
    """Runs the command."""
    config = configs.load(options.config, options.overrides)
    result = train(config, options.workdir)
    print(
        f"{options.workdir}: step {result['step']}, best validation "
        f"{config.train.selection} {result['best_metric']:.4f} at step {result['best_step']}; "
        f"next: kdjax evaluate {options.workdir}"
    )
