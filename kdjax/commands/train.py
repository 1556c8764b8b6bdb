"""`kdjax train`."""

import argparse

from kdjax import configs
from kdjax.checks import UserError
from kdjax.train import hosts
from kdjax.train.loop import train


def run(options: argparse.Namespace) -> None:
    """Runs the command."""
    given = {
        "coordinator": options.coordinator,
        "hosts": options.hosts,
        "host": options.host,
    }
    named = [name for name, value in given.items() if value not in (None, "")]
    if options.distributed and named:
        raise UserError(
            f"--distributed takes all from the cluster; leave it out, or --{' and --'.join(named)}"
        )
    if options.distributed or named:
        hosts.join(*given.values())
    more = configs.program(options.program)
    config, extensions = configs.read(options.config, options.overrides, more)
    with hosts.losses_told():
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
