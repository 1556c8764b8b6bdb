import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from kdjax.models.convolution import convolve, margins, max_pool

rng = np.random.default_rng(0)
CASES = {
    "stem, sizes that blocks divide": ((2, 16, 16, 3), 7, 2),
    "stem, sizes that they do not": ((2, 15, 18, 3), 7, 2),
    "strided 3 x 3": ((2, 7, 6, 4), 3, 2),
    "map smaller than its kernel": ((2, 2, 1, 4), 3, 1),
    "1 x 1": ((2, 5, 6, 4), 1, 1),
    "strided 1 x 1": ((2, 5, 6, 4), 1, 2),
    "3 x 3 on a large map": ((1, 9, 9, 4), 3, 1),
}


def both(form, shape, size, stride):
    """Value and gradients of a convolution in one form, in float64."""
    generator = np.random.default_rng(1)
    x, kernel = generator.normal(size=shape), generator.normal(size=(size, size, shape[-1], 6))

    @jax.jit
    def run(x, kernel):
        y, pull = jax.vjp(lambda x, k: convolve(x, k, stride=stride, form=form), x, kernel)
        return y, *pull(jnp.sin(jnp.arange(y.size)).reshape(y.shape))

    with jax.enable_x64(True):
        return jax.device_get(run(x, kernel))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("form", ["cpu", "auto"])
def test_the_forms_are_one_function_with_one_gradient(form, case):
    for plain, special in zip(both("lax", *case), both(form, *case), strict=True):
        assert special.dtype == np.float64
        np.testing.assert_allclose(special, plain, rtol=1e-10, atol=1e-12)


def test_a_convolution_is_the_sum_over_its_window():
    x, kernel = rng.normal(size=(1, 5, 4, 2)), rng.normal(size=(3, 3, 2, 3))
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    for stride in (1, 2):
        expected = [
            [
                np.einsum("ijc,ijcd->d", padded[0, row : row + 3, column : column + 3], kernel)
                for column in range(0, 4, stride)
            ]
            for row in range(0, 5, stride)
        ]
        for form in ("lax", "cpu"):
            got = convolve(jnp.float32(x), jnp.float32(kernel), stride=stride, form=form)
            np.testing.assert_allclose(got[0], np.array(expected), rtol=1e-4, atol=1e-5)


def test_the_stem_has_forward_and_backward_derivatives():
    with jax.enable_x64(True):
        x, kernel = jnp.asarray(rng.normal(size=(1, 9, 8, 3))), jnp.ones((7, 7, 3, 2))
        stem = jax.jit(lambda x, k: convolve(x, k, stride=2, form="cpu"))
        check_grads(stem, (x, kernel), 1)
        check_grads(lambda k: stem(x, k), (kernel,), 1)


