"""Works through a data set's items on the machines of an Apache Beam runner."""

from collections.abc import Sequence
from typing import Any

from kdjax import checks
from kdjax.data_pipeline.workers import LostError, Worker


def fill(
    function: Any, tasks: Sequence[Any], seconds: Sequence[float], options: Sequence[str]
) -> None:
    """Runs `function(task)` for every task on a Beam runner, and waits for all of them.

    What it returns is dropped: the function keeps its result where every machine sees it. A task that hangs, or whose
    process dies, is dropped as well, and is missing then.

    Args:
      function: a module-level function.
      tasks: picklable.
      seconds: that each may take.
      options: the runner's, as `--runner=DirectRunner`.

    Raises:
      checks.UserError: Apache Beam is not installed, does not know the options, or the pipeline failed.
    """
    try:
        import apache_beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise checks.UserError(
            "--beam_options needs Apache Beam, in an environment of its own, since it wants older packages than the "
            "rest: pip install 'kdjax[beam]'"
        ) from error
    try:
        chosen = PipelineOptions(list(options))
        chosen.get_all_options()
    except SystemExit as error:
        raise checks.UserError(f"--beam_options: Beam does not take {' '.join(options)}") from error
    work = [(function, task, limit) for task, limit in zip(tasks, seconds, strict=True)]
    try:
        with apache_beam.Pipeline(options=chosen) as pipeline:
            items = pipeline | "items" >> apache_beam.Create(work, reshuffle=True)
            _ = items | "work" >> apache_beam.Map(_watched)
    except (RuntimeError, ValueError) as error:
        raise checks.UserError(
            f"the Beam pipeline failed: {checks.first_line(error)}; what is done is kept"
        ) from error


_worker = Worker()
"""Of this process of Beam's; its child is the one that decodes."""


def _watched(work: tuple[Any, Any, float]) -> None:
    function, task, limit = work
    try:
        _worker.call(function, task, limit)
    except LostError as error:
        print(f"kdjax: {task.key.split(chr(0))[0]}: {error}", flush=True)
