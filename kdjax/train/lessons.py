"""What students learn from, step by step: a batch is read once and the frozen teachers see it once, for all of them."""

from collections.abc import Callable, Iterator

from kdjax.train import batches, parallel
from kdjax.train.feed import Feed
from kdjax.train.setup import Plan
from kdjax.train.state import TrainState
from kdjax.train.step import Lesson, make_lesson
from kdjax.train.utilisation import operations
from kdjax.types import Batch

KEPT = 2**28
"""Bytes of the validation split that a group of students keeps, so as not to read it again for each."""


class Lessons:
    """The lessons of a run, or of a group that shares data and teachers, from some step on.

    Attributes:
      feed: reads the batches.
      operations: floating-point operations of one, on one device; None before the first.
    """

    feed: Feed
    operations: float | None = None

    def __init__(self, plan: Plan) -> None:
        """Sends the teachers to the devices; reads nothing yet."""
        self._plan = plan
        self.teachers = parallel.replicate(plan.teacher_variables, plan.devices)
        self.make = parallel.compile_step(make_lesson(plan.parts), plan.devices)

    def open(self, step: int) -> None:
        """Begins to read at a step."""
        self.feed = Feed(batches.training(self._plan, step), parallel.sender(self._plan.devices))

    def give(self, replicated: TrainState) -> Lesson:
        """Returns the next step's lesson; `replicated` is the state of any student at that step."""
        given = (replicated.data_key, replicated.step, self.teachers, next(self.feed))
        if self.operations is None:
            self.operations = operations(self.make, *given)
        return self.make(*given)


class Kept:
    """Batches that are read anew each time, or once where they are few enough to be kept."""

    def __init__(self, read: Callable[[], Iterator[Batch]], limit: int) -> None:
        """Takes what reads them all, and how many bytes are kept."""
        self._read, self._limit = read, limit
        self._batches: list[Batch] | None = None

    def __call__(self) -> Iterator[Batch]:
        """Yields all batches."""
        if self._batches is not None:
            yield from self._batches
            return
        kept: list[Batch] = []
        size = 0
        for batch in self._read():
            size += sum(image.nbytes for image in batch["image"].values())
            if size <= self._limit:
                kept.append(batch)
            else:
                kept.clear()
            yield batch
        if size <= self._limit:
            self._batches = kept
