"""Hinton's knowledge distillation, temperature 4.

kdjax train --config=kd:resnet18_thin --workdir=runs/kd \
      --config.data.path=DATA --config.teacher.runs=runs/teacher
"""

from ml_collections import ConfigDict

from kdjax.configs import base


def get_config(network: str = "") -> ConfigDict:
    """Returns the configuration; `network` is the student's network."""
    return base.get_config("kd", network)
