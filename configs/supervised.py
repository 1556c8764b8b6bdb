"""Training on labels alone.

A teacher on raw images, then a student on compressed ones to compare with:

    kdjax train --config=supervised:resnet18_thin --workdir=runs/teacher \
      --config.data.path=DATA --config.student.qualities=raw
    kdjax train --config=supervised:resnet18_thin --workdir=runs/alone --config.data.path=DATA
"""

from ml_collections import ConfigDict

from kdjax.configs import base


def get_config(network: str = "") -> ConfigDict:
    """Returns the configuration; `network` is the student's network."""
    return base.get_config("supervised", network)
