"""CKD (contrastive transfer from few samples) with the paper's settings: tau 0.05, lambda 0.1, K 32, batch 24.

    kdjax train --config=ckd:resnet18_thin --workdir=runs/ckd \
      --config.data.path=DATA --config.teacher.runs=runs/teacher \
      --config.data.subset=100 --config.train.steps=2000 --config.train.patience=0

Several teachers, of any architecture, are `--config.teacher.runs=A,B`.
"""

from ml_collections import ConfigDict

from kdjax.configs import base


def get_config(network: str = "") -> ConfigDict:
    """Returns the configuration; `network` is the student's network."""
    config = base.get_config("ckd", network)
    config.data.batch_size = 24
    return config
