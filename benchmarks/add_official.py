"""The multi-view loss beside the one that ADD's authors published, in one process on the CPU.

python benchmarks/add_official.py --official-code FOLDER

FOLDER is your own checkout of that code (its root, or any folder of it that holds
`distiller_zoo/MV.py`); nothing of it is part of this project. Needs PyTorch in the environment.
"""

import argparse
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

os.environ["JAX_PLATFORMS"] = "cpu"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import numpy as np
import torch
from costs import Maps, multi_view_work, training_maps
from harness import RESULTS, Results, Work, alternate, ratio, significant, summary, usable_cores
from workloads import Setting, Training

from kdjax.methods import defaults


def main() -> int:
    """Times both losses with gradients in turn on the same feature maps; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--official-code", type=Path, required=True, help="a checkout of the code")
    parser.add_argument("--repeats", type=int, default=15, help="timed rounds (default 15)")
    parser.add_argument("--batch", type=int, default=16, help="images (default 16)")
    parser.add_argument("--output", type=Path, default=RESULTS / "cpu-add-official.json")
    arguments = parser.parse_args()
    torch.set_num_threads(usable_cores())
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 (the published loss draws from NumPy's global state)
    setting = Setting("resnet50", batch=arguments.batch)
    training = Training("add", setting)
    maps = training_maps(training)
    works = {
        "kdjax": multi_view_work(maps),
        "kdjax, both directions": multi_view_work(maps, both_directions=True),
        "official": official_work(arguments.official_code, maps),
    }
    seconds = alternate(works, arguments.repeats, warm_up=2)
    results = Results(arguments.output, "multi-view loss with gradients: kdjax and published code")
    results.add(
        f"multi-view loss {setting.network} {setting.dtype}",
        **{
            "setting": setting._asdict(),
            "torch threads": torch.get_num_threads(),
            **{
                f"{name} / official": ratio(values, seconds["official"])
                for name, values in seconds.items()
                if name != "official"
            },
            "official seconds": significant(summary(seconds["official"])["median"]),
        },
    )
    print(f"written: {arguments.output}")
    return 0


def official_work(folder: Path, maps: Maps) -> Work:
    """Returns one forward and backward pass of the published loss with ADD's options."""
    options = defaults("add")
    loss = _official_class(folder)(
        p=2,
        n_theta=options["views"],
        gamma=options["view_gamma"],
        eta=options["view_eta"],
        reduction="sum",
    )
    student = [_nchw(x).requires_grad_() for x in maps.student]
    teacher = [_nchw(x) for x in maps.teacher]
    labels = torch.from_numpy(np.array(maps.labels)).long()

    def work() -> None:
        for x in student:
            x.grad = None
        sum(loss(student, teacher, labels, options["view_layers"])).backward()

    return work


def _nchw(x: jax.Array) -> torch.Tensor:
    return torch.from_numpy(np.array(x, np.float32)).permute(0, 3, 1, 2).contiguous()


def _official_class(folder: Path) -> Any:
    found = sorted(folder.rglob("distiller_zoo/MV.py"))
    if not found:
        sys.exit(f"error: {folder} holds no distiller_zoo/MV.py; give a checkout of ADD's code")
    spec = importlib.util.spec_from_file_location("official_multi_view", found[0])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Multiview


if __name__ == "__main__":
    sys.exit(main())
