"""Zip archives, opened and read with limits."""

import contextlib
import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from kdjax.models.weights.guard import MAX_BYTES, UnusableFileError, shown

MAX_DIRECTORY = 32 << 20
END = b"PK\x05\x06"
END_SIZE = 22
LONGEST_COMMENT = 0xFFFF
END_64, LOCATOR_64 = b"PK\x06\x06", b"PK\x06\x07"
END_64_SIZE, LOCATOR_64_SIZE = 56, 20
DAMAGED = "is a damaged zip archive; fetch it again"


@contextlib.contextmanager
def open_archive(file: BinaryIO) -> Iterator[zipfile.ZipFile]:
    """Opens a zip archive whose directory is of a sane size.

    Raises:
      UnusableFileError: when it is damaged or cut off, there or while it is read.
    """
    _check_directory(file)
    try:
        with zipfile.ZipFile(file) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError, struct.error, ValueError) as error:
        # ValueError: member names that are no UTF-8, places before the file's beginning
        raise UnusableFileError(DAMAGED) from error
    except RuntimeError as error:
        # zipfile's way to say: encrypted, or packed by a method that it does not know
        raise UnusableFileError("is a zip archive that cannot be unpacked here") from error


def read_member(archive: zipfile.ZipFile, name: str, limit: int = MAX_BYTES) -> bytes:
    """Returns the bytes of one member.

    Raises:
      UnusableFileError: when it is missing or declares more than `limit` bytes. What it unpacks to beyond what it
        declares is never read.
    """
    try:
        member = archive.getinfo(name)
    except KeyError:
        raise UnusableFileError(f"lacks its member {shown(name)}; fetch it again") from None
    if member.file_size > limit:
        raise UnusableFileError(f"declares {member.file_size:,} bytes for its member {shown(name)}")
    return archive.read(member)


def _check_directory(file: BinaryIO) -> None:
    """Looks at the end record before `zipfile` builds an object for each of maybe millions of entries."""
    size = file.seek(0, io.SEEK_END)
    before = max(0, size - END_SIZE - LONGEST_COMMENT - LOCATOR_64_SIZE - END_64_SIZE)
    file.seek(before)
    tail = file.read()
    start = tail.rfind(END)
    if start < 0 or len(tail) < start + END_SIZE:
        raise UnusableFileError("is a zip archive that was cut off; fetch it again")
    (directory,) = struct.unpack_from("<L", tail, start + 12)
    # PyTorch writes the records of the 64-bit form always
    locator, record = start - LOCATOR_64_SIZE, start - LOCATOR_64_SIZE - END_64_SIZE
    if locator >= 0 and tail.startswith(LOCATOR_64, locator):
        (where,) = struct.unpack_from("<Q", tail, locator + 8)
        if record < 0 or where != before + record or not tail.startswith(END_64, record):
            raise UnusableFileError(DAMAGED)
        (directory,) = struct.unpack_from("<Q", tail, record + 40)
    if directory > MAX_DIRECTORY:
        raise UnusableFileError("is a zip archive of too many files for the weights of one network")
