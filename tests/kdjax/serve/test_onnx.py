"""ONNX beside JAX: single computations by ONNX Runtime, folding, and whole networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import lax

from kdjax import models
from kdjax.checks import UserError
from kdjax.methods import Network
from kdjax.methods.base import normalize
from kdjax.models.layers import BatchNorm, batch_moments
from kdjax.serve.exports import from_onnx
from kdjax.serve.models import rounding
from kdjax.serve.stablehlo import score_function, to_stablehlo

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from kdjax.serve.onnx_export import to_onnx  # noqa: E402

SIDE = 8
rng = np.random.default_rng(0)


def drawn(*shape, seed=0):
    """Returns the same numbers however often a case is traced."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


KERNEL, DEPTHWISE, DENSE = drawn(3, 3, 3, 5), drawn(3, 3, 1, 3), drawn(3, 4)
NUMBERS = ("NHWC", "HWIO", "NHWC")


def convolved(x, kernel=KERNEL, **options):
    return lax.conv_general_dilated(
        x, jnp.asarray(kernel), dimension_numbers=NUMBERS, **{"window_strides": (1, 1), "padding": "SAME", **options}
    )  # fmt: skip


def pooled(x, padding, size=3, stride=2):
    return lax.reduce_window(
        x, -jnp.inf, lax.max, (1, size, size, 1), (1, stride, stride, 1), padding
    )


def normalised(x):
    scale, offset = drawn(5), drawn(5, seed=1)
    return x * scale[None, None, None] + offset[None, None, None]


CASES = {
    "convolution": convolved,
    "strided": lambda x: convolved(x, window_strides=(2, 2), padding=((0, 1), (1, 2))),
    "dilated": lambda x: convolved(x, rhs_dilation=(2, 2)),
    "depthwise": lambda x: convolved(x, DEPTHWISE, feature_group_count=3),
    "folded": lambda x: jax.nn.relu(normalised(convolved(x))),
    "folded twice": lambda x: (normalised(convolved(x)) - 1.5) / 3.0,
    "used twice": lambda x: (lambda y: normalised(y) * y)(convolved(x)),
    "residual": lambda x: (lambda y: jax.nn.relu(y) + normalised(y))(convolved(x)),
    "same pool": lambda x: pooled(x, "SAME"),
    "valid pool": lambda x: pooled(x, "VALID", size=2),
    "padded pool": lambda x: pooled(x, ((0, 0), (1, 1), (1, 1), (0, 0))),
    "dense": lambda x: jnp.mean(x, (1, 2)) @ jnp.asarray(DENSE),
    "einsum": lambda x: jnp.einsum("uh,bhwc->buwc", jnp.asarray(drawn(4, SIDE)), x),
    "einsum twice": lambda x: jnp.einsum("uh,bhwc,vw->buvc", drawn(4, SIDE), x, drawn(5, SIDE)),
    "attention": lambda x: jnp.einsum("bhwc,bhvc->bhwv", x, x),
    "gate": lambda x: x * jax.nn.sigmoid(jnp.mean(x, (1, 2), keepdims=True)),
    "squeeze": lambda x: lax.squeeze(convolved(x, drawn(8, 8, 3, 5), padding="VALID"), (1, 2)),
    "maximum": lambda x: jnp.max(convolved(x), axis=(1, 2)),
    "maximum of channels": lambda x: jnp.max(convolved(x), axis=3),
    "relu6": lambda x: jax.nn.relu6(3 * x),
    "hard swish": jax.nn.hard_swish,
    "leaky": lambda x: jax.nn.leaky_relu(x, 0.1),
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "softmax": lambda x: jax.nn.softmax(x, axis=-1),
    "joined": lambda x: jnp.concatenate([convolved(x), x, jnp.abs(x)], axis=-1),
    "joined rows": lambda x: jnp.concatenate([convolved(x), convolved(-x)], axis=1),
    "cut": lambda x: lax.slice(convolved(x), (0, 1, 0, 2), (x.shape[0], 7, 8, 5), (1, 2, 1, 1)),
    "padded": lambda x: lax.pad(
        convolved(x), np.float32(2), [(0, 0, 0), (1, 0, 0), (0, 2, 0), (0, 0, 0)]
    ),
    "flat": lambda x: convolved(x).reshape(x.shape[0], -1) @ jnp.asarray(drawn(320, 2)),
    "moved": lambda x: jnp.transpose(convolved(x), (0, 3, 1, 2)).reshape(-1, 5, 64).sum(1),
    "repeated": lambda x: jnp.broadcast_to(jnp.mean(x, 3, keepdims=True), x.shape).reshape(-1, 192),
    "compared": lambda x: jnp.where((x > 0.3) & ~(x <= 0.5), x, x**2),
    "roots": lambda x: lax.rsqrt(jnp.abs(x) + 1) + jnp.sqrt(jnp.abs(x)) + jnp.log(jnp.exp(x) + 2),
    "bounded": lambda x: jnp.clip(x, 0.1, 0.4) + jnp.tanh(x) - jnp.maximum(x, 0.2) + x**3,
    "constants": lambda x: x + jnp.cos(jnp.arange(8.0))[None, :, None, None] * jnp.ones((1, 1, 8, 3)),
}  # fmt: skip


