"""One of the losses that the papers compare with, chosen by `--config.method.loss`.

    kdjax train --config=baselines:resnet18_thin --workdir=runs/rkd --config.method.loss=rkd \
      --config.data.path=DATA --config.teacher.runs=runs/teacher

The weights are those that RepDistiller's authors set; `--config.method.weight` changes them.
"""

from ml_collections import ConfigDict

from kdjax.configs import base


def get_config(network: str = "") -> ConfigDict:
    """Returns the configuration; `network` is the student's network."""
    return base.get_config("baselines", network)
