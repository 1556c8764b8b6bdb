"""`kdjax sweep`."""

import argparse

from kdjax import configs
from kdjax.checks import UserError
from kdjax.commands.tables import print_results, print_summary
from kdjax.train.sweep import read_sweep, sweep


def run(options: argparse.Namespace) -> None:
    """Runs the command."""
    rows, settings = read_sweep(options.sweep)
    common = {**settings, **options.overrides}
    results = sweep(
        rows,
        options.config,
        common,
        options.workdir,
        seeds=options.seeds,
        baseline=options.baseline,
        extensions=configs.program(options.program),
        accept_changes=options.accept_changes,
    )
    if done := [run for run, evaluation in results if evaluation is not None]:
        if options.seeds > 1 or options.baseline:
            print_summary(options.workdir, done)
        else:
            print_results(done)
    print(options.workdir / "results.csv")
    failed = [run.name for run, evaluation in results if evaluation is None]
    if failed:
        raise UserError(
            f"{len(failed)} of {len(results)} runs failed, see {options.workdir}/results.csv: {failed[0]}"
        )
