"""Sweeps: a Python file yields overrides, each becomes a run, all end in one table.

`rows` reads the file, `plan` makes runs of its rows, `ledger` knows what became of them, `work` trains them, `jobs` in
several processes, `tables` writes what came out, and `Sweep` reads it back.
"""

from typing import TYPE_CHECKING

from kdjax.lazy import lazily

if TYPE_CHECKING:
    from kdjax.train.sweeps.folder import Sweep as Sweep
    from kdjax.train.sweeps.plan import Planned as Planned
    from kdjax.train.sweeps.plan import plan_runs as plan_runs
    from kdjax.train.sweeps.rows import read_sweep as read_sweep
    from kdjax.train.sweeps.work import sweep as sweep

PLACES = {
    "Planned": "plan",
    "Sweep": "folder",
    "plan_runs": "plan",
    "read_sweep": "rows",
    "sweep": "work",
}
"""The module of each public name."""

__all__ = list(PLACES)

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazily(__name__, PLACES)
