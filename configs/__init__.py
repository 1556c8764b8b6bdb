"""Configurations: one file a method, every default once in `base.py`.

A configuration is named `METHOD[:NETWORK]` and changed by `--config.a.b=value`; keys are closed.
"""

import ast
import importlib
import importlib.util
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from kdjax.checks import UserError, nearest

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
        return importlib.import_module(f"configs.{name}")
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
    parent[leaf] = _convert(key, value, flat[key])


def _convert(key: str, value: Any, default: Any) -> Any:
    kind = type(default)
    wrong = UserError(f"{key}={value!r} must be of type {kind.__name__}, like {default!r}")
    if isinstance(default, bool):
        words = {"true": True, "1": True, "false": False, "0": False}
        if str(value).lower() not in words:
            raise wrong
        return words[str(value).lower()]
    if isinstance(default, tuple):
        if not isinstance(value, str | list | tuple):
            raise wrong
        parts = value.split(",") if isinstance(value, str) else list(value)
        texts = [part.strip() for part in parts] if isinstance(value, str) else parts
        texts = [part for part in texts if part != ""]
        if not default or isinstance(default[0], str):
            return tuple(map(str, texts))
        return tuple(_convert(key, part, default[0]) for part in texts)
    if isinstance(default, str):
        return str(value)
    try:
        number = ast.literal_eval(value) if isinstance(value, str) else value
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise wrong
        if isinstance(default, int) and number != int(number):
            raise wrong
        return kind(number)
    except (ValueError, SyntaxError, OverflowError) as error:
        raise wrong from error


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
