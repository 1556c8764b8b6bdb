"""Detectors at work: what one needs beside its weights, exports, and what loads them."""

from typing import TYPE_CHECKING

from kdjax.lazy import lazily

if TYPE_CHECKING:
    from kdjax.serve.detector import Detector as Detector
    from kdjax.serve.export import Exported as Exported
    from kdjax.serve.export import export_run as export_run
    from kdjax.serve.exports import load_export as load_export
    from kdjax.serve.options import Options as Options
    from kdjax.serve.origins import Faces as Faces
    from kdjax.serve.spec import Spec as Spec
    from kdjax.serve.spec import spec_of_run as spec_of_run
    from kdjax.serve.watching import Prediction as Prediction

PLACES = {
    "Detector": "detector",
    "Exported": "export",
    "Faces": "origins",
    "Options": "options",
    "Prediction": "watching",
    "Spec": "spec",
    "export_run": "export",
    "load_export": "exports",
    "spec_of_run": "spec",
}
"""The module of each public name."""

__all__ = list(PLACES)

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazily(__name__, PLACES)
