"""What the readers of weight files share: how they refuse, how names are shown, and how much they take."""

import math
from collections.abc import Sequence

import numpy as np

MAX_BYTES = 4 << 30
MAX_TENSORS = 100_000
MAX_AXES = 32
SHOWN = 80


class UnusableFileError(Exception):
    """A weight file that is not read; the message goes on after the file's name."""


def shown(name: object) -> str:
    """Returns a name out of a file as it can stand in one line: quoted, escaped and shortened."""
    text = str(name)
    return ascii(text if len(text) <= SHOWN else f"{text[:SHOWN]}...")


class Budget:
    """Counts what a file makes us keep, before it is allocated: a small file can declare a lot."""

    def __init__(self) -> None:
        self.tensors = 0
        self.bytes = 0

    def take(self, name: str, shape: Sequence[int], itemsize: int) -> None:
        """Counts one tensor.

        Raises:
          UnusableFileError: when there are too many tensors, axes or bytes.
        """
        self.tensors += 1
        if self.tensors > MAX_TENSORS:
            raise UnusableFileError(f"holds more than {MAX_TENSORS:,} tensors")
        if len(shape) > MAX_AXES:
            raise UnusableFileError(f"declares {len(shape)} axes for {shown(name)}")
        # an empty array with a huge other axis is beyond NumPy too
        self.bytes += math.prod(max(side, 1) for side in shape) * itemsize
        if self.bytes > MAX_BYTES:
            raise UnusableFileError(
                f"declares more than {MAX_BYTES >> 30} GiB of tensors, up to {shown(name)}"
            )


def from_bfloat16(bits: np.ndarray) -> np.ndarray:
    """Returns the float32 numbers whose upper 16 bits are given, as uint16 of the same shape."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def plain(array: np.ndarray) -> np.ndarray:
    """Returns an array of its own, contiguous, in this machine's byte order; float16 becomes float32."""
    dtype = np.dtype(np.float32) if array.dtype == np.float16 else array.dtype.newbyteorder("=")
    return np.array(array, dtype=dtype, order="C")
