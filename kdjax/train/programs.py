"""What a run remembers of the user's program that it was made by: where it was, its hash, a copy to read."""

import contextlib
import hashlib
import inspect
import shlex
import sys
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
    """Notes the user's own in a run's folder; returns a line when a program has changed since the run was begun.

    What was noted first stays. A program that has changed when the run goes on is added at `later`, with a copy; one
    that is as it was, or is given to a finished run, is not noted again.

    Args:
      run: folder of the run.
      extensions: the user's own.
    """
    files = RunFolder(run)
    before = _records(files.read_program())
    found = [(_record(each), _text(each)) for each in extensions.apart()]
    changed = _changed(before, [record for record, _ in found])
    if before and not changed:
        return ""
    if not files.is_finished:
        _note(files, [each for each in found if each[0] in changed] if before else found)
    return _told(run, changed) if before else ""


def changes(run: Path, extensions: Extensions) -> str:
    """Returns a line when the user's own has changed since a run was begun, and notes nothing."""
    before = _records(RunFolder(run).read_program())
    return _told(
        run, _changed(before, [_record(each) for each in extensions.apart()]) if before else []
    )


def _changed(before: list[dict[str, Any]], found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    latest = {Path(record["program"]).name: record["sha256"] for record in before}
    return [record for record in found if record["sha256"] not in latest.values()]


def _told(run: Path, changed: list[dict[str, Any]]) -> str:
    if not changed:
        return ""
    names = " and ".join(record["program"] or "what Python handed in" for record in changed)
    return f"{names} {'has' if len(changed) == 1 else 'have'} changed since {run} was begun"


def digests(extensions: Extensions) -> list[str]:
    """Returns the hashes of the programs that added something, each with what it imports from beside it."""
    return [_record(each)["sha256"] for each in extensions.apart()]


def _note(files: RunFolder, found: list[tuple[dict[str, Any], str]]) -> None:
    """Adds records of programs, with copies of their texts, to those that are there."""
    facts = files.read_program()
    count = len(_records(facts))
    for number, (record, text) in enumerate(found, count + 1):
        if text:
            copy = files.program_copy(number)
            write_text(copy, text)
            record["copy"] = copy.name
    records = [record for record, _ in found]
    if count:
        facts["later"] = [*facts.get("later", ()), *records]
    elif records:
        facts = {**records[0], **({"beside": records[1:]} if records[1:] else {})}
    if records:
        write_json(files.program, facts)


def _record(extensions: Extensions) -> dict[str, Any]:
    """Returns what is noted of one program: what it is called from any folder, its hash, what it adds."""
    text = _text(extensions)
    is_file = extensions.program.endswith(".py") and bool(extensions.source)
    return {
        "program": extensions.source if is_file else extensions.program,
        "sha256": hashlib.sha256((text + _beside(extensions)).encode()).hexdigest() if text else "",
        "own": {
            kind: sorted(getattr(extensions, kind)) for kind in KINDS if getattr(extensions, kind)
        },
    }


def _text(extensions: Extensions) -> str:
    """Returns the program, or the functions that Python handed in as far as they can be read."""
    file = Path(extensions.source)
    if extensions.source:
        return file.read_text("utf-8", "replace") if file.is_file() else ""
    texts = []
    for factory in _factories(extensions):
        with contextlib.suppress(OSError, TypeError):
            texts.append(inspect.getsource(factory))
    return "\n".join(texts)


def _beside(extensions: Extensions) -> str:
    """Returns the texts of the modules beside the program that it, or one of these, has imported."""
    own = Path(extensions.source).resolve() if extensions.source else None
    if own is None:
        return ""
    seen: dict[Path, str] = {}
    spaces = [getattr(inspect.unwrap(each), "__globals__", {}) for each in _factories(extensions)]
    while spaces:
        for value in list(spaces.pop().values()):
            named = str(getattr(value, "__module__", None) or "")
            module = value if inspect.ismodule(value) else sys.modules.get(named)
            file = Path(getattr(module, "__file__", None) or "/").resolve()
            inside = file.suffix == ".py" and file.is_relative_to(own.parent) and file != own
            if inside and "site-packages" not in file.parts and file not in seen:
                seen[file] = file.read_text("utf-8", "replace")
                spaces.append(vars(module))
    return "".join(f"\n# {file.name}\n{seen[file]}" for file in sorted(seen))


def _factories(extensions: Extensions) -> list[Any]:
    return [each for kind in KINDS for _, each in sorted(getattr(extensions, kind).items())]


def _records(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the records of all programs of a run, the latest last; what is damaged is left out."""
    found = [facts]
    for key in ("beside", "later"):
        more = facts.get(key)
        found += more if isinstance(more, list) else []
    return [
        record
        for record in found
        if isinstance(record, dict)
        and isinstance(record.get("program"), str)
        and isinstance(record.get("sha256"), str)
        and isinstance(record.get("own"), dict)
    ]


def check_known_network(run: Path, config: ConfigDict, extensions: Extensions) -> None:
    """Raises UserError when a run's network is neither shipped nor the user's own, naming the program that it is of."""
    name = config.student.network
    facts = RunFolder(run).read_program()
    if name in models.names() or name in extensions.networks or not facts:
        return
    records = _records(facts)[::-1]
    having = [record for record in records if name in (record["own"].get("networks") or ())]
    program = next((record["program"] for record in having or records), "")
    of = f"of the program {program}" if program else "that Python handed in"
    raise UserError(
        f"{run} has a network of its own, {name!r}, {of}; give it again: "
        f"--program={shlex.quote(program) if program else 'FILE.py'}, or Run(folder, extensions) in Python"
    )


def place_of(error: BaseException, extensions: Extensions) -> str:
    """Returns the line of the user's program that an error came from, as ` (mine.py, line 3)`; empty: it did not."""
    frames = traceback.extract_tb(error.__traceback__)
    sources = {each.source for each in extensions.apart()} - {""}
    own = [frame for frame in frames if frame.filename in sources]
    return f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
