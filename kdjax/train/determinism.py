"""Kernels that give the same bits each time, on a GPU: XLA is asked for them before it starts."""

import os

from kdjax.checks import UserError

VARIABLE = "XLA_FLAGS"
FLAG = "xla_gpu_deterministic_ops"


def ask(wanted: bool, *, started: bool, platform: str = "") -> None:
    """Asks XLA for deterministic kernels by its flag in the environment; without a wish nothing is done.

    Args:
      wanted: whether they are wanted.
      started: whether JAX has started its devices: then it is too late, since XLA has read its flags.
      platform: what it has started.

    Raises:
      UserError: where it is too late on a GPU, or the flag is there with another value.
    """
    flags = os.environ.get(VARIABLE, "").split()
    given = [
        flag.lstrip("-").partition("=")[2] for flag in flags if flag.lstrip("-").startswith(FLAG)
    ]
    if not wanted:
        return
    if given and given[-1].lower() not in ("", "true", "1"):
        raise UserError(
            f"train.deterministic=true, but {VARIABLE} has --{FLAG}={given[-1]}; take it out there, or set "
            "train.deterministic=false"
        )
    if given or (started and platform == "cpu"):
        return
    if started:
        raise UserError(
            f"train.deterministic=true came too late, JAX has started its devices ({platform}); set "
            f"{VARIABLE}=--{FLAG}=true in the environment before the program starts"
        )
    os.environ[VARIABLE] = " ".join((*flags, f"--{FLAG}=true"))


def has_started() -> bool:
    """Returns whether JAX has started its devices, which this question does not."""
    try:
        # JAX tells it nowhere else
        from jax._src import xla_bridge

        return bool(xla_bridge.backends_are_initialized())
    except (ImportError, AttributeError):
        return True
