"""Scores faces in batches, of however many frames and files, while the next are looked for."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from kdjax.serve.spec import Scorer

AHEAD = 2
"""Batches that may wait while the next is filled."""


class Step(Protocol):
    """Something that may hold crops, uint8 `[S, S, 3]` each."""

    @property
    def crops(self) -> list[np.ndarray]: ...  # noqa: D102


S = TypeVar("S", bound=Step)


class _Sent(NamedTuple):
    steps: list[Any]
    logits: Future[np.ndarray]


def in_batches(steps: Iterable[S], scorer: Scorer, size: int) -> Iterator[tuple[S, np.ndarray]]:
    """Yields each step with the log-odds of its crops, float32 `[N]`, in order.

    A batch is sent when it is full, or when as many steps wait as it has places, whatever they hold: of a long video
    without faces nothing piles up.

    Args:
      steps: looked at one by one, while the batch before is scored in a thread.
      scorer: called with batches of `size` crops, or of one.
      size: crops of a batch.
    """
    with ThreadPoolExecutor(1) as pool:
        sent: deque[_Sent] = deque()
        held: list[S] = []
        crops: list[np.ndarray] = []

        def send() -> None:
            if held:
                sent.append(_Sent(held.copy(), pool.submit(score, scorer, crops.copy(), size)))
            held.clear()
            crops.clear()

        for step in steps:
            held.append(step)
            crops += step.crops
            if len(crops) >= size or len(held) >= size:
                send()
            while len(sent) > AHEAD or (sent and sent[0].logits.done()):
                yield from _told(sent.popleft())
        send()
        while sent:
            yield from _told(sent.popleft())


def _told(sent: _Sent) -> Iterator[tuple[Any, np.ndarray]]:
    logits, place = sent.logits.result(), 0
    for step in sent.steps:
        count = len(step.crops)
        yield step, logits[place : place + count]
        place += count


def score(scorer: Scorer, crops: list[np.ndarray], size: int) -> np.ndarray:
    """Returns the log-odds of crops, float32 `[N]`; the scorer sees batches of two sizes, one and `size`."""
    found = [np.zeros(0, np.float32)]
    for start in range(0, len(crops), size):
        batch = np.stack(crops[start : start + size])
        count = len(batch)
        if 1 < count < size:
            batch = np.concatenate([batch, np.zeros((size - count, *batch.shape[1:]), np.uint8)])
        found.append(np.asarray(scorer(batch), np.float32)[:count])
    return np.concatenate(found)
