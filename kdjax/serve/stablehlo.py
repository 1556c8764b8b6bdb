"""A network with its weights as one function of pixels, and that function as StableHLO for several platforms."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import export, lax

from kdjax.checks import UserError, kind_and_line
from kdjax.methods import Network
from kdjax.methods.base import normalize
from kdjax.types import PyTree

PLATFORMS = ("cpu", "cuda", "tpu")


def score_function(network: Network, variables: PyTree) -> Callable[[jax.Array], jax.Array]:
    """Returns the function from uint8 images `[B, S, S, 3]` to float32 log-odds `[B]`, the weights inside.

    `log p(fake) / p(real)`, which is the difference of the two logits.
    """
    weights = jax.tree.map(np.asarray, variables)

    def score(images: jax.Array) -> jax.Array:
        seen = normalize(network, images.astype(jnp.float32) / 255.0)
        outputs = network.module.apply(weights, seen, train=False)
        logits = outputs.logits.astype(jnp.float32)
        fake, real = (lax.slice_in_dim(logits, at, at + 1, axis=1) for at in (1, 0))
        return lax.squeeze(fake - real, (1,))

    return score


def to_stablehlo(
    score: Callable[[jax.Array], jax.Array],
    image_size: int,
    platforms: Sequence[str] = PLATFORMS,
) -> bytes:
    """Returns a serialised `jax.export.Exported` of a function of images, for any number of them.

    Args:
      score: from images to log-odds, its weights inside.
      image_size: S of the uint8 images `[batch, S, S, 3]`.
      platforms: on which of JAX's platforms it runs; each has the kernels that are made for it.

    Raises:
      UserError: when the network cannot be traced for any number of images.
    """
    (batch,) = export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, image_size, image_size, 3), jnp.uint8)
    try:
        exported = export.export(jax.jit(score), platforms=tuple(platforms))(images)
    # what it raises has no common kind
    except Exception as error:
        raise untraceable(error) from error
    return bytes(exported.serialize())


def untraceable(error: Exception) -> UserError:
    """Returns what is said where a network cannot be traced without knowing the number of images."""
    return UserError(
        f"the network cannot be exported for any number of images ({kind_and_line(error)}); a network of your own may "
        "use len(images) or int(images.shape[0]), where images.shape[0] alone would do"
    )
