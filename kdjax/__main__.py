"""`python -m kdjax COMMAND`, and the command `kdjax`."""

from kdjax.cli import main
from kdjax.termination import leave, silence_late_calls


def command() -> None:
    """Runs the command that the process was started with, and ends the process."""
    silence_late_calls()
    leave(main())


if __name__ == "__main__":
    command()
