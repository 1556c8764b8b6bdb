"""Configurations: one file a method, every default once in `base.py`.

A configuration is named `METHOD[:NETWORK]` and changed by `--config.a.b=value`; keys are closed.
"""

import importlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from ml_collections import ConfigDict, FrozenConfigDict

from kdjax.checks import UserError, nearest
from kdjax.configs import base, programs
from kdjax.configs.flat import flatten, flatten_mapping, to_json, tuples
from kdjax.configs.ranges import check_ranges
from kdjax.configs.values import convert, is_none
from kdjax.extensions import NOTHING, Extensions, of_program

__all__ = [
    "NAMES",
    "Loaded",
    "checked",
    "flatten",
    "flatten_mapping",
    "from_json",
    "load",
    "override",
    "program",
    "read",
    "to_json",
]

NAMES = ("supervised", "kd", "ckd", "add", "tokd", "qad", "baselines", "combine")
"""The configurations that ship with the package."""

NOTES = "notes."
"""Begins the keys of the block that may hold anything: it is kept with a run, and changes nothing."""


class Loaded(NamedTuple):
    """A configuration, and what the program that made it adds to the library."""

    config: ConfigDict
    extensions: Extensions


def load(
    spec: str, overrides: Mapping[str, Any] | None = None, extensions: Extensions = NOTHING
) -> ConfigDict:
    """Returns the configuration `NAME[:NETWORK]` or `PROGRAM[:ARGUMENT]` with overrides applied; see `read`."""
    return read(spec, overrides, extensions).config


def read(
    spec: str, overrides: Mapping[str, Any] | None = None, extensions: Extensions = NOTHING
) -> Loaded:
    """Returns the configuration `NAME[:NETWORK]` or `PROGRAM[:ARGUMENT]` with overrides applied, and its extensions.

    Args:
      spec: a shipped name; or a program of the user's own with `get_config()` or `get_config(argument)`, as
        `FILE.py` or `package.module`, which may name parts of its own (`kdjax.extensions.Extensions`).
      overrides: texts by dotted key, as given on the command line, or values.
      extensions: more of the user's own, beside the program's.

    Raises:
      UserError: for an unknown name or key, or a value of another type.
    """
    name, _, argument = spec.partition(":")
    if name in NAMES:
        made = _shipped(name).get_config(argument)
    elif programs.is_program(name):
        program = programs.load_program(name, "get_config")
        extensions = extensions.join(of_program(program, name))
        made = programs.call(program, name, "get_config", argument)
        if not isinstance(made, ConfigDict):
            raise UserError(
                f"get_config() of {name} must return a ConfigDict, as kdjax.configs.base does"
            )
        try:
            _method_of(made)
        except UserError as error:
            raise UserError(
                f"get_config() of {name} must return a configuration of kdjax, as kdjax.configs.base.get_config makes "
                "one; what it returns has no method.name"
            ) from error
    else:
        raise UserError(f"no configuration is called {name!r}; {nearest(name, NAMES)}")
    for own in sorted(set(NAMES) & set(extensions.methods)):
        raise UserError(f"the method {own!r} is shipped with kdjax; call your own otherwise")
    base.extend(made, extensions)
    # before the result is resolved: fields that refer to others follow the overrides
    reference = made if name in NAMES else _blank(_method_of(made), extensions)
    ignored = extensions.ignored()
    for key, text in (overrides or {}).items():
        if key in ignored:
            raise UserError(f"{key}: {ignored[key]}")
        override(made, key, text, reference)
    config = checked(made, extensions)
    return Loaded(config, extensions)


def checked(config: ConfigDict, extensions: Extensions = NOTHING) -> ConfigDict:
    """Returns a configuration that a program made or changed as the command line would have made it: locked, resolved.

    Raises:
      UserError: for a key, method or type that this version does not know, and for a value that was never filled in.
    """
    if not isinstance(config, ConfigDict | FrozenConfigDict):
        raise UserError(
            f"a configuration is a ConfigDict, as configs.load or configs.base.get_config makes one, not {config!r}"
        )
    found = from_json(to_json(config), extensions)
    check_ranges(dict(flatten(found)), extensions)
    return found


