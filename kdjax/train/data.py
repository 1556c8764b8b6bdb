"""The data set that a configuration names: a prepared one, or one of the user's own."""

from pathlib import Path

from ml_collections import ConfigDict

from kdjax.checks import UserError, nearest
from kdjax.data_pipeline.dataset import Dataset
from kdjax.data_pipeline.prepared import open_dataset
from kdjax.extensions import NOTHING, Extensions
from kdjax.train.networks import own_options

OWN = "own:"
"""Begins the `data.path` of a data set that the user's program makes."""


def open_data(
    config: ConfigDict, extensions: Extensions = NOTHING, path: str | Path = ""
) -> Dataset:
    """Returns the data set at `data.path`, or at `path` where that is given; `own:NAME` is one of the user's own.

    Raises:
      UserError: when there is none, or the user's factory fails.
    """
    place = str(path or config.data.path)
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
    try:
        return extensions.datasets[name](**own_options(config, name))
    except UserError:
        raise
    except Exception as error:
        line = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UserError(f"data.path={place}: making it fails: {line}") from error
