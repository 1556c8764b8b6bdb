"""Results of items on disk: each in a file of its own, whole or not there."""

import io
import json
import os
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

Result = dict[str, Any]
"""What an item's function returns: NumPy arrays, bytes, and what JSON can hold."""


AGAIN = "again"
"""Field of a result that is not kept, since the same work may come to more another time."""


def save_result(path: Path, key: str, result: Result) -> None:
    """Writes a result whole or not at all: to a temporary name first, then renamed."""
    arrays = {f"array/{k}": v for k, v in result.items() if isinstance(v, np.ndarray)}
    raw = {f"bytes/{k}": _as_array(v) for k, v in result.items() if isinstance(v, bytes)}
    rest = {k: v for k, v in result.items() if not isinstance(v, np.ndarray | bytes)}
    header = json.dumps({"key": key, "order": list(result), "rest": rest}).encode()
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, header=_as_array(header), **arrays, **raw)
    write_whole(path, buffer.getvalue())


def load_result(path: Path, key: str) -> Result | None:
    """Returns the kept result, or `None` if there is none that is whole and of this key."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            header = json.loads(archive["header"].tobytes())
            if header["key"] != key:
                return None
            stored = {name: archive[name] for name in archive.files if name != "header"}
    except (OSError, ValueError, KeyError, TypeError, EOFError, RuntimeError):
        return None
    except (zipfile.BadZipFile, zlib.error):
        return None
    values = dict(header["rest"])
    for name, value in stored.items():
        kind, field = name.split("/", 1)
        values[field] = value.tobytes() if kind == "bytes" else value
    return {field: values[field] for field in header["order"]}


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _as_array(raw: bytes) -> np.ndarray:
    return np.frombuffer(raw, np.uint8)
