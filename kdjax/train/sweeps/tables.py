"""What a sweep writes, from its runs' folders alone: whoever writes it, it is the same, and right while others work.

`results.csv` has a line for each run, `summary.csv` and `results.json` one for each row with its interval over seeds,
and `results.md` both for reading.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kdjax.evaluate.evaluation import OVERALL, Evaluation
from kdjax.evaluate.grouped import Group, Line, Summary, line_row, line_to_json
from kdjax.evaluate.membership import FORMAT, RESULTS
from kdjax.files import as_csv, write_json, write_text
from kdjax.train.sweeps import known
from kdjax.train.sweeps.ledger import DONE, Ledger, State
from kdjax.types import QUALITIES

Found = list[tuple[known.Row, list[tuple[known.Entry, State]]]]
"""Each row with its runs and what is known of them."""


class Tables:
    """The files of a sweep, written anew after each run; what was resampled once is kept."""

    def __init__(self, ledger: Ledger) -> None:
        """Takes the ledger of the sweep's folder."""
        self._ledger, self._summary = ledger, Summary()

    def found(self) -> Found:
        """Returns every row that the folder knows with what is known of its runs."""
        rows = known.read(self._ledger.folder).rows
        placed = [(row, [self._ledger.placed(entry) for entry in row.runs]) for row in rows]
        return [(row, [(run, self._ledger.state(run)) for run in runs]) for row, runs in placed]

    def write(self) -> None:
        """Writes all files; waits for others that write them."""
        with self._ledger.locked():
            found, folder = self.found(), self._ledger.folder
            baseline = known.read(folder).baseline
            lines = self.lines(found, baseline)
            runs = run_rows(found)
            write_text(folder / "results.csv", as_csv(runs, last=("problem",)))
            write_text(folder / "summary.csv", as_csv(summary_rows(lines)))
            write_text(folder / "results.md", to_markdown(runs, lines, baseline))
            write_json(folder / RESULTS, _to_json(found, lines, self._ledger.split, baseline))

    def lines(self, found: Found, baseline: str) -> dict[str, list[Line]]:
        """Returns a line for each row in each quality, compared with the row `baseline` where there is one."""
        groups = [Group(row.name, evaluations(runs)) for row, runs in found]
        scored = (run for group in groups for run in group.runs.values())
        own = {name: None for run in scored for name in run.scores if name not in QUALITIES}
        return {
            quality: self._summary.lines(groups, baseline, quality)
            for quality in (*QUALITIES, *own, OVERALL)
        }


def evaluations(runs: Iterable[tuple[known.Entry, State]]) -> dict[int, Evaluation]:
    """Returns what was found, by seed."""
    return {run.seed: state.evaluation for run, state in runs if state.evaluation is not None}


def run_rows(found: Found) -> list[dict[str, Any]]:
    """Returns a line for each run, all rows of a seed first: its settings, its state, its metrics, why it failed."""
    lines = [
        (
            position,
            {
                "run": run.folder.name,
                "row": row.name,
                "config": row.config,
                **row.overrides,
                "seed.student": run.seed,
                "state": state.name,
                **_flat(state.evaluation),
                "problem": state.problem,
            },
        )
        for row, runs in found
        for position, (run, state) in enumerate(runs)
    ]
    return [line for _, line in sorted(lines, key=lambda pair: pair[0])]


def _flat(evaluation: Evaluation | None) -> dict[str, Any]:
    if evaluation is None:
        return {}
    return {
        f"{quality}/{name}": value
        for quality, values in evaluation.metrics.items()
        for name, value in values.items()
    }


def summary_rows(lines: Mapping[str, Sequence[Line]]) -> list[dict[str, Any]]:
    """Returns a line for each quality and row: mean, interval, and what the comparison says."""
    return [
        {"quality": quality, **line_row(line)} for quality, each in lines.items() for line in each
    ]


def _to_json(
    found: Found, lines: Mapping[str, Sequence[Line]], split: str, baseline: str
) -> dict[str, Any]:
    rows = [
        {
            "name": row.name,
            "config": row.config,
            "overrides": row.overrides,
            "runs": {
                str(run.seed): {
                    "folder": run.folder.name,
                    "state": state.name,
                    "problem": state.problem,
                }
                for run, state in runs
            },
            "summary": {quality: line_to_json(each[number]) for quality, each in lines.items()},
        }
        for number, (row, runs) in enumerate(found)
    ]
    return {
        "format": FORMAT, "split": split, "metric": "auc", "baseline": baseline, "rows": rows,
    }  # fmt: skip


def to_markdown(
    runs: Sequence[Mapping[str, Any]], lines: Mapping[str, Sequence[Line]], baseline: str
) -> str:
    """Returns the sweep as a page: a table for each quality that was measured, then the runs that are not done."""
    done = sum(run["state"] == DONE for run in runs)
    compared = (
        f" Differences are to {_text(baseline)}: of all seeds and test videos (bootstrap), and over seeds (t)."
        if baseline
        else ""
    )
    parts = [
        "# Results of the sweep",
        f"{done} of {len(runs)} runs are done. AUC is the mean over seeds, with its 95 % interval.{compared}",
    ]
    for quality, each in lines.items():
        if any(line.seeds and line.auc.estimate == line.auc.estimate for line in each):
            parts += [
                f"## {quality}",
                _markdown_table([_line_cells(line, baseline) for line in each]),
            ]
    if left := [run for run in runs if run["state"] != DONE]:
        cells = [
            {
                "run": run["run"],
                "row": _text(run["row"]),
                "seed": str(run["seed.student"]),
                "state": run["state"],
                "why": _text(run["problem"]),
            }
            for run in left
        ]
        parts += ["## Not done", _markdown_table(cells)]
    return "\n\n".join(parts) + "\n"


def _line_cells(line: Line, baseline: str) -> dict[str, str]:
    row = line_row(line)
    cells = {
        "row": _text(line.name),
        "seeds": str(line.seeds),
        "AUC": _with_bounds(row["AUC"], row["low"], row["high"]),
    }
    if baseline:
        cells |= {
            "difference (bootstrap)": _with_bounds(
                row["difference"], row["bootstrap low"], row["bootstrap high"], sign="+"
            ),
            "over seeds": _bounds(row["over seeds low"], row["over seeds high"], sign="+"),
            "p (Holm)": _number(row["p (Holm)"]),
        }
    return cells


def _with_bounds(value: float, low: float, high: float, sign: str = "") -> str:
    return f"{_number(value, sign)} {_bounds(low, high, sign)}".rstrip()


def _bounds(low: float, high: float, sign: str = "") -> str:
    return f"[{_number(low, sign)}, {_number(high, sign)}]" if low == low else ""


def _number(value: float, sign: str = "") -> str:
    return f"{value:{sign}.4f}" if value == value else ""


def _markdown_table(rows: Sequence[Mapping[str, str]]) -> str:
    columns = list(rows[0])
    lines = [columns, ["---"] * len(columns), *([row[name] for name in columns] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _text(value: str) -> str:
    """Returns a text that stays in its cell and means nothing to Markdown."""
    line = "".join(each if each.isprintable() else " " for each in str(value))
    for mark in "\\`*[]<>|#":
        line = line.replace(mark, f"\\{mark}")
    return line
