import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.losses import match_spatial, pool_to

MAP = np.random.default_rng(0).normal(size=(2, 6, 4, 3)).astype(np.float32)


def test_whole_blocks_are_averaged_or_summed():
    blocks = MAP.reshape(2, 3, 2, 2, 2, 3)
    np.testing.assert_allclose(pool_to(MAP, (3, 2)), blocks.mean(axis=(2, 4)), rtol=1e-5, atol=1e-6)
    summed = pool_to(MAP, (3, 2), reduce="sum")
    np.testing.assert_allclose(summed, blocks.sum(axis=(2, 4)), rtol=1e-5, atol=1e-6)


def test_a_cell_on_an_edge_is_shared_by_area():
    row = jnp.float32([1, 2, 3]).reshape(1, 3, 1, 1)
    np.testing.assert_allclose(
        pool_to(row, (2, 1), reduce="sum").reshape(-1), [1 + 2 / 2, 2 / 2 + 3], rtol=1e-6
    )
    np.testing.assert_allclose(pool_to(row, (2, 1)).reshape(-1), [2 / 1.5, 4 / 1.5], rtol=1e-6)


@pytest.mark.parametrize("size", [(5, 3), (4, 4), (1, 1)])
def test_sums_keep_the_total_and_means_keep_a_constant(size):
    total = pool_to(MAP, size, reduce="sum").sum(axis=(1, 2))
    np.testing.assert_allclose(total, MAP.sum(axis=(1, 2)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(pool_to(np.ones_like(MAP), size), np.ones((2, *size, 3)), rtol=1e-6)


def test_both_maps_come_to_the_smaller_size_on_each_axis():
    student, teacher = match_spatial(MAP, np.ones((2, 3, 8, 5), np.float32))
    assert student.shape == (2, 3, 4, 3)
    assert teacher.shape == (2, 3, 4, 5)


def test_maps_of_one_size_are_left_alone():
    student, teacher = match_spatial(MAP, MAP + 1)
    assert student is MAP
    assert teacher.dtype == MAP.dtype


def test_a_larger_size_is_refused():
    with pytest.raises(ValueError, match="larger"):
        pool_to(MAP, (7, 2))
    with pytest.raises(ValueError, match="student"):
        match_spatial(MAP[0], MAP)
