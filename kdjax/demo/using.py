"""What the demo does with trained networks: each step as its command does it, and not again where it is done."""

import contextlib
import shlex
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kdjax.arguments.parser import build_parser
from kdjax.checks import UserError
from kdjax.commands import predict
from kdjax.data_pipeline.corruptions import KINDS
from kdjax.demo.plan import JUDGED
from kdjax.evaluate.calibration import Calibration, read_calibration
from kdjax.evaluate.evaluation import Evaluation
from kdjax.evaluate.explain.gallery import PAGE
from kdjax.files import read_json_lines
from kdjax.folder import RunFolder
from kdjax.serve.export import export_run
from kdjax.serve.exports import is_export, read_export
from kdjax.serve.spec import spec_of_run
from kdjax.train import checkpoint
from kdjax.train.calibration import SPLIT, calibrate_run
from kdjax.train.evaluation import evaluated
from kdjax.train.explaining import explain_runs

CORRUPTED = 120
"""Test images that corruptions are tried on; each is seen in 26 versions."""

EXPLAINED = 96
"""Test images whose heat is looked at."""


def calibrate(run: Path) -> Calibration:
    """Returns a run's temperature and thresholds, `kdjax evaluate RUN --calibrate`."""
    with contextlib.suppress(UserError):
        stored = read_calibration(RunFolder(run))
        if stored is not None and stored.step == checkpoint.best_step(run):
            return stored
    return calibrate_run(run).calibration


def corrupt(run: Path) -> Evaluation:
    """Returns a run's evaluation under all corruptions, `kdjax evaluate RUN --corruptions=all --limit=...`."""
    return evaluated(run, limit=CORRUPTED, corruptions=KINDS)


def explain(runs: Sequence[Path], output: Path) -> Path:
    """Returns the page on what runs look at, `kdjax explain RUN... --limit=...`."""
    # the page is written last
    page = output / PAGE
    if not _is_newer(page, [RunFolder(run).best_values for run in runs]):
        explain_runs(runs, output, limit=EXPLAINED, qualities=("raw", JUDGED))
    return page


def _is_newer(path: Path, sources: Iterable[Path]) -> bool:
    return path.exists() and all(
        source.exists() and source.stat().st_mtime <= path.stat().st_mtime for source in sources
    )


def best_on_validation(runs: Mapping[str, Path]) -> tuple[str, float]:
    """Returns the run with the highest AUC on the validation images, which no table is made of, and that AUC."""
    found = {
        name: evaluated(run, SPLIT, qualities=(JUDGED,)).metrics[JUDGED]["auc"]
        for name, run in runs.items()
    }
    best = max(found, key=lambda name: found[name])
    return best, found[best]


def export(run: Path, output: Path) -> None:
    """Exports a run, `kdjax export RUN --output=...`, in place of an export of other weights."""
    if is_export(output):
        with contextlib.suppress(UserError):
            there, _ = read_export(output)
            if there == spec_of_run(run)._replace(metrics=there.metrics):
                return
        shutil.rmtree(output)
    export_run(run, output)


def judge(detector: Path, clips: Sequence[Path], workdir: Path) -> list[dict[str, Any]]:
    """Returns what `kdjax predict` says of each clip by an export, and leaves its records and its page behind."""
    records = workdir / "predictions.jsonl"
    words = [
        *("predict", f"--run={detector}", "--cropped", "--detail=inputs"),
        *(f"--output={records}", f"--page={workdir / 'predictions.html'}", *map(str, clips)),
    ]
    shown = [*words[: -len(clips)], str(clips[0].parent)]
    print(shlex.join(["kdjax", *shown]), flush=True)
    predict.run(build_parser().parse_args(words))
    return [each for each in read_json_lines(records) if each["record"] == "input"]
