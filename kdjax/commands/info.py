"""`kdjax info`: the installation, a configuration, a network, a run or a data set, each with what it needs alone."""

import argparse
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from kdjax import configs
from kdjax.checks import UserError, check_positive, counted
from kdjax.folder import RunFolder
from kdjax.version import __version__


def run(options: argparse.Namespace) -> None:
    """Runs the command."""
    given = [name for name in ("path", "config", "network") if getattr(options, name)]
    if len(given) > 1:
        raise UserError(f"kdjax info shows one thing at a time: {given[0]} or {given[1]}")
    if options.image_size is not None and not options.network:
        raise UserError("--image_size goes with --network")
    if options.sheet is not None and (options.path is None or RunFolder(options.path).is_run):
        raise UserError("--sheet goes with the folder of a data set")
    if options.network:
        _show_network(options.network, 224 if options.image_size is None else options.image_size)
    elif options.config:
        for key, value in configs.flatten(configs.load(options.config, options.overrides)):
            print(f"{key}={_plain(value)}")
    elif options.path is None:
        _show_installation()
    elif RunFolder(options.path).is_run:
        _show_run(options.path)
    else:
        _show_dataset(options.path, options.sheet)


def _plain(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _show_installation() -> None:
    import jax

    from kdjax import models

    print(f"kdjax {__version__}, Python {platform.python_version()}, {sys.platform}")
    for name in ("jax", "flax", "optax", "orbax-checkpoint", "grain", "tensorflow-datasets", "av"):
        print(f"  {name} {metadata.version(name)}")
    kinds = ", ".join(str(device) for device in jax.devices())
    print(f"devices: {kinds}")
    print(f"methods, each with a configuration: {', '.join(configs.NAMES)}")
    names = [name for name in models.names() if not name.startswith(models.DUAL)]
    print(f"networks: {', '.join(names)}")
    print(f"  in two branches: {', '.join(name for name in models.names() if name not in names)}")
    print("  what one costs: kdjax info --network=NAME --image_size=N")


def _show_network(name: str, image_size: int) -> None:
    from kdjax import models
    from kdjax.models.cost import cost

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
    from kdjax.commands.tables import print_results
    from kdjax.train import checkpoint

    config = checkpoint.read_config(folder)
    print(f"{folder}: {config.method.name} with {config.student.network}")
    for key, value in configs.flatten(config):
        print(f"  {key}={_plain(value)}")
    for name in RunFolder(folder).evaluations():
        print(f"on {name}:")
        print_results([folder], name)


def _show_dataset(folder: Path, sheet: Path | None) -> None:
    from kdjax.data_pipeline import manifest
    from kdjax.data_pipeline.prepared import open_dataset

    dataset = open_dataset(folder)
    print(f"{dataset.path}: {dataset.name}, {dataset.image_size} px")
    known = manifest.read(dataset.path) or {}
    for split, size in dataset.sizes.items():
        print(f"  {split}: {counted(size, 'image')}{_counted(known, split)}")
    try:
        lines = [f"{quality}: {made}" for quality, made in known.get("qualities", {}).items()]
        lines += [
            f"sources: {each['items']} {codec}, {each['lossless']} of them lossless"
            for codec, each in sorted(known.get("codecs", {}).items())
        ]
        lines += [f"note: {line}" for line in known.get("concerns", [])]
    except (KeyError, TypeError, AttributeError):
        lines = ["its manifest.json is damaged"]
    print("".join(f"  {line}\n" for line in lines), end="")
    print(f"  checksum: {manifest.checksum(dataset.path)}")
    if sheet is not None:
        from kdjax.evaluate.sheet import write_sheet

        print(f"  contact sheet: {write_sheet(dataset, known, sheet)}")


def _counted(manifest: dict[str, Any], split: str) -> str:
    """Returns videos, people, classes and forgeries of a split, as far as the manifest counts them."""
    try:
        counts = manifest["counts"][split]
        kinds = {**counts["by_class"], **counts["by_forgery"]}
        listed = ", ".join(f"{count} {name}" for name, count in kinds.items() if name != "none")
        videos = counted(counts["videos"], "video")
        return f" of {videos} and {counted(counts['identities'], 'person', 'people')}: {listed}"
    except (KeyError, TypeError, AttributeError):
        return ""
