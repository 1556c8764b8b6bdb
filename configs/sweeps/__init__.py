"""The papers' tables as sweeps: each file's `sweep()` yields the overrides of one row after the other.

    kdjax sweep tokd_table6 --config=tokd:resnet18_thin --workdir=runs/table6 \
      --config.data.path=DATA --config.teacher.runs=runs/dual

A row that names another configuration without a network takes the network of `--config`. `SETTINGS` are of every
row, so that all train alike; the command line changes them.

Helpers for files of one's own: `grid`, `random` and `quasi_random` over `linear`, `log`, `integer` and `choice`,
`product`, `zipped`, `seeds`.
"""

from kdjax.configs.draws import (
    Range,
    choice,
    grid,
    integer,
    linear,
    log,
    product,
    quasi_random,
    random,
    seeds,
    zipped,
)

__all__ = [
    "ALONE",
    "FEW",
    "NAMES",
    "Range",
    "choice",
    "grid",
    "integer",
    "linear",
    "log",
    "product",
    "quasi_random",
    "random",
    "seeds",
    "zipped",
]

ALONE: dict[str, tuple[str, ...] | str] = {
    "teacher.runs": (),
    "teacher.recorded": (),
    "teacher.weights": (),
    "teacher.network": "",
}
"""Overrides of a row that learns from no teacher."""

FEW: dict[str, float] = {"train.steps": 2000, "train.patience": 0}
"""Overrides of a row on few images, where an epoch is a few steps: as long for all, to the end."""

NAMES = (
    *("ckd_table1", "ckd_table3", "ckd_figure4"),
    *("add_table1", "add_table2", "add_table3"),
    *("tokd_table3", "tokd_table5", "tokd_table6", "tokd_figure3"),
    *("qad_table1", "qad_table3", "qad_table4", "qad_table5", "qad_figure3"),
)
"""The sweeps that ship with the package."""
