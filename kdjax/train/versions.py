"""With which versions, and on what, a run was trained: noted when it begins, and when it goes on with others."""

import contextlib
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from kdjax.checks import UserError
from kdjax.files import write_json
from kdjax.folder import RunFolder
from kdjax.version import __version__

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")
"""What numbers of a run depend on."""


def present(devices: int) -> dict[str, str]:
    """Returns the versions at hand, and the devices that a run trains on.

    Args:
      devices: how many of this process it uses.
    """
    hosts = jax.process_count()
    apart = f" on each of {hosts} hosts" if hosts > 1 else ""
    return {
        "kdjax": __version__,
        "Python": platform.python_version(),
        **{name: metadata.version(name) for name in PACKAGES},
        "devices": f"{devices} x {jax.devices()[0].device_kind}{apart}",
    }


def note(run: Path, step: int, devices: int) -> None:
    """Notes what a run is trained with from a step on, unless it is what it was trained with before.

    Args:
      run: folder of the run.
      step: steps that are done; what was noted of later ones, which are lost, is dropped.
      devices: how many of this process it uses.
    """
    files = RunFolder(run)
    before: list[dict[str, Any]] = []
    # a damaged note keeps no run from going on
    with contextlib.suppress(UserError):
        before = [each for each in files.read_versions() if each["step"] < step]
    found = present(devices)
    if not before or before[-1]["versions"] != found:
        write_json(files.versions, [*before, {"step": step, "versions": found}])
