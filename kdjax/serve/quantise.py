"""An ONNX model with whole numbers of 8 bits, for CPUs: ONNX Runtime's static quantisation."""

import logging
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kdjax.serve.onnx_export import INPUT

KINDS = ["Conv", "Gemm", "MatMul", "MaxPool", "Relu", "Clip", "Add", "Concat"]
"""Nodes that compute in 8 bits; what normalises the pixels, and gates of channels, stay in float32."""

CALIBRATION_BATCH = 32


def to_int8(model: bytes, images: Iterable[np.ndarray]) -> bytes:
    """Returns a model whose convolutions and products take 8 bits: uint8 maps, int8 weights by channel.

    The range of each map is what it takes on the images given.

    Args:
      model: as `onnx_export.to_onnx` gives it.
      images: batches, uint8 `[B, S, S, 3]`, like those that the detector will see.
    """
    import onnx
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Reader(CalibrationDataReader):
        """Hands out the images."""

        def __init__(self, batches: Iterator[np.ndarray]) -> None:
            self._batches = batches

        def get_next(self) -> Any:
            batch = next(self._batches, None)
            return None if batch is None else {INPUT: batch}

    shaped = onnx.shape_inference.infer_shapes(onnx.load_from_string(model))
    before = logging.root.manager.disable
    # it wants a step of preparation that our models do not need
    logging.disable(logging.WARNING)
    try:
        with tempfile.TemporaryDirectory(prefix="kdjax-int8-") as folder:
            given, made = (Path(folder) / name for name in ("float.onnx", "int8.onnx"))
            onnx.save(shaped, given)
            quantize_static(
                str(given),
                str(made),
                Reader(iter(images)),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=KINDS,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
            )
            return made.read_bytes()
    finally:
        logging.disable(before)
