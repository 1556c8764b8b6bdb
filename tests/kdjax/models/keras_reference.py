"""Writes what a network of keras.applications with random weights returns, learns and keeps as statistics.

Run as `python keras_reference.py NAME LAYER ROWS COLUMNS SUFFIX FOLDER` in a process of its own: Keras is a stranger.
LAYER is the one that gives the logits. The folder gets `weights{SUFFIX}`; `step{SUFFIX}`, which holds gradients in the
place of the parameters, and the moving statistics after one step in training mode; and `reference.npz`. All is
float64.
"""

import os
import sys
from pathlib import Path

os.environ["KERAS_BACKEND"] = "jax"

import h5py
import jax
import jax.numpy as jnp
import keras
import numpy as np
import optax
from keras.src import backend
from keras.src.backend.common import dtypes
from keras.src.backend.jax import nn
from keras.src.legacy.saving import legacy_h5_format

jax.config.update("jax_enable_x64", True)
keras.config.set_floatx("float64")

BATCH, CLASSES = 4, 10
OPTIONS = {"MobileNetV3Large": {"include_preprocessing": False}}
rng = np.random.default_rng(0)


def main():
    name, last, rows, columns, suffix, folder = sys.argv[1:]
    make_double()
    make_fast()
    model = getattr(keras.applications, name)(
        weights=None,
        classes=CLASSES,
        classifier_activation=None,
        input_shape=(int(rows), int(columns), 3),
        **OPTIONS.get(name, {}),
    )
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
        if not isinstance(layer, keras.layers.Normalization):
            for variable in layer.weights:
                variable.assign(random_values(variable))
    images = rng.normal(size=(BATCH, int(rows), int(columns), 3))
    labels = rng.integers(0, CLASSES, BATCH)
    save(model, f"{folder}/weights{suffix}")

    taken = as_taken(name, images)
    both = keras.Model(model.inputs, [model.output, model.get_layer(last).input])
    logits, pooled = jax.jit(lambda x: both(x, training=False))(taken)
    np.savez(
        Path(folder) / "reference.npz",
        images=images,
        labels=labels,
        logits=logits,
        pooled=np.reshape(pooled, (BATCH, -1)),
    )
    if name not in ("EfficientNetB1", "EfficientNetB4"):
        take_step(model, taken, labels)
        save(model, f"{folder}/step{suffix}")


def make_double():
    """Keeps Keras from taking means and normalising batches in float32 where the maps are float64."""
    original = dtypes.result_type

    def result_type(*given):
        return "float64" if "float64" in map(str, given) else original(*given)

    dtypes.result_type = backend.result_type = result_type


def make_fast():
    """Replaces what takes XLA minutes: depthwise convolution in float64, and initial values of many shapes."""
    original = nn.depthwise_conv

    def shifted(inputs, kernel, strides=1, padding="valid", data_format=None, dilation_rate=1):
        steps = np.broadcast_to(strides, 2)
        spatial, sides = inputs.shape[1:3], kernel.shape[:2]
        pads = jax.lax.padtype_to_pads(spatial, sides, steps, padding.upper())
        padded = jnp.pad(inputs, [(0, 0), *pads, (0, 0)])
        ends = [
            size + sum(pad) - side + 1 for size, pad, side in zip(spatial, pads, sides, strict=True)
        ]
        return sum(
            padded[:, i : i + ends[0] : steps[0], j : j + ends[1] : steps[1]] * kernel[i, j, :, 0]
            for i in range(sides[0])
            for j in range(sides[1])
        )

    inputs, kernel = rng.normal(size=(2, 9, 10, 3)), rng.normal(size=(5, 5, 3, 1))
    for strides in (1, 2):
        for padding in ("same", "valid"):
            arguments = (inputs, kernel, strides, padding)
            expected = original(*map(keras.ops.convert_to_tensor, arguments[:2]), strides, padding)
            np.testing.assert_allclose(shifted(*arguments), expected, rtol=1e-12, atol=1e-12)
    nn.depthwise_conv = shifted
    keras.initializers.VarianceScaling.__call__ = lambda self, shape, **_: np.zeros(shape)


def random_values(variable):
    """Values that neither fade nor explode on their way through a deep network."""
    shape, role = variable.shape, variable.path.rpartition("/")[2]
    if role == "moving_variance":
        return rng.uniform(0.5, 1.5, shape)
    noise = rng.normal(size=shape)
    if len(shape) > 1:
        inputs = shape[0] * shape[1] if role == "depthwise_kernel" else np.prod(shape[:-1])
        return noise * np.sqrt(1.5 / inputs)
    return (role == "gamma") + 0.3 * noise


def as_taken(name, images):
    """The images that our network takes, as Keras' takes them."""
    if name == "ResNet50":
        return images[..., ::-1]
    # it divides by 255 itself
    return 255 * images if name.startswith("EfficientNet") else images


def save(model, path):
    """Saves the model or its weights, as the name asks: `.h5` alone is what Keras 2 wrote for weights."""
    if path.endswith(".weights.h5"):
        model.save_weights(path)
    elif path.endswith(".keras"):
        model.save(path)
    else:
        with h5py.File(path, "w") as file:
            legacy_h5_format.save_weights_to_hdf5_group(file, model)


def take_step(model, images, labels):
    """Puts gradients in the place of the parameters, and new statistics in that of the old."""
    trained = [variable.value for variable in model.trainable_variables]
    rest = [variable.value for variable in model.non_trainable_variables]

    def loss(trained, rest):
        logits, rest = model.stateless_call(trained, rest, images, training=True)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), rest

    new, rest = jax.jit(jax.grad(loss, has_aux=True))(trained, rest)
    for variable, value in zip(model.trainable_variables, new, strict=True):
        variable.assign(value)
    for variable, value in zip(model.non_trainable_variables, rest, strict=True):
        variable.assign(value)


main()
