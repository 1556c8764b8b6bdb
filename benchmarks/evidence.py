"""The evidence: trains the tables of `evidence_tables.py`, and makes docs/results.md of what is there.

    python benchmarks/evidence.py run c40_synth_scratch --data synthfaces_benchmark=DATA --workdir runs/evidence
    python benchmarks/evidence.py run TABLE... --dry      # what is missing
    python benchmarks/evidence.py page                    # docs/results.md

A run that is there with the same settings, wherever it was made, is not run again. Cut off at any time, the same
command goes on. Several processes may work on tables of their own, or on the same.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import evidence_store as store
from evidence_tables import TABLES

from kdjax.checks import UserError, nearest

PAGE = Path(__file__).resolve().parents[1] / "docs" / "results.md"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    options = build_parser().parse_args(arguments)
    try:
        if options.command == "page":
            return _page(options)
        return _run(options)
    except UserError as error:
        print(f"evidence: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("evidence: interrupted; the same command goes on where it was", file=sys.stderr)
        return 130


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of both commands."""
    parser = argparse.ArgumentParser(prog="evidence.py", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="train what is missing of some tables")
    run.add_argument("tables", nargs="+", metavar="TABLE", help=", ".join(TABLES))
    run.add_argument(
        "--data", action="append", default=[], metavar="NAME=FOLDER", help="a prepared data set"
    )
    run.add_argument("--workdir", type=Path, help="where runs and teachers go")
    run.add_argument("--seeds", type=int, help="how many of a table's seeds (all)")
    run.add_argument("--first", type=int, default=0, help="begin with this one of them (0)")
    run.add_argument("--rows", nargs="*", default=(), help="these rows alone")
    run.add_argument("--dry", action="store_true", help="list what would run")
    page = commands.add_parser("page", help="make the page of the results")
    page.add_argument("--output", type=Path, default=PAGE)
    page.add_argument("--check", action="store_true", help="only say whether it is up to date")
    for command in (run, page):
        command.add_argument("--results", type=Path, default=store.RESULTS, help="the JSON files")
    return parser


def _run(options: argparse.Namespace) -> int:
    import evidence_plan
    import evidence_run

    # Orbax's lines would drown the progress
    logging.getLogger("absl").setLevel(logging.ERROR)
    for name in options.tables:
        if name not in TABLES:
            raise UserError(f"no table is called {name!r}; {nearest(name, TABLES)}")
    if (options.seeds is not None and options.seeds < 1) or options.first < 0:
        raise UserError("--seeds must be at least 1 and --first at least 0")
    data = parse_data(options.data)
    rows = tuple(options.rows)
    last = None if options.seeds is None else options.first + options.seeds
    chosen = {name: TABLES[name].seeds[options.first : last] for name in options.tables}
    for name, seeds in chosen.items():
        if not seeds:
            count = len(TABLES[name].seeds)
            raise UserError(f"--first={options.first} leaves no seed of {name}, which has {count}")
    plans = {name: evidence_plan.plan(TABLES[name], chosen[name], rows) for name in options.tables}
    for name in options.tables:
        open_jobs = evidence_plan.missing(store.read(name, options.results), plans[name])
        print(f"{name}: {len(open_jobs)} of {len(plans[name])} runs are missing", flush=True)
        if options.dry:
            for job in open_jobs:
                print(f"  {job.row.name}, seed {job.seed}")
    if options.dry:
        return 0
    if options.workdir is None:
        raise UserError("--workdir is missing: where runs and teachers go")
    for name in options.tables:
        if TABLES[name].dataset not in data:
            raise UserError(
                f"{name} needs --data {TABLES[name].dataset}=FOLDER of the prepared data set"
            )
    # seeds outside, tables inside: cut off, every table has the same seeds
    for number in range(max(map(len, chosen.values()))):
        for name in options.tables:
            jobs = [job for job in plans[name] if job.seed in chosen[name][number : number + 1]]
            folder = data[TABLES[name].dataset]
            evidence_run.run_table(
                name, TABLES[name], folder, options.workdir, jobs, options.results
            )
    return 0


def parse_data(texts: Sequence[str]) -> dict[str, Path]:
    """Returns the folders of `NAME=FOLDER` by name."""
    found = {}
    for text in texts:
        name, equals, folder = text.partition("=")
        if not (equals and name and folder):
            raise UserError(f"--data {text} must be NAME=FOLDER")
        known = {table.dataset for table in TABLES.values()}
        if name not in known:
            raise UserError(
                f"--data {text}: no table has data called {name!r}; {nearest(name, known)}"
            )
        found[name] = Path(folder)
    return found


def _page(options: argparse.Namespace) -> int:
    import evidence_page

    from kdjax.files import write_text

    text = evidence_page.page(options.results)
    if options.check:
        current = options.output.read_text("utf-8") if options.output.exists() else ""
        if current != text:
            raise UserError(
                f"{options.output.name} is not what the results say; run `make results`"
            )
        return 0
    write_text(options.output, text)
    print(options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
