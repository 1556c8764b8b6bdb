"""Bright squares on noise in two qualities: data that are learned in a few steps, for `crashes.py`."""

import numpy as np

from kdjax.data_pipeline.own import Sources


def squares(count: int = 48, side: int = 32) -> Sources:
    """Returns images of which every second one has a square, fainter where they are compressed."""

    def split(number: int, size: int) -> list[dict[str, object]]:
        rng = np.random.default_rng(number)
        found: list[dict[str, object]] = []
        for index in range(size):
            base = rng.integers(40, 140, (side, side, 3))
            fake = index % 2
            images = {}
            for quality, gain in (("raw", 14), ("c40", 9)):
                image = base.copy()
                image[8:24, 8:24] += gain * fake
                images[quality] = image.astype(np.uint8)
            found.append({"image": images, "label": fake})
        return found

    return Sources(
        train=split(0, count), validation=split(1, 16), test=split(2, 16), name="squares"
    )


DATASETS = {"squares": squares}
