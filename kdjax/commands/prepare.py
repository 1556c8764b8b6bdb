"""`kdjax prepare`."""

import argparse

from kdjax.checks import UserError
from kdjax.data_pipeline.prepare import prepare
from kdjax.data_pipeline.prepared import open_dataset
from kdjax.files import read_json


def run(options: argparse.Namespace) -> None:
    """Runs the command."""
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
    manifest = read_json(path / "manifest.json", "a data set")
    for line in manifest.get("concerns", []):
        print(f"note: {line}")
    skipped = manifest.get("skipped", {}).get("total", 0)
    if skipped:
        print(f"{skipped} items were left out; {path / 'manifest.json'} names them and says why")
