"""Trains the rows of a table and the teachers they need, seed after seed, and writes each result at once."""

import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import evidence_store as store
import jax
from evidence_logs import extremes, gradients, logged, speed, spikes
from evidence_plan import Job, missing, student_config, teacher_config
from evidence_scale import louder_teachers
from evidence_types import Table
from harness import machine

from kdjax import configs
from kdjax.checks import UserError
from kdjax.data_pipeline.manifest import checksum, fingerprint
from kdjax.data_pipeline.prepared import open_dataset
from kdjax.evaluate.evaluation import Evaluation
from kdjax.folder import RunFolder
from kdjax.train.evaluation import evaluate_run
from kdjax.train.initial import check_plan
from kdjax.train.loop import train

BUSY = "another process"


def run_table(
    name: str,
    table: Table,
    data: Path,
    workdir: Path,
    jobs: list[Job],
    results: Path = store.RESULTS,
    frozen: Path = store.FROZEN,
) -> None:
    """Trains what is missing of a table.

    Raises:
      UserError: for data other than the frozen ones.
    """
    dataset = describe(table.dataset, data, frozen)
    with store.updating(name, results) as content:
        store.set_data(content, table, dataset)
    for job in jobs:
        # another process, or another machine, may have done it meanwhile
        if not missing(store.read(name, results), [job]):
            continue
        print(f"{name}: {job.row.name}, seed {job.seed}", flush=True)
        found = store.share_run(name, job.row, job.wanted, job.seed, table.quality, results)
        if found:
            print(f"  is in {found}, with the same settings", flush=True)
            continue
        try:
            run_job(name, table, job, data, workdir, dataset, results)
        except UserError as error:
            print(f"{name}: {job.row.name}, seed {job.seed}: {error}", file=sys.stderr, flush=True)
        # compiled programs of hundreds of runs do not fit into memory
        jax.clear_caches()


def describe(dataset: str, data: Path, frozen: Path = store.FROZEN) -> dict[str, Any]:
    """Returns what tells a data set from others; UserError when it is not the frozen one."""
    opened = open_dataset(data)
    found = checksum(opened.path)
    facts = opened.identity()
    return {
        "name": dataset,
        "checksum": store.check_frozen(dataset, found, frozen),
        "drawn": found,
        **{key: facts[key] for key in ("sizes", "image_size")},
    }


def run_job(
    name: str,
    table: Table,
    job: Job,
    data: Path,
    workdir: Path,
    dataset: Mapping[str, Any],
    results: Path,
) -> None:
    """Trains one run, and before it the teachers that it needs; writes the result."""
    mark = dataset["drawn"][:8]
    names = (job.row.teacher, *job.row.more_teachers) if job.row.teacher else ()
    taught = [trained_teacher(table, name, job.seed, data, workdir, mark) for name in names]
    teachers = tuple(folder for folder, _ in taught)
    config = student_config(table, job.row, job.seed, data=data, teachers=teachers)
    decisive = store.settings_of(dict(configs.flatten(config)))
    folder = workdir / name / f"{job.row.name}-{job.seed}-{_short([decisive, job.wanted, mark])}"
    folder = folder.with_name(folder.name.replace(" ", "_").replace(",", ""))
    files = RunFolder(folder)
    if not files.is_run:
        check_plan(config)
    start = time.monotonic()
    problem, result = "", {}
    try:
        with louder_teachers(job.row.teacher_scale):
            result = train(config, folder)
        evaluation = evaluate_run(folder)
    except UserError as error:
        if BUSY in str(error) or not files.is_run:
            raise
        problem = str(error).replace(str(folder), "the run")
    run: dict[str, Any] = {"machine": machine(), "seconds": round(time.monotonic() - start, 1)}
    if dataset["drawn"] != dataset["checksum"]:
        run["drawn"] = dataset["drawn"]
    run |= {"images_per_second": speed(folder), "gradients": gradients(folder)}
    run |= {"logged": logged(folder), "extremes": extremes(folder), "spikes": spikes(folder)}
    run |= teachers_of(folder, names, [facts for _, facts in taught])
    with store.updating(name, results) as content:
        if problem:
            run["problem"] = problem
        else:
            store.set_images(content, evaluation)
            run |= outcome(result, evaluation, store.judged_qualities(table.quality))
        store.add_run(content, job.row, job.wanted, job.seed, run)
    for part in (files.checkpoints, files.best, files.tensorboard):
        shutil.rmtree(part, ignore_errors=True)


def trained_teacher(
    table: Table, name: str, seed: int, data: Path, workdir: Path, mark: str
) -> tuple[Path, dict[str, Any]]:
    """Returns the folder of a student's teacher, trained if it is not yet, and its test AUC by quality.

    Tables share their teachers; who comes while another process trains one waits for it.
    """
    config = teacher_config(table, name, seed, data)
    decisive = [store.settings_of(dict(configs.flatten(config))), mark]
    network = table.teachers[name].network
    folder = workdir / "teachers" / f"{network}-{config.seed.student}-{_short(decisive)}"
    files = RunFolder(folder)
    while not files.is_finished:
        try:
            train(config, folder)
        except UserError as error:
            if BUSY not in str(error):
                raise
            time.sleep(10)
    try:
        evaluation = Evaluation.load(files.evaluation, "test")
    except UserError:
        evaluation = evaluate_run(folder)
    found = {"network": network, "seed": config.seed.student, "auc": auc_by_quality(evaluation)}
    return folder, found


def teachers_of(
    folder: Path, names: tuple[str, ...], facts: list[dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Returns what is kept of a run's teachers, by `teacher`, `and NAME`, with the hash of their weights."""
    if not names:
        return {}
    keys = ("teacher", *map("and {}".format, names[1:]))
    hashes = RunFolder(folder).read_inputs()["teachers"]
    return {
        key: {**known, "weights": digest[:16]}
        for key, known, digest in zip(keys, facts, hashes, strict=True)
    }


def _short(value: Any) -> str:
    return fingerprint(value)[:8]


def outcome(
    result: Mapping[str, Any], evaluation: Evaluation, qualities: tuple[str, ...]
) -> dict[str, Any]:
    """Returns what a finished run found: where it stood best, its test metrics and packed scores."""
    return {
        "steps": result["step"],
        "best_step": result["best_step"],
        "validation": round(result["best_metric"], 5),
        "parameters": evaluation.parameters,
        "metrics": {
            quality: {metric: _rounded(value) for metric, value in metrics.items()}
            for quality, metrics in evaluation.metrics.items()
        },
        "scores": {quality: store.pack(evaluation.scores[quality]) for quality in qualities},
    }


def auc_by_quality(evaluation: Evaluation) -> dict[str, float | None]:
    """Returns the test AUC of each quality."""
    return {quality: _rounded(found["auc"]) for quality, found in evaluation.metrics.items()}


def _rounded(value: float) -> float | None:
    return round(value, 5) if value == value else None