def program(name: str) -> Extensions:
    """Returns what the program `FILE.py` or `package.module` adds to the library; an empty name adds nothing."""
    return of_program(programs.load_program(name), name) if name else NOTHING


def _shipped(name: str) -> Any:
    return importlib.import_module(f"kdjax.configs.{name}")


def override(config: ConfigDict, key: str, value: Any, reference: ConfigDict | None = None) -> None:
    """Sets `a.b` of the configuration from a text, or from a value of the right type.

    Args:
      config: what is changed.
      key: the dotted key.
      value: a text as given on the command line, or a value.
      reference: whose fields say which keys there are and of which type; None: the configuration's own.

    Raises:
      UserError: for an unknown key, naming the nearest known one, or a value of another type.
    """
    if key.startswith(NOTES):
        _note(config, key, value)
        return
    flat = dict(flatten(config if reference is None else reference))
    if key not in flat:
        raise UserError(f"unknown configuration key {key!r}; {nearest(key, flat)}")
    if key == "method.name" and value != flat[key]:
        raise UserError(f"method.name cannot be changed; start from --config={value} instead")
    parent = config
    *path, leaf = key.split(".")
    for part in path:
        parent = parent[part]
    empty = is_none(value) and _may_be_empty(key, config, flat[key])
    try:
        parent[leaf] = convert(key, value, flat[key], empty)
    except KeyError as error:
        raise UserError(f"{key} is not in the configuration that the program made") from error


def _note(config: ConfigDict, key: str, value: Any) -> None:
    """Sets a field of the free block `notes`."""
    parent = config
    *path, leaf = key.split(".")
    with config.unlocked():
        for part in path:
            if part not in parent:
                parent[part] = ConfigDict()
            parent = parent[part]
        parent[leaf] = value
    config.notes.unlock()


def _may_be_empty(key: str, config: ConfigDict, value: Any) -> bool:
    """Returns whether a field's default is no text at all, or no element."""
    method = config.method.name
    if method in NAMES:
        default = dict(flatten(base.get_config(method)))
        value = default.get(key, value)
    return value in ("", ())


def from_json(
    values: Mapping[str, Any], extensions: Extensions = NOTHING, *, recorded: bool = False
) -> ConfigDict:
    """Returns the configuration that `to_json` wrote, its keys and types checked.

    Args:
      values: what it wrote.
      extensions: the user's own.
      recorded: whether a method or options that are neither shipped nor among the extensions are taken as they were
        written: of a run that is read without the program that it was made by.

    Raises:
      UserError: for a method, key or type that this version does not know.
    """
    method = _method_of(values)
    known = method in NAMES or method in extensions.methods
    if recorded and not known:
        config = base.get_config("supervised")
        with config.unlocked():
            config.method = ConfigDict(tuples(values["method"]))
    else:
        config = _blank(method, extensions)
    if recorded:
        # parts of the user's own within a shipped method
        unknown = {
            name: block
            for name, block in values["method"].items()
            if isinstance(block, Mapping) and name not in config.method
        }
        with config.unlocked():
            config.method.update(tuples(unknown))
    if recorded and isinstance(values.get("own"), Mapping) and "own" not in config:
        with config.unlocked():
            config.own = ConfigDict(tuples(values["own"]))
    config.notes.unlock()
    for key, value in flatten_mapping(values):
        override(config, key, value)
    return config


def _method_of(values: Mapping[str, Any] | ConfigDict) -> str:
    block = values.get("method") if isinstance(values, Mapping | ConfigDict) else None
    method = block.get("name") if isinstance(block, Mapping | ConfigDict) else None
    if not isinstance(method, str):
        raise UserError("a configuration must be an object with a method and its name")
    return method


def _blank(method: str, extensions: Extensions) -> ConfigDict:
    """Returns a method's configuration at its defaults, with all options of the user's own."""
    if method in extensions.methods:
        return base.get_config(method, extensions=extensions)
    if method not in NAMES:
        known = (*NAMES, *extensions.methods)
        raise UserError(f"no method is called {method!r}; {nearest(method, known)}")
    return base.extend(_shipped(method).get_config(""), extensions)
