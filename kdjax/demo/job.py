"""The demo from the data to the report."""

from pathlib import Path
from typing import Any

from kdjax import configs
from kdjax.data_pipeline.prepare import prepare
from kdjax.demo import telling, using
from kdjax.demo.clips import make_clips
from kdjax.demo.plan import IDENTITIES, IMAGE_SIZE, JUDGED, demo_overrides, runs_of, students
from kdjax.evaluate.evaluation import Evaluation
from kdjax.evaluate.tables import format_table, result_rows
from kdjax.train.calibration import SPLIT
from kdjax.train.evaluation import evaluated
from kdjax.train.loop import train
from kdjax.train.reporting import report

LOOKED_AT = ("alone", "kd", "add")
"""Whose heat and whose AUC under corruptions is measured: students of one budget."""


def run_demo(workdir: Path, *, seed: int = 0, full: bool = False) -> dict[str, Evaluation]:
    """Prepares `synthfaces`, trains teachers on raw and a student by each method, evaluates, exports, reports.

    A second call reuses what is done; an interrupted one goes on.

    Args:
      workdir: where data, runs, the export, judged clips and the report go.
      seed: seed of the data and of every network.
      full: more steps, the same for all, on four times the identities; CKD on few samples too.

    Returns:
      Each run's evaluation on the test identities.
    """
    identities = IDENTITIES["full" if full else "quick"]
    _say(f"1/5 synthfaces: {identities} identities, five forgeries, three qualities")
    data = _prepared(workdir / "data", identities, seed)
    runs = runs_of(full=full)
    folders = {name: workdir / name for name in runs}
    results: dict[str, Evaluation] = {}
    for number, (name, run) in enumerate(runs.items(), start=1):
        _say(f"2/5 {name} ({run.method}), network {number} of {len(runs)}")
        overrides = demo_overrides(data, workdir, run, seed=seed, full=full)
        train(configs.load(f"{run.method}:{run.network}", overrides), folders[name])
        results[name] = evaluated(folders[name])
    names = ", ".join(LOOKED_AT)
    _say(f"3/5 temperatures and thresholds by {SPLIT} images; corruptions and heat maps of {names}")
    for folder in folders.values():
        using.calibrate(folder)
    looked_at = {name: folders[name] for name in LOOKED_AT}
    corrupted = {name: using.corrupt(folder) for name, folder in looked_at.items()}
    heat = using.explain(list(looked_at.values()), workdir / "explain")
    best, auc = using.best_on_validation({name: folders[name] for name in students(runs)})
    _say(f"4/5 export of {best}, the best student on {SPLIT} images (AUC {auc:.3f} on {JUDGED})")
    detector = workdir / "detector"
    using.export(folders[best], detector)
    clips = make_clips(workdir / "clips", seed=seed, identities=identities)
    judged = using.judge(detector, list(clips), workdir)
    page = report(list(folders.values()), workdir / "report.html")
    print("5/5 on the test identities, which no network has seen:\n")
    print(format_table(result_rows(list(folders.values()))))
    print(f"\n{telling.beside_alone(results, full=full)}")
    print(
        f"\nAUC of {using.CORRUPTED} raw test images, as they are and corrupted (mean over five severities):"
    )
    print(format_table(telling.corruption_rows(corrupted)))
    truth = list(clips.values())
    print(f"\nclips of other people, compressed as {JUDGED}, judged by the export of {best}:")
    print(format_table(telling.verdict_rows(judged, truth)))
    print(telling.verdict_counts(judged, truth))
    print(f"\nheat maps: {heat}\npredictions: {workdir / 'predictions.html'}")
    print(f"detector: {detector}\nreport: {page}")
    return results


def _prepared(folder: Path, identities: int, seed: int) -> Path:
    options: dict[str, Any] = {
        "identities": identities,
        "image_size": IMAGE_SIZE,
        # small images: decoding them would cost a step a twentieth, and pixels cost the disk half as much again
        "encoding": "raw",
    }
    return prepare("synthfaces", folder, seed=seed, **options)


def _say(line: str) -> None:
    print(line, flush=True)
