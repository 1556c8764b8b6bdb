"""Whether the PyTorch steps compute what kdjax's do: networks with the same weights, losses of the same arrays.

Each check returns the largest difference relative to the largest value. What is drawn is drawn once, for both sides.
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import combinations
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch_losses
from flax.traverse_util import flatten_dict
from torch import nn
from torch_staged import DualBranch, Staged, staged

from kdjax import losses, models, transforms
from kdjax.defaults import defaults
from kdjax.losses import view_contrast
from kdjax.transforms.gradients import alignment, gradient_target
from kdjax.types import STAGES

BATCH, SIZE, WIDTH = 8, 6, 16
LABELS = np.arange(BATCH, dtype=np.int32) % 2
DRAWS = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    """Returns normal float32 numbers."""
    return DRAWS.normal(size=shape).astype(np.float32)


def there(array: Any) -> torch.Tensor:
    """Returns an array as PyTorch's; maps `[B, H, W, C]` as `[B, C, H, W]`."""
    tensor = torch.from_numpy(np.array(array))
    return tensor.permute(0, 3, 1, 2) if tensor.ndim == 4 else tensor


def difference(found: Any, wanted: Any) -> float:
    """Returns the largest difference of two arrays over the second's largest entry."""
    if isinstance(found, torch.Tensor):
        found = found.detach()
        found = (found.permute(0, 2, 3, 1) if found.ndim == 4 else found).numpy()
    found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    return float(np.abs(found - wanted).max() / max(np.abs(wanted).max(), 1e-12))


def supervised() -> float:
    """Returns the difference of the cross-entropies."""
    logits = normal(BATCH, 2)
    wanted = jnp.mean(losses.cross_entropy(jnp.asarray(logits), jnp.asarray(LABELS)))
    return difference(nn.functional.cross_entropy(there(logits), there(LABELS).long()), wanted)


def kd() -> float:
    """Returns the difference of the tempered divergences."""
    own, other, temperature = normal(BATCH, 2), normal(BATCH, 2), defaults("kd")["temperature"]
    wanted = jnp.mean(losses.kd(jnp.asarray(own), jnp.asarray(other), temperature=temperature))
    return difference(torch_losses.kd(there(own), there(other), temperature=temperature), wanted)


