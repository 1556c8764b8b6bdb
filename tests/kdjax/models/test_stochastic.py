"""Dropout and stochastic depth: an example's draw is its own, wherever and beside whom it is seen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from kdjax.models.stochastic import EXAMPLES, drop_path, dropout, example_keys


class Draws(nn.Module):
    """Nothing but dropout and stochastic depth."""

    @nn.compact
    def __call__(self, x):
        keys = example_keys(self, len(x))
        return dropout(x, 0.5, keys, 1), drop_path(x, 0.5, keys, 2)


def run(x, ids=None, seed=0):
    variables = {} if ids is None else {EXAMPLES: {"id": jnp.asarray(ids, jnp.int32)}}
    return Draws().apply(variables, x, rngs={"dropout": jax.random.key(seed)})


def test_an_examples_draw_is_the_same_alone_and_in_company():
    x = jnp.ones((6, 4, 4, 3))
    for whole, part in zip(run(x), run(x[:2], ids=[4, 1]), strict=True):
        np.testing.assert_array_equal(part, whole[jnp.array([4, 1])])
        assert (whole != whole[:1]).any()


def test_another_key_gives_another_draw():
    x = jnp.ones((16, 4, 4, 3))
    for first, second in zip(run(x), run(x, seed=1), strict=True):
        assert (first != second).any()


@pytest.mark.parametrize("rate", [0.2, 0.75])
def test_a_share_is_dropped_and_the_rest_keeps_the_mean(rate):
    keys = jax.random.split(jax.random.key(0), 4000)
    kept = np.asarray(drop_path(jnp.ones((4000, 2, 2)), rate, keys, 3))
    assert (kept == kept[:, :1, :1]).all()
    assert abs((kept == 0)[:, 0, 0].mean() - rate) < 0.03
    entries = np.asarray(dropout(jnp.ones((40, 100)), rate, keys[:40], 3))
    assert abs((entries == 0).mean() - rate) < 0.03
    np.testing.assert_allclose(entries[entries > 0], 1 / (1 - rate), rtol=1e-6)


def test_without_keys_or_rate_nothing_is_dropped():
    x = jnp.ones((4, 3))
    keys = jax.random.split(jax.random.key(0), 4)
    np.testing.assert_array_equal(dropout(x, 0.5, None, 0), x)
    np.testing.assert_array_equal(drop_path(x, 0.0, keys, 0), x)
    assert dropout(x.astype(jnp.bfloat16), 0.5, keys, 0).dtype == jnp.bfloat16


@pytest.mark.parametrize("rate", [1.0, -0.5, 1.5])
def test_a_rate_that_is_no_share_is_refused(rate):
    with pytest.raises(ValueError, match=r"drop rate must be in \[0, 1\)"):
        dropout(jnp.ones((4, 3)), rate, None, 0)
