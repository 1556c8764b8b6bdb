"""Parameters and multiply-adds, counted by hand on layers where that is easy."""

import jax.numpy as jnp
from flax import linen as nn

from kdjax.models.cost import cost
from kdjax.models.layers import BatchNorm, Classifier, Conv, DepthwiseConv, SqueezeExcite, pool
from kdjax.types import Outputs


class Small(nn.Module):
    """One layer of each kind."""

    @nn.compact
    def __call__(self, images, train=False):
        x = Conv(5, (3, 1), 2, use_bias=True)(images)
        x = DepthwiseConv(3)(x)
        x = SqueezeExcite(2)(BatchNorm()(x, train=train))
        return Outputs(Classifier(4)(pool(x)), {"pooled": pool(x)})


def test_cost_counts_each_kernel_once_for_each_place_it_is_put():
    found = cost(Small(), 8)
    strided, depthwise, squeeze, head = 16 * 5 * 9, 16 * 5 * 9, 2 * 5 * 2, 5 * 4
    assert found.multiply_adds == strided + depthwise + squeeze + head
    parameters = (45 + 5) + 45 + 10 + (10 + 2) + (10 + 5) + (20 + 4)
    assert found.parameters == parameters
    assert found.outputs.logits.shape == (1, 4)
    assert found.outputs.features["pooled"].dtype == jnp.float32
