"""kdjax: knowledge distillation for deepfake detectors, functional and in JAX.

`import kdjax` is enough: its packages are imported when they are first used, as `kdjax.losses`, `kdjax.Run`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from kdjax.version import __version__ as __version__

if TYPE_CHECKING:
    from kdjax import configs as configs
    from kdjax import data_pipeline as data_pipeline
    from kdjax import evaluate as evaluate
    from kdjax import losses as losses
    from kdjax import methods as methods
    from kdjax import models as models
    from kdjax import signal as signal
    from kdjax import train as train
    from kdjax import transforms as transforms
    from kdjax.extensions import Extensions as Extensions
    from kdjax.train.run import Run as Run

PACKAGES = (
    *("configs", "data_pipeline", "evaluate", "losses", "methods", "models", "signal", "train"),
    "transforms",
)

OBJECTS = {"Extensions": "kdjax.extensions", "Run": "kdjax.train.run"}
"""Where the names are that are neither package nor version."""

__all__ = ["Extensions", "Run", "__version__", *PACKAGES]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name in PACKAGES:
            return import_module(f"kdjax.{name}")
        if name in OBJECTS:
            return getattr(import_module(OBJECTS[name]), name)
        raise AttributeError(f"module 'kdjax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *PACKAGES, *OBJECTS})
