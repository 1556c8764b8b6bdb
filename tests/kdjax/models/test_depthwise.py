import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from kdjax.models import shifted
from kdjax.models.convolution import margins
from kdjax.models.depthwise import depthwise_convolve
from kdjax.models.shifted import Plan

rng = np.random.default_rng(0)
CASES = {
    "3 x 3": ((7, 6), 3, 1, "symmetric"),
    "3 x 3, stride 2, odd and even": ((7, 6), 3, 2, "symmetric"),
    "5 x 5, stride 2, unequal margins": ((8, 7), 5, 2, "same"),
    "3 x 3, stride 2, no margins": ((8, 7), 3, 2, "valid"),
    "5 x 5, no margins": ((6, 5), 5, 1, "valid"),
    "1 x 1, stride 2": ((4, 5), 1, 2, "symmetric"),
    "map smaller than its kernel": ((2, 1), 5, 1, "symmetric"),
}


def reference(x, kernel, dy, stride, around):
    """Value and gradients of `sum(y * dy)` by hand in float64; `dy` is a function of the shape of `y`."""
    padded = np.pad(x, ((0, 0), *around, (0, 0)))
    rows, columns = ((n - len(kernel)) // stride + 1 for n in padded.shape[1:3])
    y = np.zeros((len(x), rows, columns, x.shape[-1]))
    dy, dx, dk = dy(y.shape), np.zeros_like(padded), np.zeros_like(kernel)
    for i, j in np.ndindex(*kernel.shape[:2]):
        under = (
            slice(None),
            slice(i, i + stride * (rows - 1) + 1, stride),
            slice(j, j + stride * (columns - 1) + 1, stride),
        )
        y += padded[under] * kernel[i, j]
        dx[under] += dy * kernel[i, j]
        dk[i, j] = (padded[under] * dy).sum((0, 1, 2))
    (top, _), (left, _) = around
    return y, dx[:, top : top + x.shape[1], left : left + x.shape[2]], dk


def wave(shape):
    return np.sin(np.arange(np.prod(shape), dtype=np.float64)).reshape(shape)


@functools.partial(jax.jit, static_argnames=("stride", "padding", "form"))
def value_and_gradients(x, kernel, dy, stride, padding, form):
    run = functools.partial(depthwise_convolve, stride=stride, padding=padding, form=form)
    y, pull = jax.vjp(run, x, kernel)
    return y, *pull(dy)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("form", ["auto", "shift", "lax"])
def test_every_form_equals_the_sum_by_hand_with_its_gradients(form, case):
    size, side, stride, padding = case
    x, kernel = rng.normal(size=(2, *size, 3)), rng.normal(size=(side, side, 3))
    around = margins(x.shape, (side, side), stride=stride, padding=padding)
    expected = reference(x, kernel, wave, stride, around)
    with jax.enable_x64(True):
        dy = wave(expected[0].shape)
        got = value_and_gradients(x, kernel, dy, stride, padding, form)
    for ours, by_hand in zip(got, expected, strict=True):
        assert ours.dtype == np.float64
        np.testing.assert_allclose(ours, by_hand, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize(
    ("size", "stride"), [((4, 3, 4), 1), ((3, 7, 4), 2), ((1, 9, 3), 1)], ids=str
)
def test_the_kernel_gradient_in_pieces_is_the_sum_over_all(monkeypatch, size, stride):
    # several images a piece, a whole image, and bands of one with a rest
    monkeypatch.setattr(shifted, "FEW", 0)
    monkeypatch.setattr(shifted, "TERMS", 8)
    x, around = rng.normal(size=(*size, 2)), ((1, 1), (1, 1))
    expected = reference(x, np.ones((3, 3, 2)), wave, stride, around)
    plan = Plan(stride, around, size[1:], (3, 3))
    with jax.enable_x64(True):
        dy = jnp.asarray(wave(expected[0].shape))
        got = shifted.kernel_gradient(jnp.asarray(x), dy, plan)
    np.testing.assert_allclose(got, expected[2], rtol=1e-10, atol=1e-12)


def test_derivatives_of_second_order_exist_in_both_directions():
    with jax.enable_x64(True):
        x, kernel = jnp.asarray(rng.normal(size=(1, 3, 2, 1))), jnp.asarray(wave((3, 3, 1)))
        run = jax.jit(functools.partial(depthwise_convolve, stride=2))
        check_grads(run, (x, kernel), 2, modes=("fwd", "rev"))


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (4, 2), (1, 3)], ids=str)
def test_a_mapped_axis_is_a_loop_over_it(axes):
    shapes = [(2, 5, 4, 3), (3, 3, 3)]
    shapes = [
        shape if axis is None else (*shape[:axis], 2, *shape[axis:])
        for shape, axis in zip(shapes, axes, strict=True)
    ]
    x, kernel = (jnp.float32(rng.normal(size=shape)) for shape in shapes)

    def run(x, kernel):
        loss = lambda x, k: jnp.sum(jnp.sin(depthwise_convolve(x, k)))  # noqa: E731
        return jax.value_and_grad(loss, (0, 1))(x, kernel)

    def at(array, axis, number):
        return array if axis is None else jnp.take(array, number, axis)

    both = [run(at(x, axes[0], n), at(kernel, axes[1], n)) for n in range(2)]
    expected = jax.tree.map(lambda *each: np.stack(each), *both)
    got = jax.jit(jax.vmap(run, axes))(x, kernel)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), got, expected)


