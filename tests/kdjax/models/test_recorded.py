"""Networks against what PyTorch returns for the same weights, drawn by name and shape; see recorded/README.md."""

import zlib
from importlib import metadata
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from kdjax import models
from kdjax.models.weights import imagenet
from kdjax.models.weights.read import read_tensors

RECORDED = Path(__file__).with_name("recorded")

NETWORKS = [
    ("torchvision_resnet18", "resnet18", {}),
    pytest.param("torchvision_resnet34", "resnet34", {}, marks=pytest.mark.slow),
    pytest.param("torchvision_resnet50", "resnet50", {}, marks=pytest.mark.slow),
    pytest.param("torchvision_efficientnet_b0", "efficientnet_b0", {}, marks=pytest.mark.slow),
    pytest.param("timm_efficientnet_b0", "efficientnet_b0", {}, marks=pytest.mark.slow),
    pytest.param(
        "lukemelas_efficientnet_b0",
        "efficientnet_b0",
        {"layout": "keras"},
        marks=pytest.mark.slow,
    ),
    ("litepytorch_efficientnet_lite0", "efficientnet_lite0", {"layout": "keras"}),
    *(
        pytest.param(
            f"litepytorch_efficientnet_lite{number}",
            f"efficientnet_lite{number}",
            {"layout": "keras"},
            marks=pytest.mark.slow,
        )
        for number in (1, 2)
    ),
    *(
        pytest.param(
            f"timm_efficientnet_lite{number}",
            f"efficientnet_lite{number}",
            {"layout": "torch"},
            marks=pytest.mark.slow,
        )
        for number in (0, 2)
    ),
    pytest.param("torchvision_mobilenet_v2", "mobilenet_v2", {}, marks=pytest.mark.slow),
    pytest.param("timm_mobilenet_v2", "mobilenet_v2", {}, marks=pytest.mark.slow),
    pytest.param(
        "torchvision_mobilenet_v3_large", "mobilenet_v3_large", {}, marks=pytest.mark.slow
    ),
    pytest.param(
        "timm_mobilenet_v3_large",
        "mobilenet_v3_large",
        {"epsilon": 1e-5},
        marks=pytest.mark.slow,
    ),
    pytest.param("pretrainedmodels_xception", "xception", {}, marks=pytest.mark.slow),
    pytest.param("facenet_inception_resnet_v1", "inception_resnet_v1", {}, marks=pytest.mark.slow),
]


def tensor(name, shape):
    """The tensor of a state dict that its name and shape stand for."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if name.endswith("running_var"):
        return np.float32(rng.uniform(0.5, 1.5, shape))
    noise = rng.normal(size=shape)
    if len(shape) > 1:
        return np.float32(noise * np.sqrt(1.5 / np.prod(shape[1:])))
    return np.float32(name.endswith("weight") + 0.3 * noise)


def relative(ours, theirs):
    """The largest difference in units of the largest entry."""
    return np.abs(np.asarray(ours, np.float64) - theirs).max() / np.abs(theirs).max()


@pytest.mark.parametrize(("recording", "name", "options"), NETWORKS)
def test_networks_return_what_pytorch_does_with_the_same_weights(
    recording, name, options, tmp_path
):
    recorded = np.load(RECORDED / f"{recording}.npz", allow_pickle=False)
    shapes = [tuple(map(int, shape[shape > 0])) for shape in recorded["shapes"]]
    state = {
        str(tensor_name): tensor(tensor_name, shape)
        for tensor_name, shape in zip(recorded["names"], shapes, strict=True)
    }
    path = tmp_path / "weights.safetensors"
    save_file(state, path)
    size = int(recorded["size"])
    with jax.enable_x64(True):
        network = models.create(name, num_classes=10, dtype=jnp.float64, **options)
        images = np.random.default_rng(0).normal(size=(2, size, size, 3))
        shapes = jax.eval_shape(network.init, jax.random.key(0), images)
        zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
        layout = options.get("layout", "torch")
        variables = models.load_weights(name, path, zeros, layout=layout)
        outputs = jax.jit(network.apply)(variables, images)
    assert outputs.logits.dtype == np.float64
    assert relative(outputs.logits, recorded["logits"]) < 1e-9
    # these are recorded in float32
    assert relative(outputs.features["pooled"], recorded["pooled"]) < 1e-6


@pytest.mark.parametrize(
    "name",
    [
        "efficientnet_lite0",
        pytest.param("efficientnet_lite1", marks=pytest.mark.slow),
        pytest.param("efficientnet_lite2", marks=pytest.mark.slow),
    ],
)
def test_imagenet_networks_return_what_their_packages_own_code_does(name):
    package = imagenet.PUBLISHED[name].package
    try:
        metadata.distribution(package)
    except metadata.PackageNotFoundError:
        pytest.skip(f"{package} is not installed")
    recorded = np.load(RECORDED / f"imagenet_{name}.npz", allow_pickle=False)
    size = int(recorded["size"])
    network = models.create(name, num_classes=1000)
    images = np.random.default_rng(0).normal(size=(2, size, size, 3)).astype(np.float32)
    shapes = jax.eval_shape(network.init, jax.random.key(0), images)
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    variables = models.load_weights(name, "imagenet", zeros)
    outputs = jax.jit(network.apply)(variables, images)
    np.testing.assert_allclose(outputs.logits, recorded["logits"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(outputs.features["pooled"], recorded["pooled"], rtol=0, atol=1e-4)


@pytest.mark.parametrize("file", ["toy.pth", "toy_checkpoint.pth", "toy_legacy.pth"])
def test_files_that_pytorch_wrote_are_read_to_the_bit(file):
    tensors = read_tensors(RECORDED / file)
    expected = dict(np.load(RECORDED / "toy.npz", allow_pickle=False))
    if file == "toy_checkpoint.pth":
        expected = {key: value for key, value in expected.items() if "." in key}
    assert tensors.kind == "torch"
    assert tensors.arrays.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_array_equal(tensors.arrays[key], value, err_msg=key, strict=key != "half")
