"""Batches on their way to the devices: the next one is sent while the step on this one is still to run."""

import time
from collections.abc import Callable, Iterator

from kdjax.types import Batch


class Feed(Iterator[Batch]):
    """Gives batches that were sent to the devices one step ahead, and counts the seconds that this took the loop.

    JAX runs steps behind the loop's back, so these seconds pass beside a step on the device: they slow training down
    where they are more than a step takes.

    Attributes:
      seconds: so many so far.
    """

    def __init__(self, batches: Iterator[Batch], send: Callable[[Batch], Batch]) -> None:
        """Takes endless batches on the host and what sends one to the devices without waiting for it."""
        self._sent = map(send, batches)
        self._ahead: list[Batch] = []
        self.seconds = 0.0

    def __next__(self) -> Batch:
        start = time.monotonic()
        while len(self._ahead) < 2:
            self._ahead.append(next(self._sent))
        self.seconds += time.monotonic() - start
        return self._ahead.pop(0)
