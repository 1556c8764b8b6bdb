"""`kdjax evaluate`."""

import argparse
import contextlib
import functools
import sys
import warnings
from collections.abc import Iterator
from typing import Any

from sklearn.exceptions import UndefinedMetricWarning

from kdjax.checks import UserError
from kdjax.commands.several import Several


def run(options: argparse.Namespace) -> None:
    """Runs the command."""
    if options.scores:
        from kdjax.commands import scores

        scores.run(options)
        return
    if not options.runs:
        raise UserError("name one or more runs, or tables of scores: --scores FILE.csv")
    options.split = options.split or "test"
    if options.output and not options.protocol:
        raise UserError(
            "--output goes with --scores and --protocol; `kdjax report` writes the page on runs"
        )
    with said_once():
        _evaluate(options)


def _evaluate(options: argparse.Namespace) -> None:
    # JAX and what else networks take
    from kdjax import configs
    from kdjax.data_pipeline.corruptions import KINDS
    from kdjax.train.calibration import SPLIT
    from kdjax.train.run import Run

    qualities = _listed(options.qualities)
    corruptions = KINDS if options.corruptions == "all" else _listed(options.corruptions)
    if options.false_alarms is not None and not options.calibrate:
        raise UserError("--false_alarms goes with --calibrate")
    if options.calibrate and (corruptions or options.split not in ("test", SPLIT)):
        other = "--corruptions" if corruptions else f"--split={options.split}"
        raise UserError(f"--calibrate is of the validation split as it is, without {other}")
    # before the first is evaluated: a pattern may have caught a table beside the runs
    for folder in options.runs:
        Run(folder)
    if options.protocol:
        from kdjax.commands import protocol

        protocol.run(options, qualities, corruptions)
        return
    shared: dict[str, Any] = {
        "limit": options.limit,
        "qualities": qualities,
        "extensions": configs.program(options.program),
    }
    several = Several("evaluations could not be made")
    if options.calibrate:
        _calibrate(options, several, shared)
    else:
        _measure(options, several, {**shared, "corruptions": corruptions, "split": options.split})
    several.end()


def _calibrate(options: argparse.Namespace, several: Several, shared: dict[str, Any]) -> None:
    from kdjax.commands import tables
    from kdjax.train.calibration import calibrate_run

    if len(options.data) > 1:
        raise UserError("--calibrate takes one data set: a run has one threshold")
    rate = 0.01 if options.false_alarms is None else options.false_alarms
    data = options.data[0] if options.data else ""
    calibrate = functools.partial(calibrate_run, false_alarms=rate, data=data, **shared)
    tables.print_calibrations(dict(several.use(options.runs, calibrate)))


def _measure(options: argparse.Namespace, several: Several, shared: dict[str, Any]) -> None:
    """Evaluates the runs on each data set, and prints its tables."""
    from kdjax.commands import tables
    from kdjax.train.evaluation import check_distinct, evaluate_run, evaluation_name

    check_distinct(options.data)
    given = options.data or [""]
    pairs = [(data, folder) for data in given for folder in options.runs]
    done = [
        pair
        for pair, _ in several.use(
            pairs, lambda pair: evaluate_run(pair[1], data=pair[0], **shared)
        )
    ]
    named = {name: value for name, value in shared.items() if name != "extensions"}
    for data in given:
        runs = [folder for place, folder in done if place == data]
        name = evaluation_name(data=data, **named)
        if len(given) > 1:
            print(f"on {data}:")
        if not runs:
            print("no run")
        elif shared["corruptions"]:
            tables.print_corruptions(runs, shared["corruptions"], name)
        else:
            tables.print_results(runs, name)
            tables.print_intervals(runs, name)


@contextlib.contextmanager
def said_once() -> Iterator[None]:
    """Prints metrics that are not defined as one line each, not as a warning with a place in the code."""
    told: set[str] = set()
    with warnings.catch_warnings():
        usual = warnings.showwarning

        def show(message: Any, category: type[Warning], *place: Any, **more: Any) -> None:
            if not issubclass(category, UndefinedMetricWarning):
                usual(message, category, *place, **more)
            elif str(message) not in told:
                told.add(str(message))
                print(f"note: {message}", file=sys.stderr)

        warnings.simplefilter("always", UndefinedMetricWarning)
        warnings.showwarning = show
        yield


def _listed(text: str) -> tuple[str, ...]:
    return tuple(filter(None, text.split(",")))
