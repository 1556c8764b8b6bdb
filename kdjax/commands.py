"""What each command calls; imported only once the flags are known to be right."""

import argparse
import os
import platform
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

import configs
from data_pipeline import manifest
from data_pipeline.loader import open_dataset
from data_pipeline.prepare import prepare
from kdjax import demo, methods, models
from kdjax.checks import UserError, check_positive
from kdjax.evaluate.evaluation import OVERALL
from kdjax.evaluate.grouped import Summary, line_row
from kdjax.evaluate.membership import groups_of, read_membership
from kdjax.evaluate.runs import read_runs
from kdjax.evaluate.tables import format_table, result_rows
from kdjax.files import read_json
from kdjax.models.cost import cost
from kdjax.train import checkpoint
from kdjax.train.evaluation import evaluate_run, evaluation_name
from kdjax.train.loop import train
from kdjax.train.reporting import report
from kdjax.train.sweep import read_sweep, sweep
from kdjax.version import __version__


def run(options: argparse.Namespace) -> None:
    """Runs the command that was parsed."""
    table: dict[str, Callable[[argparse.Namespace], None]] = {
        "demo": _demo,
        "prepare": _prepare,
        "train": _train,
        "evaluate": _evaluate,
        "report": _report,
        "sweep": _sweep,
        "info": _info,
    }
    table[options.command](options)


def _demo(options: argparse.Namespace) -> None:
    demo.run_demo(options.workdir, seed=options.seed, full=options.full)


def _prepare(options: argparse.Namespace) -> None:
    if options.dataset == "folder" and options.source is None:
        raise UserError("--source is missing: the folder with real/ and fake/ images and videos")
    path = prepare(
        options.dataset,
        options.output,
        source=options.source,
        forge=options.forge,
        frames_per_video=options.frames,
        detector=options.detector,
        face_side=options.face_side,
        forge_sharpness=options.forge_sharpness,
        forge_grid=options.forge_grid,
        takes=options.takes,
        test_share=options.test_share,
        identities=options.identities,
        image_size=options.image_size,
        seed=options.seed,
        workers=options.workers,
        overwrite=options.overwrite,
    )
    dataset = open_dataset(path)
    sizes = ", ".join(f"{split} {size}" for split, size in dataset.sizes.items())
    print(f"{path}: {sizes} images; train with --config.data.path={path}")
    skipped = read_json(path / "manifest.json", "a data set").get("skipped", {}).get("total", 0)
    if skipped:
        print(f"{skipped} items were left out; {path / 'manifest.json'} names them and says why")


def _train(options: argparse.Namespace) -> None:
    config = configs.load(options.config, options.overrides)
    result = train(config, options.workdir)
    print(
        f"{options.workdir}: step {result['step']}, best validation "
        f"{config.train.selection} {result['best_metric']:.4f} at step {result['best_step']}; "
        f"next: kdjax evaluate {options.workdir}"
    )


def _evaluate(options: argparse.Namespace) -> None:
    data = options.data or ""
    for folder in options.runs:
        evaluate_run(folder, split=options.split, data=data, limit=options.limit)
    print_results(options.runs, evaluation_name(options.split, data, options.limit))


def print_results(runs: Sequence[Path], split: str = "test") -> None:
    """Prints the table of some runs' metrics."""
    print(format_table(result_rows(runs, split=split, metrics=("accuracy", "auc", "eer"))))


def print_summary(sweep_folder: Path, runs: Sequence[Path]) -> None:
    """Prints a sweep's rows over their seeds, in the quality that the runs were trained on."""
    membership = read_membership(sweep_folder)
    trained = {tuple(checkpoint.read_config(run).student.qualities) for run in runs}
    (qualities,) = trained if len(trained) == 1 else (("several", "sets"),)
    quality = qualities[0] if len(qualities) == 1 else OVERALL
    groups = groups_of(read_runs(runs), membership)
    lines = Summary().lines(groups, membership.baseline, quality)
    compared = f", compared with {membership.baseline}" if membership.baseline else ""
    print(f"AUC on test, {quality}{compared}:")
    print(format_table([line_row(line) for line in lines]))


