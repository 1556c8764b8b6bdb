"""Losses and transforms are islands of float32: they take bfloat16, and compute nothing in it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import losses, signal, transforms
from kdjax.methods.projectors import (
    NonLocal,
    Stack,
    apply_linear,
    apply_stack,
    embed,
    init_linear,
    init_stack,
)
from kdjax.models.layers import BatchNorm, Classifier, pool

EXACT = frozenset(
    (
        # moves or selects numbers, or computes without rounding
        *("convert_element_type", "reshape", "transpose", "broadcast_in_dim", "squeeze", "slice"),
        *(
            "concatenate",
            "stack",
            "unstack",
            "gather",
            "scatter",
            "dynamic_slice",
            "pad",
            "rev",
            "select_n",
        ),
        *("stop_gradient", "copy", "neg", "abs", "sign", "max", "min", "reduce_max", "reduce_min"),
        *("sort", "argmax", "eq", "ne", "lt", "le", "gt", "ge", "is_finite", "split", "iota"),
        # have equations of their own within
        *("pjit", "jit", "custom_jvp_call", "custom_vjp_call", "scan", "while", "cond"),
    )
)
"""Operations that bfloat16 may go through. Sums are none of them."""

SMALL = (jnp.bfloat16, jnp.float16)


def equations(jaxpr):
    """Yields the equations of a jaxpr and of all within."""
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            for inner in jax.tree.leaves(
                value, is_leaf=lambda x: hasattr(x, "eqns") or hasattr(x, "jaxpr")
            ):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from equations(inner)


def computed_small(function, *arguments):
    """Returns the operations that compute in bfloat16, by name."""
    found = jax.make_jaxpr(function)(*arguments)
    return sorted(
        {
            equation.primitive.name
            for equation in equations(found.jaxpr)
            if equation.primitive.name not in EXACT
            and any(
                getattr(value.aval, "dtype", None) in SMALL
                for value in (*equation.invars, *equation.outvars)
            )
        }
    )


rng = np.random.default_rng(0)


def small(*shape):
    return jnp.asarray(rng.uniform(0.1, 1.0, shape), jnp.bfloat16)


LABELS = jnp.arange(4) % 2
KEY = jax.random.key(0)
MASK = jnp.array([1.0, 1.0, 0.0, 1.0])


def densities(x, y, **options):
    along = losses.directions(KEY, 3)
    return losses.multi_view(
        *losses.view_densities(x, y, along, **options),
        LABELS,
        KEY,
        gamma=1.0,
        eta=1.0,
        margin=0.1,
        mask=MASK,
    )


MAPS = {
    **{
        f"frequency_attention {mode}": functools.partial(losses.frequency_attention, mode=mode)
        for mode in ("relative", "paper", "official")
    },
    "multi_view": densities,
    "multi_view normalized": functools.partial(densities, coordinates="normalized"),
    "sliced_wasserstein": lambda x, y: losses.sliced_wasserstein(
        *losses.view_densities(x, y, losses.directions(KEY, 3)), cost="transport"
    ),
    "add": lambda x, y: losses.add(
        dict.fromkeys(("stage1", "stage2", "stage3", "stage4"), x),
        dict.fromkeys(("stage1", "stage2", "stage3", "stage4"), y),
        LABELS,
        KEY,
        views=3,
    ),
    "tokd": lambda x, y: losses.tokd(
        dict.fromkeys(("rgb", "frequency"), x), dict.fromkeys(("rgb", "frequency"), y)
    ),
    "qad": lambda x, y: losses.qad(
        [dict.fromkeys(("stage2", "stage3", "stage4"), each) for each in (x, y)]
    ),
    "normalized_distance": losses.normalized_distance,
    "attention_transfer": losses.attention_transfer,
    "fitnet": losses.fitnet,
    "vid": lambda x, y: losses.vid(x, jnp.zeros(3, jnp.bfloat16), y),
    "similarity_preserving": losses.similarity_preserving,
    "pool_to": lambda x, y: losses.pool_to(x, (2, 2)) + losses.pool_to(y, (2, 2)),
    "match_spatial": lambda x, y: losses.match_spatial(x, y[:, :2, :2])[0],
    "dct2": lambda x, y: signal.dct2(x) + signal.idct2(y),
    "high_pass": lambda x, y: signal.high_pass(x) + y.astype(jnp.float32),
    "rotate": lambda x, y: jnp.concatenate(
        [
            transforms.rotate(
                each, transforms.rotation_matrix(jnp.ones((3, 3), jnp.bfloat16), method=method)
            )
            for each, method in ((x, "expm"), (y, "cayley"))
        ]
    ),
    "alignment": lambda x, y: transforms.rotation_objective(
        jnp.ones((3, 3), jnp.bfloat16),
        x,
        transforms.gradient_target([x, y], one_norm=True),
        mask=MASK,
    ),
    "squared alignment": lambda x, y: transforms.alignment(
        transforms.rotation_matrix(jnp.ones((3, 3))), x, y, form="squared"
    ),
    "gradient_cosine": lambda x, y: transforms.gradient_cosine(x, y)[0],
    "stack": lambda x, y: (
        apply_stack(Stack(2, (1,), 5, 3), init_stack(KEY, Stack(2, (1,), 5, 3), 3), x)
        + apply_stack(Stack(2, (1,), 5, 3), init_stack(KEY, Stack(2, (1,), 5, 3), 3), y)
    ),
    "non-local": lambda x, y: (
        NonLocal().apply(NonLocal().init(KEY, jnp.zeros((1, 2, 2, 3))), x) + y.astype(jnp.float32)
    ),
    "pool": lambda x, y: pool(x) + pool(y),
}
"""Of two maps `[4, 4, 4, 3]`."""

VECTORS = {
    "cross_entropy": lambda x, y: losses.cross_entropy(x, LABELS) + losses.cross_entropy(y, LABELS),
    "tempered_softmax": lambda x, y: (
        losses.tempered_softmax(x, LABELS, temperature=2.0) + losses.cross_entropy(y, LABELS)
    ),
    "kd": functools.partial(losses.kd, temperature=4.0),
    "logit_mse": losses.logit_mse,
    "soft_label": lambda x, y: losses.soft_label(x, y, LABELS, temperature=4.0, mix=0.5),
    "pairwise": losses.pairwise,
    "center": lambda x, y: losses.center(x, LABELS, y[:2]),
    "collaborative": lambda x, y: losses.collaborative(jnp.stack([x, y])),
    "rkd_distance": functools.partial(losses.rkd_distance, mask=MASK),
    "rkd_angle": functools.partial(losses.rkd_angle, mask=MASK),
    "pkt": functools.partial(losses.pkt, mask=MASK),
    "unit_vectors": lambda x, y: losses.unit_vectors(x) + losses.unit_vectors(y),
    "masked_mean": lambda x, y: losses.masked_mean(x[:, 0], MASK) + losses.masked_mean(y[:, 0]),
    "contrastive_nce": lambda x, y: losses.contrastive_nce(
        x, y, jnp.stack([x, y], 1), temperature=0.05, dataset_size=10
    ),
    "contrastive_normalizer": lambda x, y: losses.contrastive_normalizer(
        x, y, jnp.stack([x, y], 1), temperature=0.05, dataset_size=10
    ),
    "ckd": lambda x, y: losses.ckd(x, y, jnp.stack([x, y], 1), dataset_size=10),
    "crd": lambda x, y: losses.crd(
        x, y, jnp.stack([x, y], 1), jnp.stack([y, x], 1), temperature=0.07, dataset_size=10
    ),
    **{
        f"hsic {kernel} {bandwidth} {estimator}": functools.partial(
            losses.hsic, kernel=kernel, bandwidth=bandwidth, estimator=estimator, mask=MASK
        )
        for kernel in ("gaussian", "laplace")
        for bandwidth in ("fixed", "mean", "median")
        for estimator in ("biased", "unbiased")
    },
    "hsic normalized": functools.partial(losses.hsic, normalized=True),
    "hsic features": functools.partial(losses.hsic, features=4, rng=KEY),
    "embed": lambda x, y: embed(init_linear(KEY, 6, 3), x) + embed(init_linear(KEY, 6, 3), y),
    "linear": lambda x, y: (
        apply_linear(init_linear(KEY, 6, 3), x) + apply_linear(init_linear(KEY, 6, 3), y)
    ),
    "classifier": lambda x, y: (
        Classifier(2).apply(Classifier(2).init(KEY, x), x)
        + Classifier(2).apply(Classifier(2).init(KEY, x), y)
    ),
}
"""Of two rows of vectors `[4, 6]`."""


@pytest.mark.parametrize("name", [*MAPS, *VECTORS])
def test_nothing_is_computed_in_bfloat16(name):
    function = MAPS.get(name) or VECTORS[name]
    shape = (4, 4, 4, 3) if name in MAPS else (4, 6)
    x, y = small(*shape), small(*shape)
    # a rotated map has the dtype of the map, turned in float32
    assert name == "rotate" or jax.eval_shape(function, x, y).dtype == jnp.float32
    assert computed_small(function, x, y) == []

    def total(x, y):
        return jnp.sum(function(x, y))

    # where gradients of one argument come together, JAX adds them in its dtype
    found = set(computed_small(jax.grad(total, (0, 1)), x, y))
    assert found <= {"add_any", "add", "scatter-add"}
    grads = jax.grad(total, (0, 1))(x, y)
    assert all(grad.dtype == jnp.bfloat16 for grad in grads)
    assert all(np.isfinite(np.asarray(grad, np.float32)).all() for grad in grads)


def test_batch_normalisation_takes_its_moments_in_float32():
    x = small(4, 4, 4, 3)
    layer = BatchNorm()
    variables = layer.init(KEY, x, train=True)

    def run(x):
        return layer.apply(variables, x, train=True, mutable=["batch_stats"])

    assert computed_small(run, x) == []
    assert run(x)[0].dtype == jnp.bfloat16


def test_the_check_finds_what_is_computed_in_bfloat16():
    assert computed_small(lambda x: jnp.exp(x) @ x.T, small(2, 2)) == ["dot_general", "exp"]
    assert computed_small(lambda x: jax.nn.softmax(x.astype(jnp.float32)), small(2, 2)) == []
    assert "reduce_sum" in computed_small(lambda x: jax.lax.reduce_sum(x, (0,)), small(2))
