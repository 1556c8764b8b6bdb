"""Qualities that no data set stores: JPEG, made on the device from the best that is stored.

`jpegNN` has the quality NN in every image. `jpeg` has one from 30 to 100, both included, drawn evenly for each example
and epoch from the data's seed; in evaluation it is drawn for each example, alike for all runs. The paper of QAD, whose
Table 2 tests on "random image compression", gives no range. Both are made of the whole stored image, before crop and
flip, as if they were files beside it.
"""

import functools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.data_pipeline.augment import to_float
from kdjax.data_pipeline.dataset import Dataset
from kdjax.data_pipeline.jpeg import jpeg
from kdjax.data_pipeline.loader import evaluation_batches
from kdjax.types import Array, Batch, Images

Make = Callable[[Array, Images, Array, Array], Images]
"""`(key, stored images by quality, index [B], epoch []) -> images by quality`, those that the networks see."""

LOWEST, HIGHEST = 30, 100

NAME = re.compile(r"jpeg([1-9][0-9]?|100)?")

FORM = "jpeg, or jpeg1 to jpeg100"
"""What can be made, for messages."""

JPEG = 0x6A70
"""Folded into the epoch's key, so that this draw is independent of crop, flip and augmentation."""


def is_made(name: str, stored: Sequence[str]) -> bool:
    """Returns whether a quality is made: a data set may store one of the same name."""
    return name not in stored and NAME.fullmatch(name) is not None


def needed(names: Sequence[str], stored: Sequence[str]) -> tuple[str, ...]:
    """Returns which stored qualities have to be read for some to be seen; the first of `stored` is the best."""
    return tuple(dict.fromkeys(stored[0] if is_made(name, stored) else name for name in names))


def make_maker(names: Sequence[str], stored: Sequence[str]) -> Make | None:
    """Returns what makes the images of `names` from those that `needed` names; None where none is made."""
    names, best = tuple(names), stored[0]
    made = [name for name in names if is_made(name, stored)]
    if not made:
        return None

    def make(key: Array, images: Images, index: Array, epoch: Array) -> Images:
        found = dict(images)
        for name in made:
            digits = name.removeprefix("jpeg")
            quality = int(digits) if digits else _draw(key, index, epoch)
            found[name] = jpeg(to_float(images[best]), quality)
        return {name: found[name] for name in names}

    return make


def _draw(key: Array, index: Array, epoch: Array | int) -> Array:
    """Returns a quality for each example, int32 `[B]`."""
    folded = jax.random.fold_in(jax.random.fold_in(key, epoch), JPEG)
    keys = jax.vmap(functools.partial(jax.random.fold_in, folded))(index)
    return jax.vmap(lambda own: jax.random.randint(own, (), LOWEST, HIGHEST + 1))(keys)


def seen_batches(dataset: Dataset, qualities: Sequence[str], **options: Any) -> Iterator[Batch]:
    """Yields what `loader.evaluation_batches` yields, beside stored qualities those that are made, as uint8."""
    batches = evaluation_batches(dataset, needed(qualities, dataset.qualities), **options)
    make = _compiled(tuple(qualities), tuple(dataset.qualities))
    if make is None:
        yield from batches
        return
    for batch in batches:
        made = make(jax.random.key(0), batch["image"], batch["index"], 0)
        yield {**batch, "image": {**batch["image"], **{q: np.asarray(x) for q, x in made.items()}}}


@functools.lru_cache(maxsize=8)
def _compiled(names: tuple[str, ...], stored: tuple[str, ...]) -> Callable[..., Images] | None:
    """Returns a compiled function that gives made qualities alone, as uint8: they are whole numbers of levels."""
    make = make_maker(tuple(name for name in names if is_made(name, stored)), stored)
    if make is None:
        return None

    def levels(key: Array, images: Images, index: Array, epoch: Array) -> Images:
        made = make(key, images, index, epoch)
        return {name: jnp.round(255 * x).astype(jnp.uint8) for name, x in made.items()}

    return jax.jit(levels)
