"""The networks that a configuration names: shipped ones, and the user's own."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from kdjax import models
from kdjax.checks import UserError
from kdjax.extensions import NOTHING, Extensions, Factory, check_new, given
from kdjax.methods import Network
from kdjax.models.contract import check
from kdjax.types import PyTree

DTYPES = ("float32", "bfloat16", "float16")
CLASSES = 2


def student_network(
    config: ConfigDict, axis_name: str | None = None, extensions: Extensions = NOTHING
) -> Network:
    """Returns the untrained network that a configuration describes."""
    return network(
        config.student,
        config.student.dtype,
        axis_name,
        extensions=extensions,
        options=own_options(config, config.student.network),
    )


def own_options(config: ConfigDict, name: str) -> dict[str, Any]:
    """Returns the options of one of the user's own, as `own.NAME.*` has them."""
    block = config.get("own", {})
    return dict(block.get(name, {}))


def network(
    student: ConfigDict,
    dtype: str,
    axis_name: str | None = None,
    *,
    key: str = "student",
    extensions: Extensions = NOTHING,
    options: Mapping[str, Any] | None = None,
) -> Network:
    """Returns the network of a `student` block.

    Args:
      student: the block.
      dtype: the dtype to compute in.
      axis_name: device axis over which batch statistics are averaged.
      key: the block that errors name.
      extensions: the user's own.
      options: of a network of the user's own.

    Raises:
      UserError: for an unknown network or dtype, or one of the user's own that is none.
    """
    if dtype not in DTYPES:
        raise UserError(f"{key}.dtype={dtype!r} must be float32, bfloat16 or float16")
    facts = {"dtype": jnp.dtype(dtype), "width": student.width, "axis_name": axis_name}
    name = student.network
    try:
        check_new("the network", extensions.networks, models.names())
        if name in extensions.networks:
            if student.layout:
                raise ValueError(f"{key}.layout={student.layout} is of shipped networks alone")
            factory = extensions.networks[name]
            return own_network(name, factory, {**facts, "num_classes": CLASSES}, options or {})
        module = models.create(name, layout=student.layout, **facts)
    except (ValueError, TypeError) as error:
        raise UserError(f"{key}.network={name!r}: {error}") from error
    mean, std = models.normalization(name, student.layout)
    return Network(module, tuple(map(float, mean)), tuple(map(float, std)))


def own_network(
    name: str, factory: Factory, facts: Mapping[str, Any], options: Mapping[str, Any]
) -> Network:
    """Returns what a user's factory makes, with ImageNet's normalisation where it says none.

    Raises:
      ValueError: when it is no network (`models.contract.check`).
    """
    try:
        made = factory(**given(factory, facts), **options)
    except Exception as error:
        line = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ValueError(f"its factory fails: {line}") from error
    if not isinstance(made, Network):
        mean, std = models.normalization("resnet18")
        made = Network(made, tuple(map(float, mean)), tuple(map(float, std)))
    check(made.module, num_classes=facts["num_classes"], name=name)
    return made


def variable_shapes(net: Network, image_size: int) -> PyTree:
    """Returns shapes and dtypes of a network's variables, for images of a size."""
    image = jax.ShapeDtypeStruct((1, image_size, image_size, 3), jnp.float32)
    return jax.eval_shape(lambda x: net.module.init(jax.random.key(0), x, train=False), image)
