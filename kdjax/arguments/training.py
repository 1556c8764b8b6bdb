"""The arguments of `kdjax train` and `sweep`."""

import argparse
from pathlib import Path

from kdjax.arguments.common import CONFIG, add_command, add_program
from kdjax.defaults import GROUP

EXIT_STATUS = """\
Exit status: 0 trained to its end, 2 an error, 75 after SIGTERM and 130 after Ctrl-C: all is
saved, and the same command goes on. After kill -9 it goes on from the last checkpoint
(train.save_every, train.save_minutes, and every validation)."""


def add_train(commands: argparse._SubParsersAction) -> None:
    """Adds `kdjax train`."""
    parser = add_command(
        commands, "train", "train a run, or go on with an interrupted one", takes_config=True
    )
    parser.add_argument("--config", required=True, help=CONFIG)
    parser.add_argument("--workdir", type=Path, required=True, help="folder of the run")
    parser.add_argument(
        "--profile",
        default="",
        metavar="START:STOP",
        help="trace these steps into the folder's `profile`, for TensorBoard or Perfetto",
    )
    hosts = parser.add_argument_group(
        "several hosts", "the same command on each, with a --workdir that all of them see"
    )
    hosts.add_argument(
        "--distributed",
        action="store_true",
        help="as the cluster's own environment says (SLURM, Open MPI, GKE, Cloud TPU)",
    )
    hosts.add_argument("--coordinator", default="", metavar="HOST:PORT", help="address of host 0")
    hosts.add_argument("--hosts", type=int, help="how many there are")
    hosts.add_argument("--host", type=int, help="which this is, from 0 on")
    add_program(parser)
    parser.epilog = f"{parser.epilog}\n\n{EXIT_STATUS}"
    parser.add_argument(
        "--accept_config_changes",
        action="store_true",
        help="go on with another train.steps, train.epochs, train.patience, train.validations_per_epoch, "
        "train.validation_interval, train.gradient_ratio_every or train.nonfinite than the run was begun with: "
        "more steps make a finished run longer",
    )


def add_sweep(commands: argparse._SubParsersAction) -> None:
    """Adds `kdjax sweep`."""
    parser = add_command(
        commands, "sweep", "train and evaluate one run for each override", takes_config=True
    )
    parser.add_argument(
        "sweep",
        help="a table of the papers, as tokd_table6, or a Python file whose sweep() yields dicts",
    )
    parser.add_argument("--config", default="", help=f"{CONFIG}; --status does without")
    parser.add_argument("--workdir", type=Path, required=True, help="folder of the runs")
    parser.add_argument(
        "--seeds",
        type=int,
        default=1,
        help="run each row with so many seeds, from seed.student on, and print mean and interval",
    )
    parser.add_argument(
        "--baseline",
        default="",
        help="row to compare the others with, by name or number; default: the one named last",
    )
    parser.add_argument(
        "--jobs", type=int, default=1, help="processes, each with its share of the cores and GPUs"
    )
    parser.add_argument(
        "--group",
        type=int,
        default=GROUP,
        metavar="N",
        help="runs that differ in seeds, learning rates, loss weights and such numbers only are trained side by side, "
        f"N at most: each batch is read and each teacher asked once for all; 1: one after the other; default: {GROUP}",
    )
    parser.add_argument(
        "--shard",
        default="",
        metavar="I/N",
        help="the I-th of N shares of the runs alone, from 1 on",
    )
    parser.add_argument("--retry", action="store_true", help="also what failed before")
    parser.add_argument(
        "--dry-run", "--dry_run", action="store_true", help="say what would be done; write nothing"
    )
    parser.add_argument(
        "--status", action="store_true", help="say what is done, running, failed and missing"
    )
    parser.add_argument(
        "--accept_changes",
        action="store_true",
        help="go on although your program has changed since some of the runs were trained",
    )
    parser.add_argument("--worker", default="", help=argparse.SUPPRESS)
    add_program(parser)
