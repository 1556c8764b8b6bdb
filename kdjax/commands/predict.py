"""`kdjax predict`."""

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from kdjax import configs
from kdjax.checks import UserError, plain
from kdjax.serve import records
from kdjax.serve.detector import Detector, Judged
from kdjax.serve.options import Options, check
from kdjax.serve.records import FORMATS
from kdjax.serve.watching import Prediction


def run(options: argparse.Namespace) -> None:
    """Runs the command."""
    how = check(_options(options))
    form = _format(options)
    try:
        detector = Detector.load(options.run, extensions=configs.program(options.program))
        notes = detector.notes(how)
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(_so_far(0, options)) from stop
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(_opened(options.output))
        lines = _Lines(file, form, options.detail)
        if form == "jsonl":
            lines.put(records.detector_record(detector, options.run, notes))
        annotator = page = None
        if options.annotate:
            from kdjax.serve.annotating import Annotator

            annotator = Annotator(options.annotate)
            stack.callback(annotator.abandon)
        if options.page:
            from kdjax.serve.page import Page

            page = Page(detector, options.run, notes)
        failed = 0
        try:
            for found in _shown(detector.watch(options.inputs, how)):
                if annotator is not None:
                    annotator.add(found) if isinstance(found, Judged) else annotator.close(found)
                lines.write(found)
                if isinstance(found, Prediction):
                    if found.problem:
                        failed += 1
                        _complain(found, form)
                    if page is not None:
                        page.add(found)
        except KeyboardInterrupt as stop:
            lines.cut()
            raise KeyboardInterrupt(_so_far(lines.inputs, options)) from stop
        except BrokenPipeError:
            raise
        except (UserError, OSError) as error:
            # a full disk, as that of the annotated videos: what was judged is not lost with it
            if not lines.inputs:
                raise
            with contextlib.suppress(OSError):
                lines.cut()
            told: object = error
            if isinstance(error, OSError):
                # what a write fails with names no file
                told = f"{error.filename or options.output or 'the output'}: {error.strerror}"
            raise UserError(f"{told}; {_so_far(lines.inputs, options)}") from error
        if page is not None:
            page.write(options.page)
    if failed:
        raise UserError(f"{failed} of {lines.inputs} inputs could not be read, or not to their end")


def _options(options: argparse.Namespace) -> Options:
    given = {name: getattr(options, name) for name in Options._fields if name != "keep_frames"}
    return Options(**given, keep_frames=options.annotate is not None)


def _format(options: argparse.Namespace) -> str:
    """Returns how records are written: as asked for, else by the file's ending, else for people."""
    if options.format:
        return str(options.format)
    ending = options.output.suffix.lstrip(".").lower() if options.output else "text"
    if ending in FORMATS:
        return ending
    raise UserError(
        f"--output={options.output} ends neither in .jsonl nor in .csv; name the --format too"
    )


def _so_far(inputs: int, options: argparse.Namespace) -> str:
    """Returns what there is of inputs that were judged before Ctrl-C, a clause."""
    page = "" if options.page is None else f"; no page was written to {options.page}"
    if not inputs:
        return f"no input was judged to its end, and nothing was written{page}"
    where = "the lines above" if options.output is None else f"all that is in {options.output}"
    return f"inputs that were judged to their end: {inputs}, {where}{page}"


@contextlib.contextmanager
def _opened(output: Path | None) -> Iterator[TextIO]:
    """Yields the file that records go to: it has its name when all of it is there, or what there was before an end."""
    if output is None:
        # names of files may be no text
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        yield sys.stdout
        return
    temporary = output.with_name(f".{output.name}.{os.getpid()}.tmp")
    try:
        file = temporary.open("w", encoding="utf-8", newline="")
    except OSError as error:
        raise UserError(f"--output={output} cannot be written: {error.strerror}") from error
    try:
        with file:
            try:
                yield file
            except (KeyboardInterrupt, UserError):
                with contextlib.suppress(OSError):
                    if file.tell():
                        file.close()
                        os.replace(temporary, output)
                raise
        os.replace(temporary, output)
    finally:
        temporary.unlink(missing_ok=True)


def _complain(found: Prediction, form: str) -> None:
    """Says what was wrong where records are for programs."""
    if form != "text":
        name = plain(records.name_of(found.path))
        print(f"{name}: {plain(found.problem)}", file=sys.stderr)


class _Lines:
    """Writes what is found in one of the formats.

    Attributes:
      inputs: how many are written whole.
    """

    inputs = 0

    def __init__(self, file: TextIO, form: str, detail: str) -> None:
        self._file, self._form, self._detail = file, form, detail
        self._depth = records.DETAILS.index(detail)
        self._table = records.Table(file) if form == "csv" else None
        self._whole = 0

    def write(self, found: Judged | Prediction) -> None:
        if isinstance(found, Judged):
            if self._depth == 2 and self._form != "text":
                for record in records.frame_records(found):
                    self.put(record)
            return
        if self._form == "text":
            for line in records.text_lines(found, self._detail):
                print(line, file=self._file)
        else:
            for record in records.face_records(found) if self._depth else ():
                self.put(record)
            self.put(records.input_record(found))
        self._file.flush()
        self.inputs += 1
        if self._file is not sys.stdout:
            self._whole = self._file.tell()

    def cut(self) -> None:
        """Leaves inputs alone that are written whole; what was printed stays."""
        if self._file is not sys.stdout:
            self._file.seek(self._whole)
            self._file.truncate()

    def put(self, record: dict[str, Any]) -> None:
        if self._table is not None:
            self._table.write(record)
        else:
            self._file.write(records.json_line(record))


def _shown(found: Iterator[Judged | Prediction]) -> Iterator[Judged | Prediction]:
    """Shows on a terminal how far it is."""
    with tqdm(unit=" frames", disable=None, leave=False) as bar:
        for each in found:
            if isinstance(each, Judged):
                bar.update(max(0, each.sight.number + 1 - bar.n))
            else:
                bar.reset()
                bar.clear()
            yield each
