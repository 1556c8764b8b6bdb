"""A configuration as a flat table, and as what JSON can hold."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_dict import RequiredValueError

from kdjax.checks import UserError


def flatten(config: ConfigDict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields every leaf as `(dotted key, value)`, references followed.

    Raises:
      UserError: for a required placeholder that was never filled in.
    """
    for key in config:
        try:
            value = config[key]
        except RequiredValueError as error:
            raise UserError(
                f"{prefix}{key} is a placeholder that nobody filled in; set it in the program, or by "
                f"--config.{prefix}{key}=VALUE"
            ) from error
        if isinstance(value, ConfigDict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def to_json(config: ConfigDict) -> dict[str, Any]:
    """Returns the configuration as what JSON can hold; tuples become lists, NumPy's numbers numbers.

    Raises:
      UserError: for a value that JSON cannot hold, or a placeholder that was never filled in.
    """
    found: dict[str, Any] = {}
    for key, block in config.items(preserve_field_references=True):
        if isinstance(block, ConfigDict):
            found[key] = {}
    for key, value in flatten(config):
        *path, leaf = key.split(".")
        block = found
        for part in path:
            block = block.setdefault(part, {})
        try:
            block[leaf] = json.loads(json.dumps(value, default=_number))
        except (TypeError, ValueError) as error:
            raise UserError(
                f"{key}={value!r} is no number, text, boolean or list of such"
            ) from error
    return found


def _number(value: Any) -> Any:
    """Returns what a NumPy scalar or array holds, for JSON."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError


def flatten_mapping(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields every leaf of nested mappings as `(dotted key, value)`."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten_mapping(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def tuples(value: Any) -> Any:
    """Returns JSON with its lists as tuples, as configurations have them."""
    if isinstance(value, Mapping):
        return {key: tuples(part) for key, part in value.items()}
    return tuple(map(tuples, value)) if isinstance(value, list) else value
