"""What the web page allows: sizes, times, and how much may wait."""

from typing import NamedTuple

from kdjax.checks import UserError

MEGABYTE = 1_000_000

CHOICES = {
    "megabytes": (1, 100_000),
    "seconds": (1, 86_400),
    "waiting": (1, 1000),
    "kept": (1, 10_000),
    "memory_megabytes": (1000, 1_000_000),
}
"""Lowest and highest of what the command line sets."""


class Limits(NamedTuple):
    """What is allowed.

    Attributes:
      megabytes: of a file.
      seconds: that a file may be worked on.
      waiting: files that lie here at a time: on their way, waiting, or worked on.
      kept: results that are kept, the newest.
      memory_megabytes: of the process that decodes.
      pause_seconds: between two pieces of a file on its way.
      upload_seconds: a file may be on its way.
      kept_seconds: a result may be kept.
      connections: at a time.
    """

    megabytes: int = 500
    seconds: int = 600
    waiting: int = 16
    kept: int = 100
    memory_megabytes: int = 4000
    pause_seconds: float = 10.0
    upload_seconds: float = 600.0
    kept_seconds: float = 3600.0
    connections: int = 200


def check(limits: Limits) -> Limits:
    """Returns limits as they are.

    Raises:
      UserError: a number is out of its range.
    """
    for name, (low, high) in CHOICES.items():
        value = getattr(limits, name)
        if not low <= value <= high:
            raise UserError(f"--{name}={value} must be from {low} to {high}")
    return limits
