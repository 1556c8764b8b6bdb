"""`kdjax sweep`."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from kdjax import configs
from kdjax.checks import UserError
from kdjax.commands.tables import print_results, print_summary
from kdjax.evaluate.tables import format_table
from kdjax.train.sweeps import attempts, jobs, known, rows, work
from kdjax.train.sweeps.known import Entry
from kdjax.train.sweeps.ledger import DONE, FAILED, MISSING, RUNNING, STOPPED, Ledger, State
from kdjax.train.sweeps.plan import Planned, differing_keys, groups
from kdjax.train.sweeps.status import describe, status_rows
from kdjax.train.sweeps.tables import Tables

DOING = {
    DONE: "nothing: it is done",
    RUNNING: "nothing: a process works on it",
    FAILED: "nothing: it failed; --retry tries again",
    STOPPED: "go on",
    MISSING: "train",
}
"""What a sweep would do with a run in each state."""


def run(options: argparse.Namespace) -> None:
    """Runs the command."""
    share = rows.parse_shard(options.shard)
    jobs.check_jobs(options.jobs)
    if options.group < 1:
        raise UserError(f"--group={options.group} must be at least 1")
    if options.status and not options.config:
        _print_known(options.workdir)
        return
    if not options.config:
        raise UserError("kdjax sweep needs --config=METHOD[:NETWORK]; --status alone does without")
    prepared = _prepare(options)
    runs = rows.shard(prepared.runs, share)
    if options.worker:
        _work(options, prepared, runs)
        return
    _say_removed(prepared)
    if options.status:
        _print_status(runs, prepared.ledger)
    elif options.dry_run:
        size = _group_size(options, len(runs))
        _print_plan(runs, prepared.ledger, retry=options.retry, size=size)
    else:
        _train(options, prepared, runs)


def _prepare(options: argparse.Namespace) -> work.Prepared:
    table, settings = rows.read_sweep(options.sweep)
    return work.prepare(
        table,
        options.config,
        {**settings, **options.overrides},
        options.workdir,
        seeds=options.seeds,
        baseline=options.baseline,
        extensions=configs.program(options.program),
        accept_changes=options.accept_changes,
    )


def _train(options: argparse.Namespace, prepared: work.Prepared, runs: list[Planned]) -> None:
    ledger, tables = prepared.ledger, Tables(prepared.ledger)
    wanted = (MISSING, STOPPED, FAILED) if options.retry else (MISSING, STOPPED)
    left = [run for run in runs if ledger.state(ledger.placed(run)).name in wanted]
    if options.jobs > 1:
        words = _words(options)
        jobs.check_first(words)
    else:
        work.begin(prepared, runs, retry=options.retry)
    tables.write()
    # without those that cannot be built, which are known now
    left = [run for run in left if ledger.state(ledger.placed(run)).name != FAILED]
    for line in _told_groups(left, options):
        print(line, file=sys.stderr, flush=True)
    if options.jobs > 1:
        start = jobs.starter(words, options.workdir, options.jobs)
        try:
            jobs.supervise(start, options.jobs, runs, ledger, tables.write)
        finally:
            tables.write()
    else:
        attempts.work(runs, ledger, tables.write, group=_group_size(options, len(runs)))
    _print_end(options.workdir, runs, tables)


def _work(options: argparse.Namespace, prepared: work.Prepared, runs: list[Planned]) -> None:
    """Does what one of several processes does: checks what the others will work on, or works."""
    if options.worker == "check":
        work.begin(prepared, runs, retry=options.retry)
    else:
        size = _group_size(options, len(runs))
        attempts.work(runs, prepared.ledger, lambda: None, group=size)


def _group_size(options: argparse.Namespace, count: int) -> int:
    """Returns how many of so many runs a group has at most: no process is to be without work."""
    jobs = int(options.worker.partition("/")[2] or 1) if options.worker else options.jobs
    return max(1, min(options.group, -(-count // jobs)))


def _told_groups(runs: list[Planned], options: argparse.Namespace) -> Iterator[str]:
    """Yields a line for each group of several runs: how many, and in what they differ."""
    for members in groups(runs, _group_size(options, len(runs))):
        if len(members) > 1:
            keys = differing_keys(members)
            yield (
                f"{len(members)} students on one stream of batches, from {members[0].name}, seed {members[0].seed} "
                f"on; they differ in {', '.join(keys)}"
            )


def _words(options: argparse.Namespace) -> list[str]:
    """Returns the command of the processes that share this one's work."""
    named = {
        "config": options.config,
        "workdir": str(options.workdir),
        "program": options.program,
        "seeds": str(options.seeds),
        "baseline": options.baseline,
        "shard": options.shard,
        "group": str(options.group),
    }
    flags = [name for name in ("accept_changes", "retry") if getattr(options, name)]
    return [
        *("sweep", options.sweep),
        *(f"--{name}={value}" for name, value in named.items() if value),
        *(f"--{name}" for name in flags),
        *(f"--config.{key}={value}" for key, value in options.overrides.items()),
    ]