def exported(compute):
    """Returns images, what the computation gives as one number an image, and the model that does the same."""

    def score(images):
        found = compute(images.astype(jnp.float32) / 255.0).astype(jnp.float32)
        # every entry has a weight of its own: moved ones would show
        size = int(np.prod(found.shape[1:]))
        flat = found.reshape(-1, size)
        weights = np.cos(np.arange(size, dtype=np.float32)) / np.sqrt(size).astype(np.float32)
        return jnp.sum(flat * weights[None], axis=1)

    images = rng.integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)
    return images, np.asarray(jax.jit(score)(images)), to_onnx(score, SIDE, {"a": "b"})


@pytest.mark.parametrize("name", CASES)
def test_computations_are_jaxs(name):
    images, expected, model = exported(CASES[name])
    found = from_onnx(model)(images)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5)
    assert np.ptp(expected) > 1e-4


def operations(model):
    return [node.op_type for node in onnx.load_from_string(model).graph.node]


def test_a_normalisation_is_part_of_the_convolution_before_it():
    _, _, model = exported(CASES["folded"])
    after = operations(model)[operations(model).index("Conv") :]
    assert after[1] == "Relu"
    _, _, model = exported(CASES["folded twice"])
    assert operations(model)[operations(model).index("Conv") + 1] not in ("Mul", "Add")


def test_what_is_used_elsewhere_too_is_not_folded():
    _, _, model = exported(CASES["used twice"])
    assert {"Mul", "Add"} <= set(operations(model)[operations(model).index("Conv") :])


def test_axes_are_moved_where_they_must_be():
    blocks = [drawn(3, 3, 3, 3, seed=seed) for seed in range(3)]

    def chain(x):
        for kernel in blocks:
            x = jax.nn.relu(convolved(x, kernel)) + x
        return jnp.mean(x, (1, 2))

    assert operations(exported(chain)[2]).count("Transpose") <= 3


def test_the_file_says_what_it_takes():
    model = onnx.load_from_string(exported(CASES["dense"])[2])
    (given,), (found,) = model.graph.input, model.graph.output
    dims = given.type.tensor_type.shape.dim
    assert (given.name, found.name) == ("images", "log_odds")
    assert [dim.dim_param or dim.dim_value for dim in dims] == ["batch", SIDE, SIDE, 3]
    assert given.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert {each.key: each.value for each in model.metadata_props} == {"a": "b"}


def test_what_onnx_has_not_is_named():
    with pytest.raises(
        UserError, match=r"computes JAX's sort, which kdjax has no ONNX for; export"
    ):
        exported(lambda x: jnp.sort(x, axis=1))
    with pytest.raises(UserError, match="computes a score that depends on no image"):
        to_onnx(lambda images: jnp.zeros(images.shape[0]), SIDE, {})


def test_a_network_that_asks_how_many_images_there_are_is_one_line():
    for export in (lambda score: to_onnx(score, SIDE, {}), lambda score: to_stablehlo(score, SIDE)):
        with pytest.raises(
            UserError, match=r"for any number of images \(TypeError: .*len\(images\)"
        ):
            export(lambda images: jnp.zeros(len(images)))


