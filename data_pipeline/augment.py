"""Flips and crops on the device: one draw an example, the same for all its qualities."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.types import Array, Images


def to_float(images: Array) -> Array:
    """Returns images as float32 in [0, 1]: uint8 divided by 255, floating point numbers as they are.

    Raises:
      TypeError: for another dtype.
    """
    if images.dtype == jnp.uint8:
        return images.astype(jnp.float32) / 255.0
    if jnp.issubdtype(images.dtype, jnp.floating):
        return images.astype(jnp.float32)
    raise TypeError(f"images are uint8 or floating point numbers in [0, 1], not {images.dtype}")


def check_images(images: np.ndarray, what: str = "images") -> np.ndarray:
    """Returns images `[N, S, S, 3]` as given, if their dtype and range tell what they are: uint8, or float in [0, 1].

    Raises:
      TypeError: for another dtype.
      ValueError: for another shape, or floating point numbers outside [0, 1].
    """
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[-1] != 3 or images.shape[1] != images.shape[2]:
        raise ValueError(f"{what} must be square, [N, S, S, 3]; they are {list(images.shape)}")
    if np.issubdtype(images.dtype, np.floating):
        low, high = (float(images.min()), float(images.max())) if images.size else (0.0, 1.0)
        if not (low >= 0 and high <= 1):
            raise ValueError(
                f"{what} of floating point numbers must lie in [0, 1]; these lie in [{low:g}, {high:g}]: divide by "
                "255, or give uint8"
            )
    elif images.dtype != np.uint8:
        raise TypeError(
            f"{what} must be uint8 or floating point numbers in [0, 1], not {images.dtype}"
        )
    return images


def center_crop(images: Array, size: int) -> Array:
    """Returns the central `[B, size, size, 3]` of square images.

    Raises:
      ValueError: when the images are not square, or smaller than the crop.
    """
    side = _side(images)
    if size > side:
        raise ValueError(
            f"the images are {side} px, smaller than the {size} px that are cut out of them; give larger ones"
        )
    start = (side - size) // 2
    return images[:, start : start + size, start : start + size]


def _side(images: Array) -> int:
    """Returns the side of square images; ValueError for others."""
    if images.shape[1] != images.shape[2]:
        raise ValueError(f"images must be square, [N, S, S, 3]; they are {list(images.shape)}")
    return images.shape[1]


def check_crop(stored: int, size: int) -> None:
    """Raises ValueError when stored images are smaller than the crop."""
    if size > stored:
        raise ValueError(
            f"data.image_size={size} is larger than the {stored} px images of the data set; "
            f"lower it, or prepare the data set again with a larger --image_size"
        )


Own = Callable[[Array, Array, Array], Array]
"""`(image float32 [H, W, 3] in [0, 1], key, step) -> image`: an augmentation of the user's own, of one example."""


def make_augment(
    size: int,
    *,
    flip: bool,
    random_crop: bool,
    own: Own | None = None,
    make: Callable[[Array, Images, Array, Array], Images] | None = None,
) -> Callable[..., Images]:
    """Returns `augment(key, images, index, epoch, step=0)`: a random crop of `size` pixels and a horizontal flip.

    The draw comes from `fold_in(key, epoch, index)`: it does not depend on the batch, the number of devices or the
    student's seed, and all qualities of an example get the same.

    Args:
      size: side of the crop in pixels.
      flip: whether half of the draws are mirrored.
      random_crop: whether the crop's place is drawn; otherwise it is the centre.
      own: what comes after both; all qualities of an example are given the same key.
      make: what comes before both, as `made.make_maker` returns it: makes qualities that are not stored.

    Raises:
      ValueError: when it is traced, for an `own` that changes shape or dtype.
    """

    def draw(key: Array, epoch: Array, index: Array, room: int) -> tuple[Array, Array]:
        """Returns whether to mirror `[B]` and the crop's corner `[B, 2]`."""
        folded = jax.random.fold_in(key, epoch)
        # a folded key is two random words already; drawing from it again would only cost compilation
        words = jax.random.key_data(jax.vmap(partial(jax.random.fold_in, folded))(index))
        places = ((words & 0xFFFF) * (room + 1)) >> 16
        return (words[:, 0] >> 31).astype(bool), places.astype(jnp.int32)

    def transform(image: Array, mirrored: Array, place: Array) -> Array:
        if random_crop:
            corner = (place[0], place[1], jnp.zeros((), place.dtype))
            image = jax.lax.dynamic_slice(image, corner, (size, size, 3))
        if flip:
            image = jnp.where(mirrored, image[:, ::-1], image)
        return image

    def augment(
        key: Array, images: Images, index: Array, epoch: Array, step: Array | int = 0
    ) -> Images:
        if make is not None:
            images = make(key, images, index, epoch)
        stored = _side(next(iter(images.values())))
        check_crop(stored, size)
        mirrored, places = draw(key, epoch, index, stored - size)
        prepared = images if random_crop else {q: center_crop(x, size) for q, x in images.items()}
        found = {
            quality: to_float(jax.vmap(transform)(image, mirrored, places))
            for quality, image in prepared.items()
        }
        if own is None:
            return found
        folded = jax.random.fold_in(jax.random.fold_in(key, epoch), OWN)
        keys = jax.vmap(partial(jax.random.fold_in, folded))(index)
        steps = jnp.asarray(step, jnp.int32)
        return {quality: _apply_own(own, image, keys, steps) for quality, image in found.items()}

    return augment


OWN = 0x6B64
"""Folded into the epoch's key, so that what a user's augmentation draws is independent of crop and flip."""


def _apply_own(own: Own, images: Array, keys: Array, step: Array) -> Array:
    return jax.vmap(same_kind(own), in_axes=(0, 0, None))(images, keys, step)


def same_kind(own: Own) -> Own:
    """Returns an augmentation that raises ValueError where it does not return an image as it was given."""

    def apply(image: Array, key: Array, step: Array) -> Array:
        found = own(image, key, step)
        given = f"{image.dtype} {list(image.shape)}"
        if not isinstance(found, jax.Array):
            got = f"a {type(found).__name__}"
        elif (found.shape, found.dtype) != (image.shape, image.dtype):
            got = f"{found.dtype} {list(found.shape)}"
        else:
            return found
        raise ValueError(
            f"the augmentation must return an image as it was given, {given}; it returns {got}"
        )

    return apply
