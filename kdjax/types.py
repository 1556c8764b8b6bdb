"""The vocabulary that every package shares: batches, features, outputs, metrics, qualities and forgeries."""

from typing import Any, NamedTuple

import jax

Array = jax.Array
PyTree = Any

Features = dict[str, Array]
"""Named intermediates of a network: `stage1`..`stage4` (NHWC maps, deeper and smaller), `pooled` `[B, D]`."""

Metrics = dict[str, Array]
"""Named scalars of one step, already averaged over the batch axis and all devices."""

Images = dict[str, Array]
"""One batch of images by quality, aligned pixel by pixel: `{quality: [B, H, W, 3]}`."""

Batch = dict[str, Any]
"""A dict of arrays with a leading batch axis.

`image`: `{quality: uint8 [B, H, W, 3]}`; `label`, `forgery`, `video`, `identity`, `frame`, `index`:
int32 `[B]`; `mask`: float32 `[B]`, 0 on padding.
"""

QUALITIES = ("raw", "c23", "c40")
"""Names of the compression levels, best first: no loss, H.264 at crf 23, H.264 at crf 40."""

STAGES = ("stage1", "stage2", "stage3", "stage4")
"""The maps that every network has, deeper and smaller."""

LABELS = ("real", "fake")
"""Names of the two classes; the position is the label."""

FORGERIES = (
    "none",
    "autoencoder",
    "graphics",
    "expression",
    "mouth",
    "occlusion",
    "self_blended",
    "unknown",
)
"""Names of the kinds of forgery where a data set has none of its own; the position is the stored id, 0 on real images.

`autoencoder`, `graphics`, `expression`, `mouth` and `occlusion` are the five of `synthfaces` (in the manner of
DeepFakes, FaceSwap, Face2Face, NeuralTextures and FaceShifter), `self_blended` is made from a real face by
`kdjax.data_pipeline.forge`, `unknown` is a fake of the user's own folder.
"""


class Outputs(NamedTuple):
    """What every network returns.

    Attributes:
      logits: float `[B, num_classes]`.
      features: the named intermediates, at least `stage1`..`stage4` and `pooled`.
    """

    logits: Array
    features: Features
