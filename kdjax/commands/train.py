"""`kdjax train`."""

import argparse

from kdjax import configs
from kdjax.train import hosts
from kdjax.train.loop import train


def run(options: argparse.Namespace) -> None:
    """Runs the command."""
    if options.distributed or options.coordinator or options.hosts or options.host >= 0:
        hosts.join(options.coordinator, options.hosts, options.host)
    more = configs.program(options.program)
    config, extensions = configs.read(options.config, options.overrides, more)
    result = train(
        config,
        options.workdir,
        extensions,
        profile=options.profile,
        accept_config_changes=options.accept_config_changes,
    )
    if not hosts.is_first():
        return
    print(
        f"{options.workdir}: step {result['step']}, best validation "
        f"{config.train.selection} {result['best_metric']:.4f} at step {result['best_step']}; "
        f"next: kdjax evaluate {options.workdir}"
    )