def test_bfloat16_stays_bfloat16():
    for shape, size, stride in CASES.values():
        x, kernel = (
            jnp.ones(shape, jnp.bfloat16),
            jnp.ones((size, size, shape[-1], 2), jnp.bfloat16),
        )
        assert jax.eval_shape(lambda x, k, s=stride: convolve(x, k, stride=s), x, kernel).dtype == (
            jnp.bfloat16
        )


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (1, 2)])
@pytest.mark.parametrize("form", ["cpu", "auto"])
def test_the_pools_are_one_function_with_one_gradient_at_ties_too(form, size):
    x = jnp.float32(rng.integers(0, 3, size=(2, *size, 3)))

    def run(form):
        y, pull = jax.vjp(lambda x: max_pool(x, form=form), x)
        return y, pull(jnp.sin(jnp.arange(y.size)).reshape(y.shape))[0]

    for plain, special in zip(run("lax"), run(form), strict=True):
        np.testing.assert_allclose(special, plain, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("form", ["lax", "cpu"])
def test_a_pool_is_the_maximum_of_its_window(form):
    x = np.float32(rng.normal(size=(1, 5, 6, 2)))
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    expected = [
        [padded[0, row : row + 3, column : column + 3].max((0, 1)) for column in range(0, 6, 2)]
        for row in range(0, 5, 2)
    ]
    np.testing.assert_array_equal(max_pool(jnp.asarray(x), form=form)[0], expected)


@pytest.mark.parametrize("padding", ["symmetric", "same", "valid"])
@pytest.mark.parametrize(("size", "stride"), [(2, 2), (3, 1), (3, 2), (4, 3)])
def test_pools_of_any_size_and_padding_are_maxima_in_both_forms(size, stride, padding):
    x = np.float32(rng.normal(size=(1, 7, 6, 2)))
    around = margins(x.shape, (size, size), stride=stride, padding=padding)
    padded = np.pad(x, ((0, 0), *around, (0, 0)), constant_values=-np.inf)
    views = np.lib.stride_tricks.sliding_window_view(padded, (size, size), (1, 2))
    expected = views[:, ::stride, ::stride].max((-2, -1))
    for form in ("lax", "cpu"):
        got = max_pool(jnp.asarray(x), size=size, stride=stride, padding=padding, form=form)
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    ("sides", "stride", "padding", "dilation"),
    [
        ((3, 3), 2, "same", 1),
        ((2, 2), 2, "valid", 1),
        ((1, 5), 1, "symmetric", 1),
        ((7, 1), 1, "same", 1),
        ((3, 3), 1, "symmetric", 2),
        ((3, 3), 2, "same", 2),
        ((7, 7), 2, "same", 1),
    ],
    ids=str,
)
def test_paddings_dilations_and_oblong_kernels_are_sums_by_hand(sides, stride, padding, dilation):
    x, kernel = rng.normal(size=(2, 9, 8, 3)), rng.normal(size=(*sides, 3, 4))
    around = margins(x.shape, sides, stride=stride, dilation=dilation, padding=padding)
    padded = np.pad(x, ((0, 0), *around, (0, 0)))
    reach = [dilation * (side - 1) + 1 for side in sides]
    views = np.lib.stride_tricks.sliding_window_view(padded, reach, (1, 2))
    views = views[:, ::stride, ::stride, :, ::dilation, ::dilation]
    expected = np.einsum("bhwcij,ijcd->bhwd", views, kernel)
    with jax.enable_x64(True):
        for form in ("lax", "cpu"):
            got = convolve(
                *map(jnp.asarray, (x, kernel)),
                stride=stride,
                padding=padding,
                dilation=dilation,
                form=form,
            )
            np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-11)


def test_margins_are_those_of_the_conventions():
    # 6 pixels, 3 entries, stride 2: TensorFlow needs one zero, and puts it at the end
    shape = (1, 6, 7, 1)
    assert margins(shape, (3, 3), stride=2, padding="same") == ((0, 1), (1, 1))
    assert margins(shape, (3, 5), stride=2, padding="symmetric") == ((1, 1), (2, 2))
    assert margins(shape, (3, 3), dilation=2, padding="symmetric") == ((2, 2), (2, 2))
    assert margins(shape, (3, 3), padding="valid") == ((0, 0), (0, 0))


def test_a_map_too_small_is_refused():
    for run in (
        lambda x: convolve(x, jnp.ones((3, 3, 3, 3)), padding="valid"),
        lambda x: max_pool(x, padding="valid"),
    ):
        with pytest.raises(ValueError, match="too small"):
            run(jnp.ones((1, 2, 4, 3)))


def test_nan_is_not_hidden_by_a_pool():
    x = jnp.zeros((1, 4, 4, 1)).at[0, 0, 0, 0].set(jnp.nan)
    for form in ("lax", "cpu"):
        assert jnp.isnan(max_pool(x, form=form)[0, 0, 0, 0])
        assert not jnp.isnan(max_pool(x, form=form)[0, 1, 1, 0])


def test_an_unknown_form_is_refused():
    with pytest.raises(ValueError, match="form"):
        convolve(jnp.ones((1, 4, 4, 3)), jnp.ones((3, 3, 3, 3)), form="fast")
    with pytest.raises(ValueError, match="form"):
        max_pool(jnp.ones((1, 4, 4, 3)), form="fast")
