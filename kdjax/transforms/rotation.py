"""TOKD's rotations: a branch turns the features it sees, so that its gradient agrees with the other's.

One convention throughout. Features `m` are column vectors, one at every position. Branch `k` sees `r = R_k m`
(`rotate(m, R_k)`). Its loss has the gradient `G_k = dL_k/dr` at the features as it sees them; at the backbone
arrives `v_k = R_k^T G_k` (`rotate(G_k, R_k.T)`).

See "Two-in-one Knowledge Distillation for Efficient Facial Forgery Detection" by Zhou et al., 2023
(https://arxiv.org/abs/2302.10437), and "RotoGrad: Gradient Homogenization in Multitask Learning" by Javaloy &
Valera, 2022 (https://arxiv.org/abs/2103.02631).
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax.lax import Precision

from kdjax.checks import check_choice, check_rank
from kdjax.transforms.gradients import alignment, at_least_float32
from kdjax.types import Array

AXES = ("channel", "flat")
METHODS = ("expm", "cayley")
TAYLOR_RADIUS = {"float32": 0.8, "float64": 0.09}
"""2-norms up to which the polynomial of `_exponential` is exact to rounding: `x^9 / 10! <= epsilon / 2`."""


def rotation_matrix(free: Array, *, method: str = "expm") -> Array:
    """Returns the rotation that a free matrix stands for; zeros stand for the identity.

        A = W - W^T,  R = expm(A)  or  R = (I - A)^-1 (I + A)

    `R^T R = I` to float32's rounding at any size of `W` that occurs: one step of Newton's iteration
    for the nearest orthogonal matrix takes off what the products before it have gathered. The step
    is held constant in the gradient, which is that of `R`'s formula.

    Args:
      free: `W`, float `[d, d]`.
      method: "expm" reaches every rotation; "cayley" all but those that turn something by 180 degrees,
        and turns twice as far by a small `W`.

    Returns:
      `R`, `[d, d]`, of determinant +1, at least float32.

    Raises:
      ValueError: unless `free` is square and the method known.
    """
    check_choice("method", method, METHODS)
    _check_square("free", free)
    free = at_least_float32(free)
    skew = free - free.T
    identity = jnp.eye(skew.shape[0], dtype=skew.dtype)
    matrix = _expm(skew) if method == "expm" else _cayley(skew)
    excess = identity - _product(matrix.T, matrix)
    return matrix + jax.lax.stop_gradient(0.5 * _product(matrix, excess))


def rotate(features: Array, matrix: Array, *, axis: str = "channel") -> Array:
    """Returns features whose first `d` entries are multiplied with a matrix, `r = R m`.

    `rotate(gradient, matrix.T)` brings a gradient at `r` back to `m`. The gradient flows into the
    matrix as well; TOKD stops it there, as its `L_S` must not turn the rotations.

    Args:
      features: float `[B, ..., C]`; `[B, H, W, C]` for "flat".
      matrix: `R`, float `[d, d]`.
      axis: "channel" multiplies the first `d` channels at every position; "flat" the first `d` entries
        of each example, flattened channel by channel (all positions of channel 0, then of 1, ...).

    Returns:
      The shape and dtype of `features`; multiplied in at least float32.

    Raises:
      ValueError: for shapes that do not fit, or `d` larger than what there is to rotate.
    """
    _check_square("matrix", matrix)
    size = matrix.shape[0]
    entries = rotated_entries(features, size, axis=axis)
    turned = _product(at_least_float32(entries), matrix.T).astype(features.dtype)
    if axis == "channel":
        return jnp.concatenate([turned, features[..., size:]], axis=-1)
    first = jnp.moveaxis(features, -1, 1)
    flat = first.reshape(features.shape[0], -1)
    flat = jnp.concatenate([turned, flat[:, size:]], axis=1)
    return jnp.moveaxis(flat.reshape(first.shape), 1, -1)


def rotated_entries(features: Array, size: int, *, axis: str = "channel") -> Array:
    """Returns the entries that `rotate` changes: `[B, ..., size]`, or `[B, size]` for "flat".

    Args:
      features: as in `rotate`.
      size: `d`.
      axis: as in `rotate`.

    Raises:
      ValueError: as `rotate`.
    """
    check_choice("axis", axis, AXES)
    if axis == "flat":
        check_rank("features", features, 4)
        features = jnp.moveaxis(features, -1, 1).reshape(features.shape[0], -1)
    elif features.ndim < 2:
        raise ValueError(
            f"features has shape {tuple(features.shape)}; at least 2 axes are expected"
        )
    if size > features.shape[-1]:
        raise ValueError(
            f"a rotation of {size} entries cannot be applied: axis={axis!r} has {features.shape[-1]}"
        )
    return features[..., :size]


def rotation_objective(
    free: Array,
    feature_grad: Array,
    target: Array,
    *,
    method: str = "expm",
    form: str = "cosine",
    mask: Array | None = None,
    axis_name: str | None = None,
) -> Array:
    """Returns `alignment` of the rotation that `free` stands for (see `rotation_matrix`)."""
    matrix = rotation_matrix(free, method=method)
    return alignment(matrix, feature_grad, target, form=form, mask=mask, axis_name=axis_name)


@jax.custom_vjp
def _cayley(skew: Array) -> Array:
    """Returns Cayley's transform; its gradient takes products alone, as `R + I = 2 (I - A)^-1`."""
    return _cayley_forward(skew)[0]


