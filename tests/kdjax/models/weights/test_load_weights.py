import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors.numpy import save_file

from kdjax import models
from kdjax.checks import UserError
from kdjax.models import resnet, weights
from kdjax.models.weights import convert, load_weights, resnet_names, schemes


@functools.cache
def shapes(name, layout="torch", **options):
    network = models.create(name, layout=layout, **options)
    images = jax.ShapeDtypeStruct((1, 96, 96, 3), jnp.float32)
    return jax.eval_shape(network.init, jax.random.key(0), images)


def filled(name, seed, **options):
    """Variables with random values; variances lie in [0.5, 1.5]."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        values = rng.uniform(0.5, 1.5, leaf.shape)
        return np.float32(values if path[-1].key == "var" else values - 1)

    return jax.tree_util.tree_map_with_path(draw, shapes(name, **options))


TORCH_ROLES = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
KERAS_ROLES = {"scale": "gamma", "bias": "beta", "mean": "moving_mean", "var": "moving_variance"}


def published(variables, table, kind="torch"):
    """Variables as a file holds them: names of a table, axes as PyTorch's or Keras' layers have them."""
    flat = flatten_dict(variables, sep="/")
    arrays = {}
    for path, value in flat.items():
        rest = path.partition("/")[2]
        layer, _, role = rest.rpartition("/")
        theirs = table[layer]
        normal = f"batch_stats/{layer}/mean" in flat
        if kind == "torch" and role == "kernel":
            axes = {2: "io->oi", 3: "hwc->chw", 4: "hwio->oihw"}[value.ndim]
            value = np.einsum(axes, value)
            name = f"{theirs}.weight"
            value = value[:, None] if axes == "hwc->chw" else value
        elif kind == "torch":
            name = f"{theirs}.{TORCH_ROLES[role]}"
        elif role == "kernel":
            value = value[..., None] if value.ndim == 3 else value
            in_one = theirs.endswith(("/depthwise", "/pointwise"))
            name = f"{theirs}_kernel" if in_one else f"{theirs}/kernel"
        else:
            name = f"{theirs}/{KERAS_ROLES[role] if normal else role}"
        arrays[name] = np.ascontiguousarray(value)
    return arrays


@pytest.fixture
def file(monkeypatch, tmp_path):
    """Makes a function that stands for a file that holds arrays."""

    def holding(arrays, kind="torch"):
        monkeypatch.setattr(
            weights, "read_tensors", lambda path: SimpleNamespace(kind=kind, arrays=dict(arrays))
        )
        return tmp_path / "weights.file"

    return holding


def refusal(*arguments, **options):
    with pytest.raises(UserError) as caught:
        load_weights(*arguments, **options)
    line = str(caught.value)
    assert "\n" not in line
    return line


def assert_equal(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for got, wanted in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert got.dtype == wanted.dtype
        np.testing.assert_array_equal(got, wanted)


@pytest.fixture
def ours():
    return filled("resnet_tiny", 0)


@pytest.fixture
def theirs():
    return published(filled("resnet_tiny", 1), resnet_names.schemes("resnet_tiny")["torchvision"])


MANY_LAYERS = {
    *("resnet34", "resnet34_thin", "resnet50", "efficientnet_b0", "efficientnet_b1"),
    *("efficientnet_b4", "efficientnet_lite1", "efficientnet_lite2"),
    *("mobilenet_v3_large", "inception_resnet_v1"),
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name in MANY_LAYERS else name
        for name in schemes.TABLES
    ],
)
def test_every_scheme_names_every_layer_of_a_network_once(name):
    flat = flatten_dict(shapes(name, models.layouts(name)[0]), sep="/")
    layers = {path.partition("/")[2].rpartition("/")[0] for path in flat}
    tables = schemes.TABLES[name].schemes(name)
    assert tables
    for table in tables.values():
        assert set(table) == layers
        assert len(set(table.values())) == len(table)


def test_all_networks_but_composed_ones_have_tables_and_those_name_their_backbones():
    assert set(schemes.TABLES) <= set(models.names())
    assert all(schemes.branches(name) is not None for name in models.names())


def test_a_file_of_safetensors_goes_through_to_every_variable(tmp_path, ours, theirs):
    path = tmp_path / "resnet.safetensors"
    save_file({f"module.{name}": value for name, value in theirs.items()}, path)
    said = []
    found = load_weights("resnet_tiny", path, ours, say=said.append)
    assert_equal(found, filled("resnet_tiny", 1))
    assert said == []


ROUND_TRIPS = [
    ("resnet_tiny", "torchvision", "torch"),
    ("efficientnet_tiny", "torchvision", "torch"),
    ("efficientnet_tiny", "timm", "torch"),
    ("efficientnet_tiny", "lukemelas", "keras"),
    ("efficientnet_tiny", "keras", "keras"),
]


@pytest.mark.parametrize(("name", "scheme", "layout"), ROUND_TRIPS)
def test_what_a_file_of_each_scheme_holds_is_what_the_network_gets(file, name, scheme, layout):
    kind = "keras" if scheme == "keras" else "torch"
    wanted = filled(name, 1, layout=layout)
    path = file(published(wanted, schemes.TABLES[name].schemes(name)[scheme], kind), kind)
    assert_equal(load_weights(name, path, filled(name, 0, layout=layout), layout=layout), wanted)


def test_xceptions_shared_layers_and_nameless_ones_are_found_whatever_their_numbers(file):
    wanted = filled("xception", 1, layout="keras", width=0.1)
    arrays = published(wanted, schemes.TABLES["xception"].schemes("xception")["keras"], "keras")
    counted = {}
    for name, value in arrays.items():
        base, _, role = name.partition("/")
        if base.startswith(("conv2d", "batch_normalization")):
            stem, _, number = base.rpartition("_") if base[-1].isdigit() else (base, "", "0")
            stem = base if stem in ("", "conv2d_", "batch") else stem
            # from 8 on, so that the order of the names as texts is another one
            base = f"{stem}_{int(number) + 8}"
        counted[f"{base}/{role}"] = value
    assert {"conv2d_8/kernel", "conv2d_11/kernel"} <= set(counted)
    found = load_weights(
        "xception",
        file(counted, "keras"),
        filled("xception", 0, layout="keras", width=0.1),
        layout="keras",
    )
    assert_equal(found, wanted)


def test_numbers_that_a_file_lacks_stay_absent():
    table = {"a": "dense", "b": "dense_1", "c": "other"}
    assert schemes.renumbered(table, {"dense_1", "other"}) == {
        "a": "dense_1",
        "b": "dense_2",
        "c": "other",
    }
    assert schemes.renumbered(table, {"dense", "dense_1", "dense_2"}) == table


def test_the_first_convolution_of_keras_resnet50_takes_its_channels_the_other_way_round(file):
    options = {"layout": "keras", "width": 0.05}
    wanted = filled("resnet50", 1, **options)
    arrays = published(wanted, resnet_names.schemes("resnet50")["keras"], "keras")
    found = load_weights(
        "resnet50", file(arrays, "keras"), filled("resnet50", 0, **options), layout="keras"
    )
    stem = wanted["params"]["stem_conv"]["kernel"]
    np.testing.assert_array_equal(found["params"]["stem_conv"]["kernel"], stem[:, :, [2, 1, 0]])
    found["params"]["stem_conv"]["kernel"] = jnp.asarray(stem)
    assert_equal(found, wanted)
    arrays["conv1_conv/kernel"] = np.zeros(3)
    line = refusal("resnet50", file(arrays, "keras"), wanted, layout="keras")
    assert "its 'conv1_conv/kernel' (3,) cannot be our stem_conv/kernel (7, 7, 3, 3)" in line


def test_a_convolution_of_one_entry_and_a_linear_layer_stand_for_each_other():
    linear = np.arange(6.0).reshape(3, 2)
    for kind, matrix in (("torch", linear.T), ("keras", linear)):
        spread = matrix[:, :, None, None] if kind == "torch" else matrix[None, None]
        np.testing.assert_array_equal(convert.to_ours(kind, "kernel", spread, 2), linear)
        np.testing.assert_array_equal(
            convert.to_ours(kind, "kernel", matrix, 4), linear[None, None]
        )
    wide = np.zeros((3, 3, 2, 4))
    assert convert.to_ours("keras", "kernel", wide, 2).shape == wide.shape
    assert convert.to_ours("keras", "kernel", wide, 3).shape == wide.shape


def test_dtypes_are_those_of_the_variables(file, ours, theirs):
    doubles = {name: value.astype(np.float64) for name, value in theirs.items()}
    assert_equal(load_weights("resnet_tiny", file(doubles), ours), filled("resnet_tiny", 1))


def test_a_head_of_other_classes_is_left_and_said(file, ours, theirs, capsys):
    theirs["fc.weight"], theirs["fc.bias"] = np.ones((1000, 64)), np.ones(1000)
    found = load_weights("resnet_tiny", file(theirs), ours)
    wanted = filled("resnet_tiny", 1)
    wanted["params"]["classifier"] = ours["params"]["classifier"]
    assert_equal(found, wanted)
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("kdjax: ")
    assert "classifier (the file's has 1000 classes, ours 2)" in output.err
    assert len(output.err.splitlines()) == 1


def test_a_file_without_a_head_leaves_ours_and_says_so(file, ours, theirs):
    del theirs["fc.weight"], theirs["fc.bias"]
    said = []
    found = load_weights("resnet_tiny", file(theirs), ours, say=said.append)
    np.testing.assert_array_equal(
        found["params"]["classifier"]["kernel"], ours["params"]["classifier"]["kernel"]
    )
    assert len(said) == 1
    assert "classifier (the file has none)" in said[0]


def test_half_a_head_is_an_error(file, ours, theirs):
    del theirs["fc.bias"]
    assert "lacks 'fc.bias'" in refusal("resnet_tiny", file(theirs), ours)


def test_one_unit_is_another_number_of_classes_where_its_meaning_is_not_known(file, ours, theirs):
    theirs["fc.weight"], theirs["fc.bias"] = np.ones((1, 64)), np.ones(1)
    said = []
    load_weights("resnet_tiny", file(theirs), ours, say=said.append)
    assert "the file's has 1 class, ours 2" in said[0]


def test_one_unit_for_real_becomes_two_columns(file):
    wanted = filled("meso4", 1, layout="keras")
    head = wanted["params"]["classifier"]
    arrays = published(wanted, schemes.TABLES["meso4"].schemes("meso4")["keras"], "keras")
    arrays["dense_1/kernel"], arrays["dense_1/bias"] = head["kernel"][:, :1], head["bias"][:1]
    said = []
    found = load_weights(
        "meso4",
        file(arrays, "keras"),
        filled("meso4", 0, layout="keras"),
        layout="keras",
        say=said.append,
    )
    head["kernel"][:, 1] = head["bias"][1] = 0
    assert_equal(found, wanted)
    assert said == []


def test_counters_of_batches_are_no_tensors_of_the_network(file, ours, theirs):
    theirs["bn1.num_batches_tracked"] = np.int64(7)
    assert_equal(load_weights("resnet_tiny", file(theirs), ours), filled("resnet_tiny", 1))


def test_everything_missing_and_everything_left_over_is_named(file, ours, theirs):
    del theirs["layer1.0.conv1.weight"], theirs["bn1.running_var"]
    theirs |= {"layer1.0.conv9.weight": np.zeros(2), "evil\n\x1b[31m": np.zeros(1)}
    line = refusal("resnet_tiny", file(theirs), ours)
    assert "lacks 'bn1.running_var', 'layer1.0.conv1.weight';" in line
    assert "'layer1.0.conv9.weight' too many" in line
    assert "\\n\\x1b[31m" in line


def test_a_file_of_another_width_names_a_tensor_with_both_shapes(file, theirs):
    line = refusal("resnet18_thin", file(theirs), filled("resnet18_thin", 0, width=0.1))
    assert "it looks like resnet_tiny" in line
    wide = filled("resnet_tiny", 0, width=2.0)
    line = refusal("resnet_tiny", file(theirs), wide)
    assert "its 'fc.weight' (2, 64) cannot be our classifier/kernel (128, 2)" in line
    assert "and 60 more" in line


def test_a_file_of_another_network_is_told_and_named(file, ours):
    name = "efficientnet_tiny"
    arrays = published(filled(name, 1), schemes.TABLES[name].schemes(name)["timm"])
    line = refusal("resnet_tiny", file(arrays), ours)
    assert "is not of resnet_tiny (it looks like efficientnet_tiny)" in line
    line = refusal("resnet_tiny", file({"what\x00.weight": np.zeros(3)}), ours)
    assert "0 of its 25 layers are there, the file begins with 'what\\x00.weight'" in line


def test_a_file_of_a_library_that_has_no_such_network_is_told(file, ours):
    line = refusal("resnet_tiny", file({"conv1_conv/kernel": np.zeros(3)}, "keras"), ours)
    assert "is one of Keras' files; kdjax knows none of resnet_tiny" in line


@pytest.mark.parametrize(
    ("scheme", "kind", "layout", "other", "owner"),
    [
        ("keras", "keras", "keras", "torch", "Keras'"),
        ("lukemelas", "torch", "keras", "torch", "Keras'"),
        ("timm", "torch", "torch", "keras", "PyTorch's"),
    ],
)
def test_a_file_of_another_layout_names_the_option(file, scheme, kind, layout, other, owner):
    name = "efficientnet_tiny"
    arrays = published(filled(name, 1), schemes.TABLES[name].schemes(name)[scheme], kind)
    line = refusal(name, file(arrays, kind), filled(name, 0), layout=other)
    assert f"is in {owner} layout; set student.layout={layout} " in line


def test_a_lite_networks_file_is_no_matter_of_layout_to_the_one_that_squeezes(file):
    table = schemes.TABLES["efficientnet_lite0"].schemes("efficientnet_lite0")["lukemelas"]
    arrays = published(filled("efficientnet_lite0", 1, layout="keras"), table)
    line = refusal("efficientnet_b0", file(arrays), filled("efficientnet_b0", 0))
    assert "does not fit efficientnet_b0 (it looks like efficientnet_lite0): it lacks '_blo" in line
    assert "student.layout" not in line


@pytest.mark.parametrize(
    ("tensor", "value", "told"),
    [
        ("bn1.running_var", -1e-3, "negative variances"),
        ("bn1.running_var", np.nan, "not finite"),
        ("fc.weight", np.inf, "not finite"),
    ],
)
def test_values_that_no_network_has_are_refused(file, ours, theirs, tensor, value, told):
    theirs[tensor] = theirs[tensor].copy()
    theirs[tensor].flat[1] = value
    line = refusal("resnet_tiny", file(theirs), ours)
    assert repr(tensor) in line
    assert told in line


def test_variables_of_another_network_than_the_name_says_are_refused(file, ours, theirs):
    ours["params"]["what"] = ours["params"].pop("stem_conv")
    with pytest.raises(ValueError, match="not of resnet_tiny, which has no what"):
        load_weights("resnet_tiny", file(theirs), ours)


def test_a_backbone_goes_into_both_branches_and_the_rest_is_said(file, theirs):
    ours, said = filled("dual_resnet_tiny", 0), []
    theirs["fc.weight"], theirs["fc.bias"] = np.ones((1000, 64)), np.ones(1000)
    found = load_weights("dual_resnet_tiny", file(theirs), ours, say=said.append)
    backbone = filled("resnet_tiny", 1)
    del backbone["params"]["classifier"]
    wanted = unflatten_dict(dict(flatten_dict(ours)))
    for collection, tree in backbone.items():
        for branch in ("rgb_branch", "frequency_branch"):
            wanted[collection][branch] = tree
    assert_equal(found, wanted)
    assert len(said) == 1
    for kept in ("classifier", "fusion2", "fusion3", "fusion4"):
        assert f"{kept} (no part of resnet_tiny's file)" in said[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "scheme", "kept"),
    [
        ("mat", "timm", set()),
        (
            "f3net",
            "pretrainedmodels",
            {
                ("rgb_branch/stem_conv1", "it takes 12 channels, the file's 3"),
                ("frequency_branch/stem_conv1", "it takes 6 channels, the file's 3"),
            },
        ),
    ],
)
def test_a_detector_takes_its_backbone(file, name, scheme, kept):
    backbone, branches = schemes.branches(name)
    theirs = filled(backbone, 1, width=0.1)
    path = file(published(theirs, schemes.TABLES[backbone].schemes(backbone)[scheme]))
    ours, said = filled(name, 0, width=0.1), []
    found = flatten_dict(load_weights(name, path, ours, say=said.append), sep="/")
    ours, theirs = (flatten_dict(tree, sep="/") for tree in (ours, theirs))
    taken = {branch: set() for branch in branches}
    for path, value in found.items():
        collection, branch, rest = path.split("/", 2)
        if branch in branches and (f"{branch}/{rest.rpartition('/')[0]}") not in dict(kept):
            taken[branch].add(f"{collection}/{rest}")
            np.testing.assert_array_equal(value, theirs[f"{collection}/{rest}"])
        else:
            np.testing.assert_array_equal(value, ours[path])
    # all but the first convolution and the head
    assert all(len(paths) >= len(theirs) - 3 for paths in taken.values())
    assert len(said) == 1
    assert "classifier (no part of " in said[0]
    assert all(f"{layer} ({why})" in said[0] for layer, why in kept)


def test_resnets_with_bottlenecks_have_a_shortcut_in_their_first_stage():
    names = resnet_names.schemes("resnet50")
    assert resnet.PLANS["resnet50"].bottleneck
    assert names["torchvision"]["stage1_block1/shortcut_conv"] == "layer1.0.downsample.0"
    assert names["keras"]["stage4_block3/norm3"] == "conv5_block3_3_bn"
    assert names["keras_old"]["classifier"] == "probs"


@pytest.mark.slow
def test_another_eps_than_the_networks_is_said(file, capsys):
    variables = filled("mobilenet_v3_large", 0, num_classes=3)
    table = schemes.TABLES["mobilenet_v3_large"].schemes("mobilenet_v3_large")
    path = file(published(variables, table["timm"]))
    load_weights("mobilenet_v3_large", path, variables)
    assert "models.create(..., epsilon=1e-05)" in capsys.readouterr().err
    path = file(published(variables, table["torchvision"]))
    load_weights("mobilenet_v3_large", path, variables)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("mean", "variance", "told"),
    [
        ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), False),
        ((0.485, 0.456, 0.406), (0.229**2, 0.224**2, 0.225**2), False),
        ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), True),
    ],
)
def test_a_keras_efficientnet_of_other_input_statistics_is_told(file, capsys, mean, variance, told):
    variables = filled("efficientnet_tiny", 0, layout="keras")
    table = schemes.TABLES["efficientnet_tiny"].schemes("efficientnet_tiny")["keras"]
    arrays = published(variables, table, "keras")
    arrays |= {
        "normalization/mean": np.array(mean, np.float32),
        "normalization/variance": np.array(variance, np.float32),
        "normalization/count": np.array(0),
    }
    load_weights("efficientnet_tiny", file(arrays, "keras"), variables, layout="keras")
    assert ("normalises images by a mean of [0.0, 0.0, 0.0]" in capsys.readouterr().err) == told


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.bool_])
def test_quantised_weights_are_refused(file, ours, theirs, dtype):
    whole = {name: array.astype(dtype) for name, array in theirs.items()}
    assert "not floating point numbers" in refusal("resnet_tiny", file(whole), ours)


def test_numbers_too_large_for_float32_are_refused(file, ours, theirs):
    large = {**theirs, "conv1.weight": np.float64(theirs["conv1.weight"]) * 1e200}
    assert "not finite" in refusal("resnet_tiny", file(large), ours)


@pytest.mark.parametrize("collections", [(), ("params",)])
def test_variables_lacking_a_collection_are_refused(file, ours, theirs, collections):
    part = {name: ours[name] for name in collections}
    with pytest.raises(ValueError, match="must hold params and batch_stats"):
        load_weights("resnet_tiny", file(theirs), part)
