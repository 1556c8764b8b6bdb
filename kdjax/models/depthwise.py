"""Depthwise convolution: XLA's, and a sum of shifted products that is many times faster on CPUs.

The form for CPUs is a JAX primitive of its own, as are its two gradients: each of the three is linear
in both its arrays, and each is the others' transpose, so that derivatives of every order and in both
directions end in fast forms. (Differentiated as written, a sum of slices has a gradient by the
kernel that takes several times as long as all the rest.)
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from kdjax.checks import check_choice, check_rank
from kdjax.models import shifted
from kdjax.models.convolution import chosen, margins
from kdjax.models.shifted import Plan
from kdjax.types import Array

FORMS = ("auto", "shift", "lax")


def depthwise_convolve(
    x: Array,
    kernel: Array,
    *,
    stride: int = 1,
    padding: str = "symmetric",
    form: str = "auto",
) -> Array:
    """Returns the convolution of each channel of `[B, H, W, C]` with its own kernel of `[k, k, C]`.

    Args:
      x: float `[B, H, W, C]`.
      kernel: float `[k, k, C]` of the same dtype.
      stride: step over rows and columns.
      padding: one of `convolution.PADDINGS`.
      form: "lax" is XLA's convolution, "shift" the form made for CPUs, "auto" picks by platform.

    Returns:
      `[B, H', W', C]`.

    Raises:
      ValueError: when the shapes do not fit, or the map is smaller than the kernel.
      TypeError: when the dtypes differ.
    """
    check_choice("depthwise", form, FORMS)
    form = chosen(form)
    check_rank("x", x, 4)
    check_rank("kernel", kernel, 3)
    rows, columns, channels = kernel.shape
    if channels != x.shape[-1]:
        raise ValueError(f"kernels of {channels} channels do not fit maps of {x.shape[-1]}")
    if kernel.dtype != x.dtype:
        raise TypeError(f"kernels of {kernel.dtype} do not fit maps of {x.dtype}")
    around = margins(x.shape, (rows, columns), stride=stride, padding=padding)
    plan = Plan(stride, around, (x.shape[1], x.shape[2]), (rows, columns))
    if form == "lax":
        return _plain(x, kernel, plan)
    return _forward.bind(x, kernel, plan=plan, form=form)


def _plain(x: Array, kernel: Array, plan: Plan) -> Array:
    return lax.conv_general_dilated(
        x,
        kernel[:, :, None],
        (plan.stride, plan.stride),
        plan.margins,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1],
    )


def _plain_input_gradient(dy: Array, kernel: Array, plan: Plan) -> Array:
    x = jax.ShapeDtypeStruct((dy.shape[0], *plan.map, dy.shape[-1]), dy.dtype)
    return jax.linear_transpose(lambda x: _plain(x, kernel, plan), x)(dy)[0]


def _plain_kernel_gradient(x: Array, dy: Array, plan: Plan) -> Array:
    kernel = jax.ShapeDtypeStruct((*plan.kernel, x.shape[-1]), x.dtype)
    return jax.linear_transpose(lambda kernel: _plain(x, kernel, plan), kernel)(dy)[0]


def _primitive(name: str, quick: Callable, plain: Callable, shape: Callable) -> Primitive:
    """Returns a primitive of two arrays that is computed by `quick` on CPUs and by `plain` elsewhere."""
    primitive = Primitive(f"kdjax_depthwise_{name}")

    def compute(a: Array, b: Array, *, plan: Plan, form: str) -> Array:
        forms = [functools.partial(run, plan=plan) for run in (quick, plain)]
        if form == "shift":
            return forms[0](a, b)
        return lax.platform_dependent(a, b, cpu=forms[0], default=forms[1])

    def abstract(a: Any, b: Any, *, plan: Plan, form: str) -> Any:
        del form
        return a.update(shape=shape(a.shape, b.shape, plan))

    primitive.def_impl(jax.jit(compute, static_argnames=("plan", "form")))
    primitive.def_abstract_eval(abstract)
    mlir.register_lowering(primitive, mlir.lower_fun(compute, multiple_results=False))
    return primitive


_forward = _primitive(
    "forward", shifted.forward, _plain, lambda x, kernel, plan: (x[0], *plan.out, x[-1])
)
_input_gradient = _primitive(
    "input_gradient",
    shifted.input_gradient,
    _plain_input_gradient,
    lambda dy, kernel, plan: (dy[0], *plan.map, dy[-1]),
)
_kernel_gradient = _primitive(
    "kernel_gradient",
    shifted.kernel_gradient,
    _plain_kernel_gradient,
    lambda x, dy, plan: (*plan.kernel, x[-1]),
)

# The sum of y * dy is linear in x, kernel and dy; each primitive takes two of them, and its
# transpose by one of its arrays takes the other one and what belongs to its own result.
ad.defbilinear(
    _forward,
    lambda dy, x, kernel, **how: _input_gradient.bind(dy, kernel, **how),
    lambda dy, x, kernel, **how: _kernel_gradient.bind(x, dy, **how),
)
ad.defbilinear(
    _input_gradient,
    lambda x, dy, kernel, **how: _forward.bind(x, kernel, **how),
    lambda x, dy, kernel, **how: _kernel_gradient.bind(x, dy, **how),
)
ad.defbilinear(
    _kernel_gradient,
    lambda kernel, x, dy, **how: _input_gradient.bind(dy, kernel, **how),
    lambda kernel, x, dy, **how: _forward.bind(x, kernel, **how),
)


def _batch_as_images(primitive: Primitive, arrays: Any, axes: Any, **how: Any) -> tuple[Array, int]:
    """Maps of a batch with one kernel are so many more images; with kernels of their own, channels."""
    (maps, kernel), (axis, kernel_axis) = arrays, axes
    if kernel_axis is not None:
        return _batch_as_channels(primitive, arrays, axes, **how)
    maps = jnp.moveaxis(maps, axis, 0)
    y = primitive.bind(maps.reshape(-1, *maps.shape[2:]), kernel, **how)
    return y.reshape(*maps.shape[:2], *y.shape[1:]), 0


def _batch_as_channels(
    primitive: Primitive, arrays: Any, axes: Any, **how: Any
) -> tuple[Array, int]:
    count = next(
        array.shape[axis] for array, axis in zip(arrays, axes, strict=True) if axis is not None
    )
    flat = []
    for array, axis in zip(arrays, axes, strict=True):
        if axis is None:
            array, axis = jnp.broadcast_to(array[None], (count, *array.shape)), 0
        array = jnp.moveaxis(array, axis, -2)
        flat.append(array.reshape(*array.shape[:-2], -1))
    y = primitive.bind(*flat, **how)
    return y.reshape(*y.shape[:-1], count, -1), y.ndim - 1


for _each in (_forward, _input_gradient):
    batching.primitive_batchers[_each] = functools.partial(_batch_as_images, _each)
batching.primitive_batchers[_kernel_gradient] = functools.partial(
    _batch_as_channels, _kernel_gradient
)