def _cayley_forward(skew: Array) -> tuple[Array, Array]:
    """Newton's iteration for the inverse, `X <- X (2 I - (I - A) X)`; a factorisation is no faster.

    (And the solver's change of layout, fused with `W - W^T`, wants a matrix's size of stack in XLA's CPU
    code, which died at 1024 x 1024 with JAX 0.10.2.)
    """
    identity = jnp.eye(skew.shape[0], dtype=skew.dtype)
    # The eigenvalues of (I - A) (I - A)^T lie between 1 and this.
    largest = 1 + _bound(_product(skew, skew)) ** 2
    digits = -jnp.log(jnp.finfo(skew.dtype).eps)
    count = jnp.ceil(jnp.log2(largest * digits)).astype(jnp.int32)

    def improve(_: Array, inverse: Array) -> Array:
        return 2 * inverse - _product(inverse, _product(identity - skew, inverse))

    inverse = jax.lax.fori_loop(0, count, improve, (identity + skew) / largest)
    matrix = 2 * inverse - identity
    return matrix, matrix


def _cayley_backward(matrix: Array, cotangent: Array) -> tuple[Array]:
    # dR = (I - A)^-1 dA (R + I)
    sum_ = (matrix + jnp.eye(matrix.shape[0], dtype=matrix.dtype)).T
    return (0.5 * _product(_product(sum_, cotangent), sum_),)


_cayley.defvjp(_cayley_forward, _cayley_backward)


@jax.custom_vjp
def _expm(skew: Array) -> Array:
    """Returns the matrix exponential, of products alone: a factorisation takes several times as long.

    The transpose of its derivative is the derivative at the transpose: nothing has to be remembered.
    """
    return _exponential(skew)


def _expm_forward(skew: Array) -> tuple[Array, Array]:
    return _exponential(skew), skew


def _expm_backward(skew: Array, cotangent: Array) -> tuple[Array]:
    return (jax.jvp(_exponential, (skew,), (cotangent.T,))[1].T,)


_expm.defvjp(_expm_forward, _expm_backward)


def _exponential(skew: Array) -> Array:
    """Taylor's polynomial of degree 9, in four products, of `A / 2^s`; then squared `s` times."""
    square = _product(skew, skew)
    bound = _bound(square)
    halvings = jnp.ceil(jnp.log2(bound / TAYLOR_RADIUS[skew.dtype.name]))
    halvings = jnp.where(jnp.isfinite(bound), jnp.maximum(halvings, 0), 0)
    scale = jnp.exp2(-halvings)
    skew, square = skew * scale, square * scale**2
    cube = _product(square, skew)
    powers = jnp.eye(skew.shape[0], dtype=skew.dtype), skew, square

    def block(start: int) -> Array:
        terms = [power / math.factorial(start + k) for k, power in enumerate(powers)]
        return functools.reduce(jnp.add, terms)

    result = block(6) + cube / math.factorial(9)
    result = block(3) + _product(cube, result)
    result = block(0) + _product(cube, result)
    return jax.lax.fori_loop(0, halvings.astype(jnp.int32), lambda _, r: _product(r, r), result)


def _bound(square: Array) -> Array:
    """Returns a bound on the 2-norm of a skew matrix from its square, closer than its own row sums."""
    return jnp.sqrt(jax.lax.stop_gradient(jnp.max(jnp.sum(jnp.abs(square), axis=1))))


def _product(left: Array, right: Array) -> Array:
    return jnp.matmul(left, right, precision=Precision.HIGHEST)


def _check_square(name: str, matrix: Array) -> None:
    """Raises ValueError unless `matrix` is `[d, d]`."""
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"{name} has shape {tuple(matrix.shape)}; a square matrix is expected")
