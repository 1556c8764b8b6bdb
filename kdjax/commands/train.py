"""`kdjax train`."""

import argparse

from kdjax import configs
from kdjax.train.loop import train


def run(options: argparse.Namespace) -> None:
    """Runs the command."""
    more = configs.program(options.program)
    config, extensions = configs.read(options.config, options.overrides, more)
    result = train(
        config, options.workdir, extensions, accept_config_changes=options.accept_config_changes
    )
    print(
        f"{options.workdir}: step {result['step']}, best validation "
        f"{config.train.selection} {result['best_metric']:.4f} at step {result['best_step']}; "
        f"next: kdjax evaluate {options.workdir}"
    )
