"""`kdjax export`."""

import argparse

from kdjax import configs
from kdjax.checks import UserError
from kdjax.evaluate.tables import format_table
from kdjax.serve.export import export_run, rows
from kdjax.serve.exports import FILES


def run(options: argparse.Namespace) -> None:
    """Runs the command."""
    named = tuple(filter(None, options.format.split(",")))
    if options.limit < 1:
        raise UserError(f"--limit={options.limit} must be at least 1")
    exported = export_run(
        options.run,
        options.output or "",
        formats=tuple(FILES) if named == ("all",) else named,
        licence=options.licence,
        limit=options.limit,
        extensions=configs.program(options.program),
    )
    print(format_table(rows(exported)))
    for note in exported.notes:
        print(f"note: {note}")
    print(exported.folder)
