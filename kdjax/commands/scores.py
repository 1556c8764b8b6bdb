"""`kdjax evaluate --scores`: tables of any detector's scores."""

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from kdjax.checks import UserError, plain
from kdjax.commands.several import Several
from kdjax.evaluate.evaluation import OVERALL
from kdjax.evaluate.report import write_page
from kdjax.evaluate.runs import Run
from kdjax.evaluate.scorefile import read_scores
from kdjax.evaluate.scorerows import Scores
from kdjax.evaluate.scoretables import ScoreTables, qualities, score_tables
from kdjax.evaluate.scoretext import comparison_rows, group_rows, metric_rows, size_rows
from kdjax.evaluate.tables import format_table

OF_RUNS = (
    *("split", "data", "limit", "qualities", "corruptions", "calibrate", "false_alarms", "program"),
    "protocol",
)
"""Flags that mean nothing without a network."""


def run(options: argparse.Namespace) -> None:
    """Evaluates tables of scores, prints what they say and writes the report if one is wanted."""
    check_alone(options)
    several = Several("tables of scores could not be read")
    found = several.use(list(map(Path, options.scores)), read_scores)
    paths, files = [path for path, _ in found], [scores for _, scores in found]
    tables = score_tables(files)
    for note in tables.notes:
        print(f"note: {plain(note)}", file=sys.stderr)
    print(format_table(size_rows(files, tables)))
    for quality in qualities(tables.aligned):
        where = (
            "" if quality == OVERALL and tables.aligned.quality is None else f"{plain(quality)}, "
        )
        what = "videos" if tables.aligned.has_videos else "images"
        print(f"\n{where}95 % intervals over {what}:")
        print(format_table(metric_rows(tables, quality)))
    for role, heading in (("forgery", "forgery, against all reals"), ("dataset", "data set")):
        if rows := group_rows(tables, role):
            print(f"\nby {heading}:")
            print(format_table(rows))
    if tables.compared:
        first = tables.aligned.names[0]
        print(f"\ncompared with {plain(first)}, {how(tables)}:")
        print(format_table(comparison_rows(tables)))
    if options.output:
        print(write_scores_page(paths, files, tables, options.output))
    several.end()


def check_alone(options: argparse.Namespace) -> None:
    """Raises UserError for what goes with runs alone."""
    if options.runs:
        raise UserError(f"{options.runs[0]}: runs and --scores are evaluated by calls of their own")
    if named := [name for name in OF_RUNS if getattr(options, name)]:
        raise UserError(
            f"--{named[0]} goes with runs, not with --scores: there is no network to run"
        )


def how(tables: ScoreTables) -> str:
    """Returns what a comparison was made by."""
    if tables.aligned.has_videos:
        return "by a bootstrap over videos"
    several = ", overall by a bootstrap over them" if len(qualities(tables.aligned)) > 1 else ""
    return f"by DeLong's test of images{several}"


def write_scores_page(
    paths: Sequence[Path], files: Sequence[Scores], tables: ScoreTables, output: Path
) -> Path:
    """Writes the page of the report on scores."""
    names = tables.aligned.names
    runs = [
        Run(
            name=name,
            path=path,
            config={},
            train=[],
            validation=[],
            evaluation=tables.evaluations[name],
            notes=tuple(note.removeprefix(f"{file.name}: ") for note in file.notes),
        )
        for name, path, file in zip(names, paths, files, strict=True)
    ]
    given = [os.path.relpath(path.resolve(), output.parent.resolve()) for path in paths]
    words = ["kdjax", "evaluate", "--scores", *given, f"--output={output.name}"]
    return write_page(
        runs,
        output,
        split="scores",
        title="Scores of detectors",
        commands=[shlex.join(words)],
        unit="videos" if tables.aligned.has_videos else "images",
        of_runs=False,
    )
