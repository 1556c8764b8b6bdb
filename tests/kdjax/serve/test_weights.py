"""Weights in other libraries' names: through kdjax's own reader, and in the libraries themselves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load

from kdjax import models
from kdjax.models.families import choose_layout
from kdjax.models.weights import load_weights
from kdjax.serve.weights import NAMESAKES, namesake, own_tensors, to_safetensors, torch_tensors


def variables_of(name, layout, size=64):
    """Returns variables that are drawn, statistics too."""
    module = models.create(name, layout=layout)
    shapes = jax.eval_shape(
        lambda key: module.init(key, jnp.zeros((1, size, size, 3)), train=False), jax.random.key(0)
    )
    draw = np.random.default_rng(0)

    def leaf(path, shape):
        values = 0.5 + draw.random(shape.shape, np.float32)
        if path[-1].key in ("kernel", "bias"):
            spread = np.sqrt(12 / max(1, np.prod(shape.shape[:-1])))
            values = (values - 1) * spread.astype(np.float32)
        return values

    return module, jax.tree_util.tree_map_with_path(leaf, shapes)


QUICK = (("resnet18", "torch"), ("mobilenet_v2", "torch"), ("efficientnet_lite0", "keras"))
CASES = [
    case if case in QUICK else pytest.param(*case, marks=pytest.mark.slow) for case in NAMESAKES
]


@pytest.mark.parametrize(("name", "layout"), CASES)
def test_what_is_written_is_read_again(name, layout, tmp_path):
    _, variables = variables_of(name, layout)
    same = namesake(name, layout, 1.0)
    path = tmp_path / "weights.safetensors"
    path.write_bytes(to_safetensors(torch_tensors(name, same.library, variables), {}))
    said = []
    empty = jax.tree.map(np.zeros_like, variables)
    # the table of timm's names counts as PyTorch's layout, whatever the padding of its network
    again = load_weights(name, path, empty, layout="torch", say=said.append)
    jax.tree.map(np.testing.assert_array_equal, again, variables)


def test_networks_without_a_namesake_have_none():
    assert namesake("resnet18", "", 1.0).library == "torchvision"
    assert namesake("resnet18", "", 0.5) is None
    assert namesake("resnet_tiny", "", 1.0) is None
    assert namesake("mine", "", 1.0) is None
    assert namesake("efficientnet_lite0", "", 1.0).create.count('"tf_efficientnet_lite0"') == 1
    assert all(choose_layout(name, layout) == layout for name, layout in NAMESAKES)


def test_own_names_are_paths():
    _, variables = variables_of("resnet_tiny", "")
    found = load(to_safetensors(own_tensors(variables), {"width": 1.0}))
    np.testing.assert_array_equal(
        found["params/stem_conv/kernel"], variables["params"]["stem_conv"]["kernel"]
    )
    np.testing.assert_array_equal(
        found["batch_stats/stem_norm/mean"], variables["batch_stats"]["stem_norm"]["mean"]
    )
    assert len(found) == len(jax.tree.leaves(variables))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "layout"), NAMESAKES)
def test_the_library_computes_the_same(name, layout):
    torch = pytest.importorskip("torch")
    same = namesake(name, layout, 1.0)
    library = pytest.importorskip(same.library)
    module, variables = variables_of(name, layout)
    state = load(to_safetensors(torch_tensors(name, same.library, variables), {}))
    network = eval(same.create, {same.library: library})
    network.load_state_dict({key: torch.from_numpy(value) for key, value in state.items()})
    network.eval()
    images = np.random.default_rng(1).standard_normal((3, 96, 96, 3)).astype(np.float32)
    expected = np.asarray(module.apply(variables, images, train=False).logits)
    with torch.no_grad():
        found = network(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()
    assert np.abs(found - expected).max() <= 1e-4 * max(1, np.abs(expected).max())
