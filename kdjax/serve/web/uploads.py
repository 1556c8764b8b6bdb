"""A file on its way here: so large, so slow, and of such a type, and no more; its name never touches the disk."""

import os
import tempfile
from pathlib import Path
from typing import BinaryIO

import anyio
from fastapi import HTTPException, Request
from starlette.requests import ClientDisconnect

from kdjax.serve.web.limits import MEGABYTE, Limits

TYPES = ("image/", "video/", "application/octet-stream")
"""What a file may be sent as. A page of another site can send none of these without being asked first."""


async def receive(request: Request, folder: Path, limits: Limits) -> Path:
    """Returns where the body of a request lies now, under a name of our own.

    Raises:
      HTTPException: 415 for another type, 413 for a file too large, 408 for one too slow, 400 for none.
    """
    kind = request.headers.get("content-type", "").lower()
    if not kind.startswith(TYPES):
        raise HTTPException(
            415, "send the file itself, as image/..., video/... or application/octet-stream"
        )
    most = limits.megabytes * MEGABYTE
    announced = request.headers.get("content-length", "0")
    if not announced.isdecimal() or int(announced) > most:
        raise _too_large(limits)
    number, name = tempfile.mkstemp(dir=folder)
    path = Path(name)
    try:
        with os.fdopen(number, "wb") as file:
            with anyio.fail_after(limits.upload_seconds):
                size = await _copy(request, file, limits)
        if not size:
            raise HTTPException(400, "an empty file")
    except TimeoutError:
        path.unlink(missing_ok=True)
        raise HTTPException(
            408,
            f"too slow: a file may be {limits.upload_seconds:g} s on its way, and stand still for "
            f"{limits.pause_seconds:g} s",
        ) from None
    except OSError as error:
        path.unlink(missing_ok=True)
        raise HTTPException(507, f"the file cannot be kept: {error.strerror}") from error
    except ClientDisconnect:
        path.unlink(missing_ok=True)
        raise HTTPException(400, "half a file") from None
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


async def _copy(request: Request, file: BinaryIO, limits: Limits) -> int:
    size = 0
    pieces = request.stream().__aiter__()
    while True:
        with anyio.fail_after(limits.pause_seconds):
            try:
                piece = await pieces.__anext__()
            except StopAsyncIteration:
                return size
        size += len(piece)
        if size > limits.megabytes * MEGABYTE:
            raise _too_large(limits)
        file.write(piece)


def _too_large(limits: Limits) -> HTTPException:
    return HTTPException(413, f"a file may have {limits.megabytes} MB (--megabytes)")