def network_of(name, pixels):
    """Returns a network with drawn weights, and statistics of these images: as in a trained one no map fades away."""
    module = models.create(name)
    mean, std = models.normalization(name)
    network = Network(module, tuple(map(float, mean)), tuple(map(float, std)))
    images = np.asarray(normalize(network, pixels.astype(np.float32) / 255))
    shapes = jax.eval_shape(lambda x: module.init(jax.random.key(0), x, train=False), images)
    variables = jax.tree_util.tree_map_with_path(drawn_leaf, shapes)

    @jax.jit
    def statistics(variables):
        found, learned = {}, flatten_dict(variables["params"], sep="/")

        def normalised_by_batch(call, args, kwargs, context):
            if not isinstance(context.module, BatchNorm):
                return call(*args, **kwargs)
            (x,) = args
            mean, variance = batch_moments(x)
            # a map that hardly varies is not blown up: rounding would be all there is
            variance = variance + 0.1
            path = "/".join(context.module.path)
            found[path] = {"mean": mean, "var": variance}
            # Inception's have no scale
            scale = learned.get(f"{path}/scale", jnp.ones(mean.shape))
            y = (x - mean[None, None, None]) * (scale * lax.rsqrt(variance))[None, None, None]
            return y + learned[f"{path}/bias"][None, None, None]

        with nn.intercept_methods(normalised_by_batch):
            module.apply(variables, images, train=False)
        return found

    measured = {
        f"{path}/{role}": value
        for path, each in statistics(variables).items()
        for role, value in each.items()
    }
    assert measured.keys() == flatten_dict(variables["batch_stats"], sep="/").keys()
    return network, {**variables, "batch_stats": unflatten_dict(measured, sep="/")}


def drawn_leaf(path, leaf):
    """Returns what a tensor of a shape may hold: kernels as He drew them, scales around 1, biases around 0."""
    values = rng.random(leaf.shape, np.float32)
    if path[-1].key == "kernel":
        return (values - 0.5) * np.float32(np.sqrt(24 / max(1, np.prod(leaf.shape[:-1]))))
    return values - 0.5 if path[-1].key in ("bias", "mean") else 0.5 + values


def check_network(name, size):
    images = rng.integers(0, 256, (5, size, size, 3), dtype=np.uint8)
    network, variables = network_of(name, images)
    score = score_function(network, variables)
    expected = np.asarray(jax.jit(score)(images))
    found = from_onnx(to_onnx(score, size, {}))(images)
    # a deep one is off by as much in JAX, by rounding
    allowed = max(
        1e-4 * max(1, np.abs(expected).max()), 3 * rounding(network, variables, size, images)
    )
    assert np.abs(found - expected).max() <= allowed < 1e-3 * max(1, np.abs(expected).max())
    assert np.ptp(expected) > 1e-5


def test_no_more_threads_than_cores_that_the_process_may_use(monkeypatch):
    asked = []

    def session(content, options, **more):
        asked.append(options.intra_op_num_threads)
        raise RuntimeError("enough")

    monkeypatch.setattr("onnxruntime.InferenceSession", session)
    monkeypatch.setattr("kdjax.serve.exports.default_workers", lambda: 3)
    with pytest.raises(UserError, match="enough"):
        from_onnx(b"")
    assert asked == [3]


@pytest.mark.parametrize("name", ["resnet_tiny", "meso4", "efficientnet_tiny"])
def test_small_networks_are_the_same(name):
    check_network(name, 48)


KINDS = ("mobilenet_v2", "efficientnet_b0")
"""What the slow suite takes of the networks; `make test-every` the others."""


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name in KINDS else pytest.mark.every)
        for name in (
            *(*KINDS, "inception_resnet_v1", "f3net", "resnet50", "mobilenet_v3_large"),
            *("efficientnet_lite0", "xception", "mesoinception4", "dual_resnet18"),
        )
    ],
)
def test_networks_are_the_same(name):
    check_network(name, 96)
