"""ADD (Le & Woo, 2022) with the paper's settings: Adam 2e-4, one cycle, batch 144, 32 epochs.

    kdjax train --config=add:resnet50 --workdir=runs/add \
      --config.data.path=DATA --config.teacher.runs=runs/teacher

The student and the teacher need maps of equal width; `--config.method.adapter=conv1x1` fits others.
"""

from ml_collections import ConfigDict

from kdjax.configs import base


def get_config(network: str = "") -> ConfigDict:
    """Returns the configuration; `network` is the student's network."""
    return base.get_config("add", network)
