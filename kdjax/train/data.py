"""The data set that a configuration names: a prepared one, or one of the user's own."""

import contextlib
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from kdjax.checks import UserError, nearest
from kdjax.data_pipeline.dataset import Dataset
from kdjax.data_pipeline.mixture import Mixture
from kdjax.data_pipeline.prepared import open_dataset
from kdjax.extensions import NOTHING, Extensions
from kdjax.train.calls import calling, refuse
from kdjax.train.networks import own_options

OWN = "own:"
"""Begins the `data.path` of a data set that the user's program makes."""

ATTRIBUTES = tuple(name for name in vars(Dataset) if not name.startswith("_"))
"""What a data set has to have."""


def open_data(
    config: ConfigDict, extensions: Extensions = NOTHING, path: str | Path | Dataset = ""
) -> Dataset:
    """Returns the data sets at `data.path` and `data.more` as one, or what `path` names or is.

    `own:NAME` is one of the user's own.

    Raises:
      UserError: when there is none, or the user's factory fails.
    """
    if not isinstance(path, str | Path):
        return _complete(path, "given to evaluate")
    place = str(path or config.data.path)
    if config.data.more and not path:
        places = [place, *config.data.more]
        return Mixture([_open(config, extensions, each) for each in places])
    return _open(config, extensions, place)


def _open(config: ConfigDict, extensions: Extensions, place: str) -> Dataset:
    if not place.startswith(OWN):
        return open_dataset(place)
    name = place.removeprefix(OWN)
    if name not in extensions.datasets:
        hint = (
            nearest(name, extensions.datasets)
            if extensions.datasets
            else "the program that makes it is not given; give it as --program=FILE.py"
        )
        raise UserError(f"data.path={place}: no data set of your own is called {name!r}; {hint}")
    with calling("data set", name, extensions):
        made = extensions.datasets[name](**own_options(config, name))
    return _complete(made, name)


def _complete(made: Any, name: str) -> Dataset:
    """Returns a data set of the user's own; UserError unless it has all that one has to have."""
    missing = [each for each in ATTRIBUTES if not hasattr(made, each)]
    if missing:
        wanted = f"a data set, as kdjax.data_pipeline.own.Sources (it lacks {', '.join(missing)})"
        raise refuse("data set", name, wanted, made)
    return made


def naming_data(
    config: ConfigDict, extensions: Extensions
) -> contextlib.AbstractContextManager[Any]:
    """Returns a context that names the user's own data set in errors that say nothing of it."""
    place = str(config.data.path)
    if not place.startswith(OWN):
        return contextlib.nullcontext()
    name = place.removeprefix(OWN)
    return calling("data set", name, extensions, passing=(ValueError, TypeError))
