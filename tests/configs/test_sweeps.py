"""The papers' tables: every row is a configuration that its method takes."""

import importlib
import pkgutil

import pytest

from kdjax import configs
from kdjax.checks import UserError
from kdjax.configs import sweeps
from kdjax.train.sweeps import read_sweep


def test_every_file_is_listed():
    found = {module.name for module in pkgutil.iter_modules(sweeps.__path__)}
    assert found == set(sweeps.NAMES)


@pytest.mark.parametrize("name", sweeps.NAMES)
def test_every_row_is_a_configuration(name):
    rows, settings = read_sweep(name)
    seen = []
    for row in rows:
        spec = row.pop("config")
        config = configs.load(spec if ":" in spec else f"{spec}:resnet18_thin", settings)
        for key, value in row.items():
            configs.override(config, key, value)
        seen.append(dict(configs.flatten(config)))
    assert len({str(row) for row in seen}) == len(seen)
    assert importlib.import_module(f"kdjax.configs.sweeps.{name}").__doc__


def test_rows_of_one_table_train_alike():
    for name, settings in (("qad_table1", "qad"), ("tokd_table6", "tokd"), ("ckd_table1", "ckd")):
        shared = read_sweep(name).settings
        own = dict(configs.flatten(configs.load(f"{settings}:resnet18_thin")))
        assert shared
        assert {key: own[key] for key in shared} == shared


def test_an_unknown_table_is_refused():
    with pytest.raises(UserError, match="did you mean 'tokd_table6'"):
        read_sweep("tokd_table7")
