"""The augmentation that a configuration names: shipped ones, the user's own, several in turn."""

from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from kdjax.checks import UserError, nearest
from kdjax.configs.values import convert
from kdjax.data_pipeline import augment, augmentations, made
from kdjax.extensions import Extensions, choose, options_of
from kdjax.train.calls import guarded, refuse
from kdjax.train.networks import own_options


def make_augment(
    config: ConfigDict,
    image_size: int,
    extensions: Extensions,
    qualities: Sequence[str] = (),
    stored: Sequence[str] = (),
) -> Any:
    """Returns what `StepParts` takes: qualities made, crop and flip, then what `data.augmentation` names.

    Args:
      config: the configuration.
      image_size: side of the crop in pixels.
      extensions: the user's own.
      qualities: what the networks see.
      stored: what the data set has, best first; none: nothing is made.

    Raises:
      ValueError: for a name or an option that is not known.
      UserError: when a factory of the user's own fails, or makes no function.
    """
    return augment.make_augment(
        image_size,
        flip=config.data.flip,
        random_crop=config.data.random_crop,
        own=named_augmentation(config, extensions),
        make=made.make_maker(qualities, stored) if stored else None,
    )


def named_augmentation(config: ConfigDict, extensions: Extensions) -> augment.Own | None:
    """Returns what `data.augmentation` names, `NAME[:OPTION=VALUE...][+NAME...]`; None where that is empty.

    A name is one of the user's own, whose options are at `own.NAME.*`, or else a shipped one. One alone is given the
    example's key, several keys of their own.
    """
    text = config.data.augmentation
    if not text:
        return None
    try:
        parts = [_part(part, config, extensions) for part in text.split("+")]
    except ValueError as error:
        raise ValueError(f"data.augmentation={text}: {error}") from error
    return parts[0] if len(parts) == 1 else augmentations.chain(*parts)


def moves_pixels(config: ConfigDict) -> bool:
    """Returns whether `data.augmentation` names a shipped one after which pixels are elsewhere."""
    names = [part.partition(":")[0] for part in config.data.augmentation.split("+")]
    return any(name in augmentations.MOVING for name in names)


def _part(text: str, config: ConfigDict, extensions: Extensions) -> augment.Own:
    name, *given = text.split(":")
    factory = choose("augmentation", name, extensions.augmentations, augmentations.SHIPPED)
    if factory is None:
        shipped = augmentations.SHIPPED[name]
        return shipped(**_options(name, options_of(name, shipped), given))
    if given:
        raise ValueError(f"options of {name}, one of your own, are at own.{name}.*")
    found = guarded(factory, "augmentation", name, extensions)(**own_options(config, name))
    if not callable(found):
        raise refuse("augmentation", name, "a function (image, key, step) -> image", found)
    return guarded(augment.same_kind(found), "augmentation", name, extensions)


def _options(name: str, defaults: dict[str, Any], given: list[str]) -> dict[str, Any]:
    """Returns the options that `OPTION=VALUE` texts give; ValueError for what is none, or given twice."""
    found: dict[str, Any] = {}
    for each in given:
        option, equals, value = each.partition("=")
        if not equals:
            raise ValueError(f"{name}:{each} must be {name}:OPTION=VALUE")
        if option not in defaults:
            raise ValueError(f"{name} has no option {option!r}; {nearest(option, defaults)}")
        if option in found:
            raise ValueError(f"{name}: {option} is given twice")
        try:
            found[option] = convert(f"{name}:{option}", value, defaults[option])
        except UserError as error:
            raise ValueError(str(error)) from error
    return found
