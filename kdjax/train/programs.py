"""What a run remembers of the user's program that it was made by: where it was, its hash, a copy to read."""

import hashlib
import traceback
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from kdjax import models
from kdjax.checks import UserError
from kdjax.extensions import KINDS, Extensions
from kdjax.files import write_json, write_text
from kdjax.folder import RunFolder


def remember(run: Path, extensions: Extensions) -> str:
    """Notes the user's own in a run's folder; returns a line when the program has changed since the run was begun.

    Args:
      run: folder of the run.
      extensions: the user's own.
    """
    if extensions.is_empty():
        return ""
    file = Path(extensions.source)
    text = file.read_text("utf-8", "replace") if extensions.source and file.is_file() else ""
    digest = hashlib.sha256(text.encode()).hexdigest() if text else ""
    facts: dict[str, Any] = {
        "program": extensions.program,
        "sha256": digest,
        "own": {
            kind: sorted(getattr(extensions, kind)) for kind in KINDS if getattr(extensions, kind)
        },
    }
    files, line = RunFolder(run), ""
    before = files.read_program()
    if before and before.get("sha256") != digest:
        line = f"{extensions.program or 'the program'} has changed since {run} was begun"
    write_json(files.program, facts)
    if text:
        write_text(files.program_text, text)
    return line


def check_known_network(run: Path, config: ConfigDict, extensions: Extensions) -> None:
    """Raises UserError when a run's network is neither shipped nor the user's own, naming the program that it is of."""
    name = config.student.network
    facts = RunFolder(run).read_program()
    if name in models.names() or name in extensions.networks or not facts:
        return
    program = facts.get("program") or "PROGRAM.py"
    raise UserError(
        f"{run} has a network of its own, {name!r}, of the program {program}; give it again: "
        f"--program={program}"
    )


def place_of(error: BaseException, extensions: Extensions) -> str:
    """Returns the line of the user's program that an error came from, as ` (mine.py, line 3)`; empty: it did not."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if extensions.source and frame.filename == extensions.source]
    return f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
