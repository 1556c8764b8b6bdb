import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from kdjax.losses.collaborative import collaborative

compiled = jax.jit(collaborative)
value_and_grad = jax.jit(jax.value_and_grad(lambda views: collaborative(views).sum()))
VIEWS = np.random.default_rng(0).normal(size=(3, 4, 2))


def reference(views):
    pairs = itertools.combinations(views, 2)
    return sum(np.sqrt(((a - b) ** 2).sum(axis=-1)) for a, b in pairs)


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("size", [1e-20, 1.0, 1e20])
def test_it_is_the_sum_of_the_distances_of_all_pairs(count, size):
    views = VIEWS[:count] * size
    got = compiled(np.float32(views))
    assert got.shape == (4,)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, reference(views), rtol=1e-5)


def test_compiling_changes_nothing():
    views = np.float32(VIEWS)
    np.testing.assert_allclose(compiled(views), collaborative(views), rtol=1e-6)


def test_gradients_are_those_of_the_values():
    with jax.enable_x64(True):
        assert compiled(VIEWS).dtype == jnp.float64
        check_grads(compiled, (jnp.asarray(VIEWS),), 1)


@pytest.mark.parametrize("size", [1e-20, 1.0, 1e20])
def test_the_gradient_of_a_pair_is_a_unit_vector(size):
    grad = np.asarray(value_and_grad(np.float32(VIEWS[:2] * size))[1])
    np.testing.assert_allclose(np.linalg.norm(grad, axis=-1), np.ones((2, 4)), rtol=1e-5)
    np.testing.assert_array_equal(grad[0], -grad[1])
    np.testing.assert_array_equal(np.sign(grad[0]), np.sign(VIEWS[0] - VIEWS[1]))


def test_equal_views_cost_nothing_and_get_no_gradient():
    value, grad = value_and_grad(np.ones((3, 4, 2), np.float32))
    assert value == 0
    np.testing.assert_array_equal(grad, np.zeros((3, 4, 2)))


def test_bfloat16_is_taken_in_float32():
    views = jnp.bfloat16(VIEWS)
    assert compiled(views).dtype == jnp.float32
    np.testing.assert_allclose(compiled(views), compiled(np.float32(views)), rtol=1e-6)


def test_one_view_is_refused():
    with pytest.raises(ValueError, match="two views"):
        collaborative(VIEWS[:1])
    with pytest.raises(ValueError, match="views has shape"):
        collaborative(VIEWS[0])
