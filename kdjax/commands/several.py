"""Several inputs, of which one that cannot be used stops none of the others."""

import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

from kdjax.checks import UserError, plain_lines

Given = TypeVar("Given")
Found = TypeVar("Found")


class Several:
    """Uses inputs one after the other; what is wrong with one is said at once, and once more at the end.

    Attributes:
      failed: how many could not be used.
      total: of how many.
    """

    def __init__(self, what: str) -> None:
        """Takes what is said of those that fail, as `runs could not be evaluated`."""
        self.what, self.failed, self.total, self._told = what, 0, 0, set[str]()

    def use(
        self, inputs: Sequence[Given], function: Callable[[Given], Found]
    ) -> list[tuple[Given, Found]]:
        """Returns what a function makes of each input, without those that it raises `UserError` for.

        Raises:
          UserError: when nothing is left: the input's own where there is one alone.
        """
        found = []
        self.total += len(inputs)
        for each in inputs:
            try:
                found.append((each, function(each)))
            except UserError as error:
                if len(inputs) == 1:
                    raise
                self.failed += 1
                # what is wrong with all of them is said once
                if str(error) not in self._told:
                    print(f"kdjax: error: {plain_lines(error)}", file=sys.stderr)
                self._told.add(str(error))
        if not found:
            self.end()
        return found

    def end(self) -> None:
        """Raises UserError where an input could not be used, when all that could is done."""
        if self.failed:
            raise UserError(f"{self.failed} of {self.total} {self.what}, as said above")