def ckd() -> float:
    """Returns the difference of contrast and normaliser, with a bank that is half empty."""
    options, size, bank = defaults("ckd"), 64, 24
    count, temperature = options["negatives"], options["temperature"]
    units = [np.asarray(losses.unit_vectors(jnp.asarray(normal(n, WIDTH)))) for n in (BATCH, BATCH)]
    kept = np.asarray(losses.unit_vectors(jnp.asarray(normal(bank, WIDTH))))
    bank_labels = np.where(np.arange(bank) < bank // 2, np.arange(bank) % 2, -1)
    embedded = np.concatenate([units[1], kept])
    index, valid = torch_losses.draw_negatives(
        there(LABELS).long(), there(bank_labels).long(), min(count, BATCH + bank)
    )
    chosen = np.concatenate([LABELS, bank_labels])[index.numpy()]
    present = np.arange(index.shape[1]) < BATCH // 2 + bank // 4
    # as many as there are of the other class, those of the batch first, none twice
    if not (
        (valid.numpy() == present[None]).all()
        and (chosen[:, present] == 1 - LABELS[:, None]).all()
        and (index[:, : BATCH // 2] < BATCH).all()
        and all(len(set(row[present])) == present.sum() for row in index.numpy())
    ):
        return np.inf
    numbers: dict[str, Any] = {"temperature": temperature, "dataset_size": size}
    arrays = (*map(jnp.asarray, units), jnp.asarray(embedded[index.numpy()]))
    mask = jnp.asarray(valid.numpy())
    z = losses.contrastive_normalizer(*arrays, **numbers, mask=mask)
    wanted = losses.ckd(*arrays, dataset_size=size, normalizer=z, negatives_mask=mask)
    value, found_z = torch_losses.contrastive(
        *(there(units[0]), there(embedded), index, valid, torch.zeros(())), **numbers
    )
    return max(difference(options["contrast_weight"] * value, wanted), difference(found_z, z))


def add() -> float:
    """Returns the difference of both losses, of the three stages that weigh."""
    options = defaults("add")
    maps = [{stage: normal(BATCH, SIZE, SIZE, WIDTH) for stage in STAGES} for _ in range(2)]
    rng = jax.random.key(0)
    wanted = losses.add_terms(
        *({stage: jnp.asarray(x) for stage, x in side.items()} for side in maps),
        jnp.asarray(LABELS),
        rng,
    )
    frequency, view = torch.zeros(()), torch.zeros(())
    for number, stage in enumerate(STAGES):
        own, other = (there(side[stage]) for side in maps)
        distance = torch_losses.frequency_attention(own, other, gamma=options["frequency_gamma"])
        frequency = frequency + options["frequency_layers"][number] * distance.mean()
        keys = jax.random.split(jax.random.fold_in(rng, number))
        partners = view_contrast.draw_partners(
            jnp.asarray(LABELS),
            jax.random.fold_in(keys[1], 0),
            views=options["views"],
            valid=jnp.ones(BATCH, bool),
        )
        bins = WIDTH // 2
        directions = there(losses.directions(keys[0], options["views"]))
        index = torch_losses.view_index(directions, WIDTH, SIZE, SIZE, bins)
        value = torch_losses.multi_view(
            *(torch_losses.view_density(x, index, bins) for x in (own, other)),
            *(there(each[:, 0]).long() for each in (partners.same, partners.other)),
            gamma=options["view_gamma"],
            eta=options["view_eta"],
            margin=options["margin"],
        )
        view = view + options["view_layers"][number] * value
    return max(
        difference(frequency, wanted.frequency_attention), difference(view, wanted.multi_view)
    )


def tokd() -> float:
    """Returns the difference of distance, rotation and the gradients that turn the rotations."""
    own, other = normal(BATCH, SIZE, SIZE, WIDTH), normal(BATCH, SIZE, SIZE, WIDTH)
    distance = losses.normalized_distance(jnp.asarray(own), jnp.asarray(other))
    frees = [0.3 * normal(WIDTH, WIDTH) for _ in range(2)]
    built = [jax.vjp(transforms.rotation_matrix, jnp.asarray(free)) for free in frees]
    matrices = [matrix for matrix, _ in built]
    gradients = [jnp.asarray(x) for x in (own, other)]
    pairs = list(zip(gradients, matrices, strict=True))
    target = gradient_target([transforms.rotate(g, r.T) for g, r in pairs])
    wanted = [
        back(jax.grad(alignment)(matrix, gradient, target))[0]
        for (matrix, back), gradient in zip(built, gradients, strict=True)
    ]
    theirs = [there(free).requires_grad_() for free in frees]
    rotations = [torch_losses.rotation_matrix(free) for free in theirs]
    found = torch_losses.rotations_objective(rotations, [there(own), there(other)])
    found.backward()
    return max(
        difference(torch_losses.normalized_distance(there(own), there(other)), distance),
        *(difference(r, m) for r, m in zip(rotations, matrices, strict=True)),
        *(difference(free.grad, w) for free, w in zip(theirs, wanted, strict=True)),
    )


def qad() -> float:
    """Returns the difference of the normalised HSIC of three qualities, its gradient, and the move of weights."""
    points = [normal(BATCH, WIDTH) for _ in range(3)]

    def objective(values: Iterable[jax.Array]) -> jax.Array:
        options: dict[str, Any] = {"bandwidth": "mean", "normalized": True}
        return -sum(losses.hsic(a, b, **options) for a, b in combinations(values, 2))

    wanted, slopes = jax.value_and_grad(objective)([jnp.asarray(x) for x in points])
    theirs = [there(x).requires_grad_() for x in points]
    found = torch_losses.collaboration(theirs)
    found.backward()
    weights, gradients = normal(5, 4), normal(5, 4)
    gamma = defaults("qad")["gamma"]
    moved = transforms.adversarial_weight_perturbation(
        jnp.asarray(weights), jnp.asarray(gradients), gamma=gamma
    )
    (move,) = torch_losses.perturbation([there(weights)], [there(gradients)], gamma=gamma)
    return max(
        difference(found, wanted),
        *(difference(x.grad, slope) for x, slope in zip(theirs, slopes, strict=True)),
        difference(move, np.asarray(moved) - weights),
    )


LOSSES: Mapping[str, Callable[[], float]] = {
    "supervised": supervised,
    "kd": kd,
    "ckd": ckd,
    "add": add,
    "tokd": tokd,
    "qad": qad,
}
"""The checks by method."""

ORDER = (
    *(f"{part}{number}" for number in (1, 2, 3) for part in ("conv", "norm")),
    *("shortcut_conv", "shortcut_norm", "expand_conv", "expand_norm"),
    *("depthwise_conv", "depthwise_norm", "squeeze", "project_conv", "project_norm"),
)
"""Layers of a block as they follow each other."""

TOP = ("stem_conv", "stem_norm", "stage", "head_conv", "head_norm", "classifier")


def network(name: str, *, dual: bool = False) -> float:
    """Returns the difference of logits and maps of a network with kdjax's weights, 64 px, as it is in inference."""
    images = normal(2, 64, 64, 3)
    module = models.create((models.DUAL if dual else "") + name)
    variables = jax.jit(module.init)(jax.random.key(0), jnp.asarray(images))
    wanted = jax.jit(module.apply)(variables, jnp.asarray(images))
    parameters = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    theirs = (DualBranch(name, 64) if dual else staged(name)).eval()
    if parameters != sum(x.numel() for x in theirs.parameters()):
        return np.inf
    params = variables["params"]
    if dual:
        for branch, key in ((theirs.rgb, "rgb_branch"), (theirs.frequency, "frequency_branch")):
            load_params(branch, params[key])
        for fusion, stage in zip(theirs.fusions, (2, 3, 4), strict=True):
            _fill([fusion.mix.conv, fusion.mix.norm, fusion.attention], _fusion(params, stage))
        _fill([theirs.classifier], [params["classifier"]])
    else:
        load_params(theirs, params)
    names = ("rgb", "frequency", "pooled") if dual else (*STAGES, "pooled")
    with torch.no_grad():
        logits, features = theirs(there(images), names)
    return max(
        difference(logits, wanted.logits),
        *(difference(features[key], wanted.features[key]) for key in names),
    )


def _fusion(params: Mapping[str, Any], stage: int) -> list[Mapping[str, Any]]:
    return [params[f"fusion{stage}"][key] for key in ("mix_conv", "mix_norm", "attention_conv")]


def load_params(network: Staged, params: Mapping[str, Any]) -> None:
    """Gives a network kdjax's parameters, layer by layer in the order in which they follow each other."""
    flat = flatten_dict(params)
    layers = sorted({path[:-1] for path in flat}, key=_place)
    kinds = (nn.Conv2d, nn.BatchNorm2d, nn.Linear)
    modules = [module for module in network.modules() if isinstance(module, kinds)]
    found = [{path[-1]: x for path, x in flat.items() if path[:-1] == layer} for layer in layers]
    _fill(modules, found)


def _place(layer: tuple[str, ...]) -> tuple[int, ...]:
    """Returns what a layer's place in the network is sorted by."""
    block = layer[0].startswith("stage")
    top = TOP.index("stage" if block else layer[0])
    if not block:
        return (top,)
    stage, number = layer[0].removeprefix("stage").split("_block")
    return top, int(stage), int(number), ORDER.index(layer[1]), int(layer[-1] == "expand")


def _fill(modules: Iterable[nn.Module], values: Iterable[Mapping[str, Any]]) -> None:
    """Copies kernels (H, W, in, out), scales and biases into modules."""
    for module, found in zip(modules, values, strict=True):
        weight = np.asarray(found["scale" if isinstance(module, nn.BatchNorm2d) else "kernel"])
        if weight.ndim == 3:
            weight = weight.transpose(2, 0, 1)[:, None]
        elif weight.ndim == 4:
            weight = weight.transpose(3, 2, 0, 1)
        elif weight.ndim == 2:
            weight = weight.T
        with torch.no_grad():
            module.weight.copy_(torch.from_numpy(np.array(weight)))
            if "bias" in found:
                module.bias.copy_(torch.from_numpy(np.array(found["bias"])))
