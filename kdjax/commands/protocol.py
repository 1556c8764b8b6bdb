"""`kdjax evaluate --protocol`."""

import argparse
import sys
from collections.abc import Sequence

from kdjax import configs
from kdjax.checks import UserError
from kdjax.commands.several import Several
from kdjax.configs.protocols import read_protocol
from kdjax.evaluate.protocols import protocol_notes, protocol_rows
from kdjax.evaluate.protocoltext import protocol_records, protocol_tables
from kdjax.evaluate.runs import short_names
from kdjax.evaluate.tables import format_table
from kdjax.files import as_csv, write_text
from kdjax.train.protocols import measure, places


def run(options: argparse.Namespace, qualities: Sequence[str], corruptions: Sequence[str]) -> None:
    """Evaluates runs by a protocol, prints its tables and writes them as CSV if that is wanted."""
    protocol = read_protocol(options.protocol)
    if options.calibrate:
        raise UserError("--calibrate is no protocol's; give one of the two")
    if corruptions:
        if protocol.table != "corruptions":
            raise UserError("--corruptions goes with --protocol=corruptions, or without a protocol")
        protocol = protocol._replace(corruptions=tuple(corruptions))
    if qualities and protocol.table == "corruptions":
        raise UserError("corruptions are of the best quality; give them without --qualities")
    names = dict(zip(options.runs, short_names(options.runs), strict=True))
    extensions = configs.program(options.program)
    several = Several("evaluations could not be made")
    pairs = [(place, folder) for place in places(protocol, options.data) for folder in names]
    measured = [
        found
        for _, found in several.use(
            pairs,
            lambda pair: measure(
                pair[1],
                pair[0],
                protocol,
                name=names[pair[1]],
                split=options.split,
                limit=options.limit,
                qualities=qualities,
                extensions=extensions,
            ),
        )
    ]
    for note in protocol_notes(protocol.table, measured):
        print(f"note: {note}", file=sys.stderr)
    rows = protocol_rows(protocol.table, measured)
    print(f"{options.protocol}: {protocol.about}; {options.split}, 95 % intervals over videos")
    for heading, lines in protocol_tables(rows):
        print(f"\n{heading}:" if heading else "")
        print(format_table(lines))
    if options.output:
        write_text(options.output, as_csv(protocol_records(rows)))
        print(options.output)
    several.end()
