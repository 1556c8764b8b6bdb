"""`kdjax prepare`."""

import argparse

from kdjax.arguments.data import prepare_options
from kdjax.data_pipeline.prepare import prepare
from kdjax.data_pipeline.prepared import open_dataset
from kdjax.files import read_json


def run(options: argparse.Namespace) -> None:
    """Runs the command."""
    path = prepare(
        options.dataset,
        options.output,
        source=options.source,
        workers=options.workers,
        overwrite=options.overwrite,
        max_skipped=options.max_skipped,
        beam_options=options.beam_options,
        **prepare_options(options),
    )
    dataset = open_dataset(path)
    sizes = ", ".join(f"{split} {size}" for split, size in dataset.sizes.items())
    print(f"{path}: {sizes} images; train with --config.data.path={path}")
    manifest = read_json(path / "manifest.json", "a data set")
    for line in manifest.get("concerns", []):
        print(f"note: {line}")
    skipped = manifest.get("skipped", {}).get("total", 0)
    if skipped:
        print(f"{skipped} items were left out; {path / 'manifest.json'} names them and says why")
