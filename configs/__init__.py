"""Configurations: one file a method, every default once in `base.py`.

A configuration is named `METHOD[:NETWORK]` and changed by `--config.a.b=value`; keys are closed.
"""

import importlib
import importlib.util
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from kdjax.checks import UserError, nearest
from kdjax.configs.values import convert, is_none

NAMES = ("supervised", "kd", "ckd", "add", "tokd", "qad", "baselines", "combine")
"""The configurations that ship with the package."""


def load(spec: str, overrides: Mapping[str, str] | None = None) -> ConfigDict:
    """Returns the configuration `NAME[:NETWORK]` or `FILE.py[:NETWORK]` with overrides applied.

    Args:
      spec: a shipped name, or a Python file of the user's own with `get_config(network)`.
      overrides: texts by dotted key, as given on the command line.

    Raises:
      UserError: for an unknown name or key, or a value of another type.
    """
    name, _, argument = spec.partition(":")
    config = _call(name, argument)
    for key, text in (overrides or {}).items():
        override(config, key, text)
    return config


def _call(name: str, argument: str) -> ConfigDict:
    get_config = _module(name).get_config
    if name in NAMES:
        return get_config(argument)
    try:
        config = get_config(argument)
    except Exception as error:
        raise UserError(f"get_config({argument!r}) of {name} fails: {error!r}") from error
    if not isinstance(config, ConfigDict):
        raise UserError(f"get_config() of {name} must return a ConfigDict, as configs.base does")
    # what the program returns must be readable again from the run's config.json
    return from_json(to_json(config))


def _module(name: str) -> Any:
    if name in NAMES:
        return importlib.import_module(f"kdjax.configs.{name}")
    if not name.endswith(".py"):
        raise UserError(f"no configuration is called {name!r}; {nearest(name, NAMES)}")
    return load_program(Path(name), "get_config")


def load_program(path: Path, function: str) -> Any:
    """Imports a Python file that the user named on the command line, and checks that it defines `function`."""
    if not path.is_file():
        raise UserError(f"no file {path}; give a Python file that defines {function}()")
    found = importlib.util.spec_from_file_location(path.stem, path)
    if found is None or found.loader is None:
        raise UserError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(found)
    try:
        found.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise UserError(f"{path} fails when it is imported: {error!r}") from error
    if not hasattr(module, function):
        raise UserError(f"{path} does not define {function}()")
    return module


def override(config: ConfigDict, key: str, value: Any) -> None:
    """Sets `a.b` of the configuration from a text, or from a value of the right type.

    Raises:
      UserError: for an unknown key, naming the nearest known one, or a value of another type.
    """
    flat = dict(flatten(config))
    if key not in flat:
        raise UserError(f"unknown configuration key {key!r}; {nearest(key, flat)}")
    if key == "method.name" and value != flat[key]:
        raise UserError(f"method.name cannot be changed; start from --config={value} instead")
    parent = config
    *path, leaf = key.split(".")
    for part in path:
        parent = parent[part]
    empty = is_none(value) and _may_be_empty(key, config)
    parent[leaf] = convert(key, value, flat[key], empty)


def _may_be_empty(key: str, config: ConfigDict) -> bool:
    """Returns whether a field's default is no text at all, or no element."""
    from kdjax.configs import base

    default = dict(flatten(base.get_config(config.method.name))).get(key)
    return default in ("", ())


def flatten(config: ConfigDict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields every leaf as `(dotted key, value)`."""
    for key, value in config.items():
        if isinstance(value, ConfigDict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def to_json(config: ConfigDict) -> dict[str, Any]:
    """Returns the configuration as what JSON can hold; tuples become lists."""
    return json.loads(json.dumps(config.to_dict()))


def from_json(values: Mapping[str, Any]) -> ConfigDict:
    """Returns the configuration that `to_json` wrote, its keys and types checked.

    Raises:
      UserError: for a method, key or type that this version does not know.
    """
    block = values.get("method") if isinstance(values, Mapping) else None
    method = block.get("name") if isinstance(block, Mapping) else None
    if not isinstance(method, str):
        raise UserError("a configuration must be an object with a method and its name")
    if method not in NAMES:
        raise UserError(f"no method is called {method!r}; {nearest(str(method), NAMES)}")
    config = load(method)
    for key, value in _flatten_json(values):
        override(config, key, value)
    return config


def _flatten_json(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten_json(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