def _report(options: argparse.Namespace) -> None:
    folders = [run.absolute() for run in options.runs]
    output = options.output or Path(os.path.relpath(os.path.commonpath(folders))) / "report.html"
    print(report(options.runs, output, split=options.split))


def _sweep(options: argparse.Namespace) -> None:
    rows, settings = read_sweep(options.sweep)
    common = {**settings, **options.overrides}
    results = sweep(
        rows,
        options.config,
        common,
        options.workdir,
        seeds=options.seeds,
        baseline=options.baseline,
    )
    if done := [run for run, evaluation in results if evaluation is not None]:
        if options.seeds > 1 or options.baseline:
            print_summary(options.workdir, done)
        else:
            print_results(done)
    print(options.workdir / "results.csv")
    failed = [run.name for run, evaluation in results if evaluation is None]
    if failed:
        raise UserError(
            f"{len(failed)} of {len(results)} runs failed, see {options.workdir}/results.csv: {failed[0]}"
        )


def _info(options: argparse.Namespace) -> None:
    given = [name for name in ("path", "config", "network") if getattr(options, name)]
    if len(given) > 1:
        raise UserError(f"kdjax info shows one thing at a time: {given[0]} or {given[1]}")
    if options.image_size is not None and not options.network:
        raise UserError("--image_size goes with --network")
    if options.network:
        _show_network(options.network, 224 if options.image_size is None else options.image_size)
    elif options.config:
        for key, value in configs.flatten(configs.load(options.config, options.overrides)):
            print(f"{key}={_plain(value)}")
    elif options.path is None:
        _show_installation()
    elif (options.path / "config.json").exists():
        _show_run(options.path)
    else:
        _show_dataset(options.path)


def _plain(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _show_installation() -> None:
    print(f"kdjax {__version__}, Python {platform.python_version()}, {sys.platform}")
    for name in ("jax", "flax", "optax", "orbax-checkpoint", "grain", "tensorflow-datasets", "av"):
        print(f"  {name} {metadata.version(name)}")
    kinds = ", ".join(str(device) for device in jax.devices())
    print(f"devices: {kinds}")
    print(f"configurations: {', '.join(configs.NAMES)}")
    print(f"methods: {', '.join(methods.names())}")
    names = [name for name in models.names() if not name.startswith(models.DUAL)]
    print(f"networks: {', '.join(names)}")
    print(f"  in two branches: {', '.join(name for name in models.names() if name not in names)}")
    print("  what one costs: kdjax info --network=NAME --image_size=N")


def _show_network(name: str, image_size: int) -> None:
    try:
        check_positive("--image_size", image_size)
        found = cost(models.create(name), image_size)
    except ValueError as error:
        raise UserError(str(error)) from error
    print(f"{name}, two classes, {image_size} x {image_size} px:")
    print(f"  parameters {found.parameters:,}")
    print(f"  GMACs {found.multiply_adds / 1e9:.3g}")
    print(f"  layouts {', '.join(models.layouts(name))}")
    for feature, array in found.outputs.features.items():
        print(f"  {feature:9s} {' x '.join(map(str, array.shape[1:]))}")


def _show_run(folder: Path) -> None:
    config = checkpoint.read_config(folder)
    print(f"{folder}: {config.method.name} with {config.student.network}")
    for key, value in configs.flatten(config):
        print(f"  {key}={_plain(value)}")
    for path in sorted((folder / "evaluation").glob("*.json")):
        print(f"on {path.stem}:")
        print_results([folder], path.stem)


def _show_dataset(folder: Path) -> None:
    dataset = open_dataset(folder)
    print(f"{dataset.path}: {dataset.name}, {dataset.image_size} px")
    for split, size in dataset.sizes.items():
        print(f"  {split}: {size} images")
    print(f"  checksum: {manifest.checksum(dataset.path)}")
