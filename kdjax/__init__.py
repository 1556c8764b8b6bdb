"""kdjax: knowledge distillation for deepfake detectors, functional and in JAX.

`import kdjax` is enough: its packages are imported when they are first used, as `kdjax.losses`, `kdjax.Run`.
"""

from typing import TYPE_CHECKING

from kdjax.lazy import lazily
from kdjax.version import __version__ as __version__

if TYPE_CHECKING:
    from kdjax import configs as configs
    from kdjax import data_pipeline as data_pipeline
    from kdjax import evaluate as evaluate
    from kdjax import losses as losses
    from kdjax import methods as methods
    from kdjax import models as models
    from kdjax import serve as serve
    from kdjax import signal as signal
    from kdjax import train as train
    from kdjax import transforms as transforms
    from kdjax.extensions import Extensions as Extensions
    from kdjax.serve.detector import Detector as Detector
    from kdjax.train.run import Run as Run
    from kdjax.train.sweeps.folder import Sweep as Sweep

PLACES = {
    "Detector": "serve.detector",
    "Extensions": "extensions",
    "Run": "train.run",
    "Sweep": "train.sweeps.folder",
    "configs": "",
    "data_pipeline": "",
    "evaluate": "",
    "losses": "",
    "methods": "",
    "models": "",
    "serve": "",
    "signal": "",
    "train": "",
    "transforms": "",
}
"""The module of each public name; a package stands for itself."""

__all__ = ["__version__", *PLACES]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazily(__name__, PLACES)
