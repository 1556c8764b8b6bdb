"""What a network costs: parameters and multiply-adds, counted from shapes without computing anything."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from kdjax.models.layers import Classifier, Conv, DepthwiseConv
from kdjax.types import Outputs


class Cost(NamedTuple):
    """What `cost` returns.

    Attributes:
      parameters: number of trained parameters.
      multiply_adds: of all convolutions and linear layers, for one image.
      outputs: shapes of logits and features for one image.
    """

    parameters: int
    multiply_adds: int
    outputs: Outputs


def cost(module: nn.Module, image_size: int) -> Cost:
    """Returns parameters, multiply-adds and output shapes of a network on one square image.

    Normalisations, activations, poolings and fixed transforms (a DCT) count nothing, as is usual.

    Args:
      module: the network.
      image_size: side of the image in pixels.

    Raises:
      ValueError: when the image is too small for the network.
    """
    counted = []

    def count(run: Any, arguments: Any, keywords: Any, context: Any) -> Any:
        result = run(*arguments, **keywords)
        layer = context.module
        if context.method_name == "__call__" and isinstance(
            layer, Conv | DepthwiseConv | Classifier
        ):
            kernel = layer.variables["params"]["kernel"]
            # all kernels end in the channels that come out, one value each for every output
            counted.append(result.size * math.prod(kernel.shape[:-1]))
        return result

    image = jax.ShapeDtypeStruct((1, image_size, image_size, 3), jnp.float32)
    with nn.intercept_methods(count):
        outputs, variables = jax.eval_shape(
            lambda x: module.init_with_output(jax.random.key(0), x, train=False), image
        )
    parameters = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    return Cost(parameters, sum(counted), outputs)
