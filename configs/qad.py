"""QAD (Le & Woo, 2023) with the paper's settings for ResNet-50: Adam 2e-3, one cycle, batch 64, 32 epochs.

    kdjax train --config=qad:resnet50 --workdir=runs/qad --config.data.path=DATA

Every image is seen in all three qualities, 192 for a batch of 64. For EfficientNet-B1 the paper takes
`collaborative_weight` 0.002 (it counts with `train.balance=none`) and `gamma` 0.006.
"""

from ml_collections import ConfigDict

from kdjax.configs import base


def get_config(network: str = "") -> ConfigDict:
    """Returns the configuration; `network` is the student's network."""
    config = base.get_config("qad", network)
    config.student.qualities = ("raw", "c23", "c40")
    config.data.batch_size = 64
    config.optimizer.learning_rate = 2e-3
    return config
