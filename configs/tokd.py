"""TOKD (Zhou et al., 2023) with the paper's settings on FF++: Adam 1e-4, times 0.1 every 5 of 15 epochs, batch 64.

The teacher is a dual-branch network:

    kdjax train --config=supervised:dual_resnet18_thin --workdir=runs/dual \
      --config.data.path=DATA --config.student.qualities=raw
    kdjax train --config=tokd:resnet18_thin --workdir=runs/tokd \
      --config.data.path=DATA --config.teacher.runs=runs/dual

For Celeb-DF the paper takes weights of 200 (they count with `train.balance=none`) and a learning rate of 1e-3.
"""

from ml_collections import ConfigDict

from kdjax.configs import base


def get_config(network: str = "") -> ConfigDict:
    """Returns the configuration; `network` is the student's network."""
    config = base.get_config("tokd", network)
    config.data.batch_size = 64
    config.optimizer.learning_rate = 1e-4
    config.optimizer.schedule = "step"
    config.train.epochs = 15.0
    return config
