"""The networks that a configuration names: shipped ones, and the user's own."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from kdjax import models
from kdjax.checks import UserError, check_choice
from kdjax.extensions import NOTHING, Extensions, check_new
from kdjax.methods import Network
from kdjax.models.contract import check
from kdjax.models.running import Running, has_stages, normalizations
from kdjax.options import Factory, given
from kdjax.train.calls import calling
from kdjax.train.parameters import matches
from kdjax.train.programs import place_of
from kdjax.types import PyTree

DTYPES = ("float32", "bfloat16", "float16")
CLASSES, CHANNELS = 2, 3


def student_network(
    config: ConfigDict,
    axis_name: str | None = None,
    extensions: Extensions = NOTHING,
    *,
    image_size: int = 0,
) -> Network:
    """Returns the untrained network that a configuration describes; arguments as of `network`."""
    return network(
        config.student,
        config.student.dtype,
        axis_name,
        extensions=extensions,
        options=own_options(config, config.student.network),
        image_size=image_size,
    )


def running(
    config: ConfigDict, student: Network, image_size: int, extensions: Extensions = NOTHING
) -> Network:
    """Returns the student as it is trained: with normalisations at rest, or stages that are computed again.

    Raises:
      ValueError: for a setting that has nothing to act on.
    """
    mode, remat = config.train.freeze_statistics, config.student.remat
    check_choice("train.freeze_statistics", mode, ("none", "frozen", "all"))
    check_choice("student.remat", remat, ("none", "stages"))
    name = config.student.network
    if remat != "none" and (name in extensions.networks or not has_stages(student.module)):
        raise ValueError(
            f"student.remat={remat} is of shipped networks with stages; {name} has none"
        )
    resting: dict[str, tuple[str, ...]] = {}
    if mode != "none":
        found = normalizations(variable_shapes(student, image_size))
        freeze = config.optimizer.freeze
        resting = {
            path: own
            for path, own in found.items()
            if mode == "all" or all(matches(f"student/{each}", freeze) for each in own or (path,))
        }
        if not resting:
            raise ValueError(
                f"train.freeze_statistics={mode} has nothing to freeze: "
                + (
                    f"{name} has no running statistics"
                    if not found
                    else "optimizer.freeze chooses no batch normalisation whole"
                )
            )
    if remat == "none" and not resting:
        return student
    module = Running(student.module, frozenset(resting), remat != "none")
    return student._replace(module=module)


def normalising(student: Network, image_size: int) -> str:
    """Returns the path of a normalisation that trains by its batch, empty where none does."""
    resting = student.module.resting if isinstance(student.module, Running) else ()
    found = normalizations(variable_shapes(student, image_size))
    return next((path for path in found if path not in resting), "")


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
    image_size: int = 0,
) -> Network:
    """Returns the network of a `student` block.

    Args:
      student: the block.
      dtype: the dtype to compute in.
      axis_name: device axis over which batch statistics are averaged.
      key: the block that errors name.
      extensions: the user's own.
      options: of a network of the user's own.
      image_size: side of the images in pixels that one of the user's own is checked with; 0: it is not.

    Raises:
      UserError: for an unknown network or dtype, or one of the user's own that is none.
    """
    if dtype not in DTYPES:
        raise UserError(f"{key}.dtype={dtype!r} must be float32, bfloat16 or float16")
    facts: dict[str, Any] = {
        "dtype": jnp.dtype(dtype),
        "width": student.width,
        "axis_name": axis_name,
    }
    name = student.network
    try:
        check_new("the network", extensions.networks, models.names())
        if name in extensions.networks:
            if student.layout:
                raise ValueError(f"{key}.layout={student.layout} is of shipped networks alone")
            factory = extensions.networks[name]
            facts["num_classes"] = CLASSES
            usual = {"dtype": jnp.dtype("float32"), "width": 1.0}
            for fact, value in usual.items():
                if facts[fact] != value and fact not in given(factory, facts):
                    raise ValueError(f"{key}.{fact}={facts[fact]}, but it takes no argument {fact}")
            made = own_network(name, factory, facts, options or {}, extensions)
            if image_size:
                # the axis is there under several devices alone
                one = {**facts, "axis_name": None}
                alone = own_network(name, factory, one, options or {}, extensions)
                check_own(name, alone, image_size, extensions)
            return made
        module = models.create(name, layout=student.layout, **facts)
    except (ValueError, TypeError) as error:
        raise UserError(f"{key}.network={name!r}: {error}") from error
    mean, std = models.normalization(name, student.layout)
    return Network(module, tuple(map(float, mean)), tuple(map(float, std)))


def own_network(
    name: str,
    factory: Factory,
    facts: Mapping[str, Any],
    options: Mapping[str, Any],
    extensions: Extensions = NOTHING,
) -> Network:
    """Returns what a user's factory makes, with ImageNet's normalisation where it says none.

    Raises:
      UserError: when the factory fails, or its normalisation is not of three channels.
    """
    with calling("network", name, extensions):
        made = factory(**given(factory, facts), **options)
    if not isinstance(made, Network):
        mean, std = models.normalization("resnet18")
        return Network(made, tuple(map(float, mean)), tuple(map(float, std)))
    for what, values in (("mean", made.mean), ("std", made.std)):
        with calling(f"normalisation ({what}) of network", name, extensions):
            numbers = [float(value) for value in values]
        if len(numbers) != CHANNELS or (what == "std" and min(numbers) <= 0):
            raise UserError(
                f"normalisation of network {name!r}: {what} must be three numbers{' above 0' * (what == 'std')}, one "
                f"a channel; it is {numbers}"
            )
        if what == "mean" and max(numbers) > 1:
            raise UserError(
                f"normalisation of network {name!r}: its mean is {numbers}, but images are in [0, 1]; divide mean and "
                "std by 255"
            )
    return made


def check_own(
    name: str, network: Network, image_size: int, extensions: Extensions = NOTHING
) -> None:
    """Raises UserError when a network of the user's own is none (`models.contract.check`), or fails when called."""
    try:
        check(network.module, image_size=image_size, num_classes=CLASSES, name=name)
    except ValueError as error:
        place = place_of(error.__cause__ or error, extensions)
        raise UserError(f"{error}{place}") from error


def variable_shapes(net: Network, image_size: int) -> PyTree:
    """Returns shapes and dtypes of a network's variables, for images of a size; one of the user's own is checked."""
    if not type(net.module).__module__.startswith("kdjax."):
        check_own("", net, image_size)
    image = jax.ShapeDtypeStruct((1, image_size, image_size, 3), jnp.float32)
    return jax.eval_shape(lambda x: net.module.init(jax.random.key(0), x, train=False), image)
