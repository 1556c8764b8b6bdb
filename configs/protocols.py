"""Protocols of evaluation by name: on what runs are evaluated, and what is told apart in the table.

    kdjax evaluate RUN... --protocol quality-agnostic

`PROTOCOLS` are those that ship; one of the user's own is a Python file that defines `protocol()`, which returns a
`Protocol`.
"""

from typing import NamedTuple

from kdjax.checks import UserError, nearest
from kdjax.configs import programs

STORED, TRAINED = "stored", "trained"
"""In place of qualities: all that a data set stores, and those that the run was trained on."""

TABLES = ("qualities", "specialists", "forgeries", "datasets", "corruptions", "samples")


class Protocol(NamedTuple):
    """What is evaluated, and what is told apart.

    Attributes:
      about: one line on what it asks.
      table: one of `TABLES`, what the rows or columns are.
      qualities: names, or `STORED` or `TRAINED` alone.
      corruptions: kinds of `data_pipeline.corruptions` in place of qualities, or `all`.
    """

    about: str
    table: str
    qualities: tuple[str, ...] = (TRAINED,)
    corruptions: tuple[str, ...] = ()


PROTOCOLS = {
    "quality-agnostic": Protocol(
        "one network for every video compression, which it is not told", "qualities", (STORED,)
    ),
    "quality-agnostic-jpeg": Protocol(
        "one network for JPEG of a quality drawn for each image from 30 to 100, which it is not told",
        "qualities",
        ("jpeg",),
    ),
    "quality-aware": Protocol(
        "each network on the qualities that it was trained on, as if the quality were told",
        "specialists",
    ),
    "cross-manipulation": Protocol(
        "kinds of forgery that were trained on apart from those that were not, each against all reals",
        "forgeries",
    ),
    "cross-dataset": Protocol(
        "the run's own data set apart from those that it was not trained on", "datasets"
    ),
    "corruptions": Protocol(
        "the best quality, corrupted in kinds and severities", "corruptions", corruptions=("all",)
    ),
    "few-samples": Protocol("by how many images were trained on", "samples"),
}
"""The protocols that ship with the package."""


def read_protocol(name: str) -> Protocol:
    """Returns a protocol by its name, or what `protocol()` of a Python file or module returns.

    Raises:
      UserError: for an unknown name, or a program that returns something else.
    """
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    if not programs.is_program(name):
        raise UserError(f"no protocol is called {name!r}; {nearest(name, PROTOCOLS)}")
    program = programs.load_program(name, "protocol")
    found = programs.call(program, name, "protocol", "")
    if not isinstance(found, Protocol) or found.table not in TABLES:
        raise UserError(
            f"protocol() of {name} must return a kdjax.configs.protocols.Protocol whose table is one of: "
            f"{', '.join(TABLES)}"
        )
    return found
