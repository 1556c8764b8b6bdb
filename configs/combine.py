"""Losses of several methods in one run, summed.

    kdjax train --config=combine:resnet18_thin --workdir=runs/both --config.method.parts=qad,add \
      --config.method.qad.gamma=0.002 --config.method.add.view_weight=0 \
      --config.student.qualities=raw,c23,c40 --config.data.path=DATA --config.teacher.runs=runs/teacher

A weight may change during the run, as `--config.train.weight_schedules=add.frequency_weight:rise:0:0.5`.
"""

from ml_collections import ConfigDict

from kdjax.configs import base


def get_config(network: str = "") -> ConfigDict:
    """Returns the configuration; `network` is the student's network."""
    return base.get_config("combine", network)
