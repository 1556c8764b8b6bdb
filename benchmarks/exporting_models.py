"""A network as drawn in the forms that exporting.py times: StableHLO, ONNX, ONNX in 8 bits, PyTorch."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from harness import usable_cores

from kdjax import models
from kdjax.methods import Network
from kdjax.serve.exports import from_onnx, from_stablehlo
from kdjax.serve.models import reference
from kdjax.serve.onnx_export import to_onnx
from kdjax.serve.quantise import to_int8
from kdjax.serve.stablehlo import score_function, to_stablehlo
from kdjax.serve.weights import namesake, to_safetensors, torch_tensors
from kdjax.types import PyTree

Score = Callable[[np.ndarray], np.ndarray]


class Model(NamedTuple):
    """One form.

    Attributes:
      score: from uint8 `[B, S, S, 3]` to log-odds `[B]`.
      size: of its file in bytes.
    """

    score: Score
    size: int


def images_of(folder: Path | None, count: int, size: int) -> np.ndarray:
    """Returns images of a folder, spread over its files and resized; noise without one. uint8 `[N, S, S, 3]`."""
    if folder is None:
        shape = (count, size, size, 3)
        return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if not files:
        raise ValueError(f"{folder} holds no .jpg or .png")
    chosen = [files[place] for place in np.linspace(0, len(files) - 1, count).astype(int)]
    read = (cv2.imread(str(path), cv2.IMREAD_COLOR) for path in chosen)
    return np.stack(
        [cv2.resize(each, (size, size), interpolation=cv2.INTER_AREA)[..., ::-1] for each in read]
    )


def make_forms(
    name: str, size: int, images: np.ndarray
) -> tuple[dict[str, Model], np.ndarray, dict[str, str]]:
    """Returns a network's forms, its own log-odds of the images, and what PyTorch's is, by `torch side`."""
    module = models.create(name)
    variables = jax.jit(module.init)(jax.random.key(0), jnp.zeros((1, size, size, 3)))
    network = Network(module, *models.normalization(name))
    score = score_function(network, variables)
    stablehlo, onnx = to_stablehlo(score, size), to_onnx(score, size, {})
    int8 = to_int8(onnx, iter(np.array_split(images[:128], 4)))
    forms = {
        "stablehlo": Model(from_stablehlo(stablehlo), len(stablehlo)),
        "onnx": Model(from_onnx(onnx), len(onnx)),
        "int8": Model(from_onnx(int8), len(int8)),
    }
    told = {"torch side": "PyTorch is not installed"}
    if importlib.util.find_spec("torch"):
        forms["torch"], told["torch side"] = torch_model(name, variables, network)
    return forms, reference(network, variables, size)(images), told


def torch_model(name: str, variables: PyTree, network: Network) -> tuple[Model, str]:
    """Returns the network in PyTorch with the same weights: torchvision's where there is one, else our own.

    Raises:
      ValueError: there is neither.
    """
    import torch
    from safetensors.torch import load

    torch.set_num_threads(usable_cores())
    same = namesake(name, "", 1.0)
    if same is not None and importlib.util.find_spec(same.library):
        library: Any = importlib.import_module(same.library)
        theirs: torch.nn.Module = eval(same.create, {same.library: library})
        content = to_safetensors(torch_tensors(name, same.library, variables), {})
        theirs.load_state_dict(load(content))
        size, what = len(content), f"{same.library} {library.__version__}"
    else:
        from torch_agreement import load_params
        from torch_staged import CUTS, staged

        if name not in CUTS:
            raise ValueError(f"{name} is in PyTorch neither by torchvision, timm nor by us")
        theirs = staged(name)
        # statistics as drawn are PyTorch's own
        load_params(theirs, variables["params"])
        size = sum(4 * each.numel() for each in theirs.state_dict().values())
        what = "our own"
    theirs = theirs.eval().to(memory_format=torch.channels_last)
    mean, std = (torch.tensor(values)[:, None, None] for values in (network.mean, network.std))

    def score(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            seen = torch.from_numpy(images).permute(0, 3, 1, 2)
            found = theirs((seen.float() / 255 - mean) / std)
            logits = found[0] if isinstance(found, tuple) else found
            return (logits[:, 1] - logits[:, 0]).numpy()

    return Model(score, size), f"{what}, PyTorch {torch.__version__}, eager"