def test_devices_share_a_gradient():
    x, kernel = jnp.float32(rng.normal(size=(4, 1, 4, 3, 2))), jnp.float32(wave((3, 3, 2)))
    grad = jax.grad(lambda k, x: jnp.sum(jnp.square(depthwise_convolve(x, k))))
    mean = jax.pmap(
        lambda k, x: jax.lax.pmean(grad(k, x), "batch"), axis_name="batch", in_axes=(None, 0)
    )(kernel, x)
    np.testing.assert_allclose(4 * mean[0], grad(kernel, x[:, 0]), rtol=1e-5)


@pytest.mark.parametrize("few", [0, shifted.FEW], ids=["in pieces", "at once"])
def test_bfloat16_stays_and_sums_are_taken_in_float32(monkeypatch, few):
    monkeypatch.setattr(shifted, "FEW", few)
    # 2 * 32 * 32 ones: in bfloat16 a running sum would stop at 256
    plan = Plan(1, ((0, 0), (0, 0)), (32, 32), (1, 1))
    ones = jnp.ones((2, 32, 32, 1), jnp.bfloat16)
    got = shifted.kernel_gradient(ones, ones, plan)
    assert got.dtype == jnp.bfloat16
    assert got.item() == 2048
    kernel = jnp.ones((3, 3, 1), jnp.bfloat16)
    value, pull = jax.eval_shape(functools.partial(jax.vjp, depthwise_convolve), ones, kernel)
    assert value.dtype == jnp.bfloat16
    assert [each.dtype for each in jax.eval_shape(pull, value)] == [jnp.bfloat16] * 2


def test_a_program_for_other_platforms_holds_xlas_convolution():
    x, kernel = jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 2))
    grad = jax.jit(jax.grad(lambda x, k: jnp.sum(depthwise_convolve(x, k) ** 2), (0, 1)))
    counts = {}
    for platform in ("cuda", "cpu"):
        program = jax.export.export(grad, platforms=[platform])(x, kernel).mlir_module()
        counts[platform] = program.count("stablehlo.convolution")
    assert counts == {"cuda": 3, "cpu": 0}


def test_a_map_too_small_is_refused():
    with pytest.raises(ValueError, match="too small"):
        depthwise_convolve(jnp.ones((1, 2, 4, 3)), jnp.ones((3, 3, 3)), padding="valid")


@pytest.mark.parametrize("shape", [(3, 3, 2), (3, 3, 1, 3), (3, 3)], ids=str)
def test_kernels_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match="kernel"):
        depthwise_convolve(jnp.ones((1, 4, 4, 3)), jnp.ones(shape))


def test_kernels_of_another_dtype_are_refused():
    with pytest.raises(TypeError, match="bfloat16"):
        depthwise_convolve(jnp.ones((1, 4, 4, 3)), jnp.ones((3, 3, 3), jnp.bfloat16))


def test_an_unknown_form_is_refused():
    with pytest.raises(ValueError, match="'fast'"):
        depthwise_convolve(jnp.ones((1, 4, 4, 3)), jnp.ones((3, 3, 3)), form="fast")