def _print_end(folder: Path, runs: list[Planned], tables: Tables) -> None:
    """Prints the table of what is done; UserError when runs have failed."""
    found = tables.found()
    done = [entry.folder for _, each in found for entry, state in each if state.name == DONE]
    if done:
        if known.read(folder).baseline or any(len(each) > 1 for _, each in found):
            print_summary(folder, done)
        else:
            print_results(done)
    print(folder / "results.md")
    wanted = {run.digest for run in runs}
    mine = [(run, state) for _, each in found for run, state in each if run.digest in wanted]
    if held := [run for run, state in mine if state.name == RUNNING]:
        print(f"other processes work on {len(held)} more: {held[0].folder.name}", file=sys.stderr)
    if failed := [(run, state) for run, state in mine if state.name == FAILED]:
        run, state = failed[0]
        raise UserError(
            f"{len(failed)} of {len(mine)} runs failed, see {folder}/results.csv; --retry tries again what failed: "
            f"{run.folder.name}: {state.problem}"
        )


def _say_removed(prepared: work.Prepared) -> None:
    if names := prepared.removed():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        print(
            f"kept, and in the tables, though the sweep has them no more: {names[0]}{more}; "
            "delete a folder to leave it out",
            file=sys.stderr,
        )


def _print_plan(runs: list[Planned], ledger: Ledger, *, retry: bool, size: int) -> None:
    hopeless = work.find_hopeless(runs)
    doing = {**DOING, FAILED: "try again"} if retry else DOING
    placed = [ledger.placed(run) for run in runs]
    states = [
        State(FAILED, hopeless[run.key]) if run.key in hopeless else ledger.state(run)
        for run in placed
    ]
    built = [run for run in runs if run.key not in hopeless]
    numbers = {
        run.digest: number
        for number, members in enumerate(groups(built, size), 1)
        for run in members
    }
    lines = [
        {
            "run": run.folder.name,
            "row": run.name,
            "seed": run.seed,
            "group": numbers.get(run.digest, ""),
            "would": f"nothing: {hopeless[run.key]}" if run.key in hopeless else doing[state.name],
        }
        for run, state in zip(placed, states, strict=True)
    ]
    print(format_table(lines))
    print(describe(states))


def _print_status(runs: list[Planned], ledger: Ledger) -> None:
    placed = [ledger.placed(run) for run in runs]
    named = [(run.name, Entry(run.digest, run.folder, run.seed)) for run in placed]
    states = [ledger.state(run) for run in placed]
    print(format_table(status_rows(named, states)))
    print(describe(states))


def _print_known(folder: Path) -> None:
    """Prints where a sweep stands by what its folder knows of it."""
    if not known.is_begun(folder):
        raise UserError(
            f"{folder} is not a sweep that has begun; give --config too to see its plan"
        )
    found = Tables(Ledger(folder, known.read(folder).split)).found()
    pairs = [(row.name, run, state) for row, each in found for run, state in each]
    states = [state for _, _, state in pairs]
    print(format_table(status_rows([(name, run) for name, run, _ in pairs], states)))
    print(describe(states))
