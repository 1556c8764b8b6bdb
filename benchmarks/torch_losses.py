"""The methods' losses in plain PyTorch, written from the papers as docs/ tells them.

Maps are `[B, C, H, W]`. What is drawn (directions, partners, negatives) comes in as an argument.
"""

import math
from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor
from torch.linalg import vector_norm
from torch.nn.functional import kl_div, log_softmax, relu, softplus

FLOOR = 1e-12


def kd(student: Tensor, teacher: Tensor, *, temperature: float) -> Tensor:
    """Returns `T^2 KL(softmax(teacher / T) || softmax(student / T))`, averaged over the batch."""
    own, other = (log_softmax(logits / temperature, 1) for logits in (student, teacher))
    return temperature**2 * kl_div(own, other, reduction="batchmean", log_target=True)


def frequency_attention(student: Tensor, teacher: Tensor, *, gamma: float) -> Tensor:
    """Returns ADD's frequency attention relative to the teacher's energy, `[B]`."""
    height, width = student.shape[2:]
    spectrum = torch.fft.rfft2(student - teacher, norm="forward")
    energy = teacher.square().mean((2, 3)).sum(1).clamp_min(FLOOR)
    distance = (spectrum.real.square() + spectrum.imag.square()).sum(1) / energy[:, None, None]
    # a column of the half plane stands for two, but for the first and, of an even width, the last
    counts = torch.full((spectrum.shape[-1],), 2.0, device=student.device)
    counts[0] = 1.0
    if width % 2 == 0:
        counts[-1] = 1.0
    exponent = (gamma * distance.detach() + counts.log()).flatten(1)
    attention = height * width * torch.softmax(exponent, 1)
    return (attention * distance.flatten(1)).sum(1)


def view_index(directions: Tensor, channels: int, height: int, width: int, bins: int) -> Tensor:
    """Returns the bin of every entry for each direction, int64 `[V, H * W * C]`."""
    axes = [torch.arange(n, device=directions.device) for n in (height, width, channels)]
    row, column, channel = torch.meshgrid(*axes, indexing="ij")
    grid = torch.stack((channel, column, row)).flatten(1).double()
    # in float32 entries would fall on the wrong side of an edge
    place = directions.double() @ grid
    low, high = place.amin(1, keepdim=True), place.amax(1, keepdim=True)
    return ((place - low) * (bins / (high - low))).long().clamp_(0, bins - 1)


def view_density(features: Tensor, index: Tensor, bins: int) -> Tensor:
    """Returns the mass of `A^2 / ||A||^2` in each bin of each view, `[B, V, bins]`."""
    energy = features.permute(0, 2, 3, 1).flatten(1).square()
    density = energy / energy.sum(1, keepdim=True).clamp_min(FLOOR)
    batch, views = len(density), len(index)
    empty = density.new_zeros(batch, views, bins)
    return empty.scatter_add(2, index.expand(batch, -1, -1), density[:, None].expand(-1, views, -1))


def draw_partners(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Returns for each example the position of another one of its class, and of one of the other class."""
    scores = torch.rand(len(labels), len(labels), device=labels.device)
    equal = labels[:, None] == labels
    alone = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    same = scores.masked_fill(~equal | alone, -1.0).argmax(1)
    return same, scores.masked_fill(equal, -1.0).argmax(1)


def multi_view(
    student: Tensor,
    teacher: Tensor,
    same: Tensor,
    other: Tensor,
    *,
    gamma: float,
    eta: float,
    margin: float,
) -> Tensor:
    """Returns ADD's Eq. 9 of densities `[B, V, bins]`; every class must have two examples at least."""

    def distance(wanted: Tensor) -> Tensor:
        return (student - wanted).square().sum(-1).mean(1)

    repelled = relu(margin - distance(teacher[other]))
    own = gamma * distance(teacher).mean()
    return own + eta * (distance(teacher[same]).mean() + repelled.mean())


def draw_negatives(labels: Tensor, bank_labels: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Returns for each example `count` of the other class in batch and bank, the batch's first: index, valid.

    Labels of the bank are -1 where nothing was written.
    """
    everyone = torch.cat((labels, bank_labels))
    scores = torch.rand(len(labels), len(everyone), device=labels.device)
    scores[:, : len(labels)] += 1
    allowed = (everyone != labels[:, None]) & (everyone >= 0)
    best, index = scores.masked_fill(~allowed, -1.0).topk(count, dim=1)
    return index, best >= 0


def contrastive(
    taught: Tensor,
    embedded: Tensor,
    index: Tensor,
    valid: Tensor,
    normalizer: Tensor,
    *,
    temperature: float,
    dataset_size: int,
) -> tuple[Tensor, Tensor]:
    """Returns CKD's loss, and the normaliser: found from these pairs where the one that is given is 0.

    `taught` is `[B, D]`; `embedded` `[B + bank, D]` the student's of batch and bank; `index` and `valid` `[B, K]`.
    """
    scores = taught @ embedded.T / temperature
    positive, negative = scores.diagonal(), scores.gather(1, index)
    count = index.shape[1]
    with torch.no_grad():
        pairs = torch.cat((positive[:, None], negative.masked_fill(~valid, -torch.inf)), 1)
        mean = pairs.exp().sum() / (valid.sum() + len(taught))
        normalizer = torch.where(normalizer > 0, normalizer, dataset_size * mean)
        shift = normalizer.log() + math.log(count / dataset_size)
    repelled = (valid * softplus(negative - shift)).sum(1) * count / valid.sum(1).clamp_min(1)
    return (softplus(shift - positive) + repelled).mean(), normalizer


def normalized_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Returns TOKD's `|| a / ||a|| - b / ||b|| ||^2` of whole maps, `[B]`."""
    units = [
        value / vector_norm(value, dim=(1, 2, 3), keepdim=True).clamp_min(FLOOR)
        for value in (student, teacher)
    ]
    return (units[0] - units[1]).square().sum((1, 2, 3))


def rotation_matrix(free: Tensor) -> Tensor:
    """Returns `expm(W - W^T)`."""
    return torch.linalg.matrix_exp(free - free.T)


def rotations_objective(matrices: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
    """Returns the sum over the branches of `-mean_n cos(R_k^T G_kn, g_n)` (TOKD, Eq. 13); `G` is `[B, d, H, W]`.

    `g` is the mean of the branches' `R_k^T G_k`, a constant.
    """
    arriving = [
        torch.einsum("ij,bihw->bjhw", matrix, gradient)
        for matrix, gradient in zip(matrices, gradients, strict=True)
    ]
    target = sum(arriving).detach() / len(arriving)
    return -sum(_cosine(each, target).mean() for each in arriving)


def _cosine(first: Tensor, second: Tensor) -> Tensor:
    lengths = [vector_norm(x, dim=(1, 2, 3)).clamp_min(FLOOR) for x in (first, second)]
    return (first * second).sum((1, 2, 3)) / lengths[0] / lengths[1]


def collaboration(qualities: Sequence[Tensor]) -> Tensor:
    """Returns minus the sum of QAD's normalised HSIC over the pairs of qualities, each `[B, D]`."""
    grams = [_centred_kernel(points) for points in qualities]
    grams = [gram / vector_norm(gram).clamp_min(FLOOR) for gram in grams]
    return -sum((first * second).sum() for first, second in combinations(grams, 2))


def _centred_kernel(points: Tensor) -> Tensor:
    """Returns `H K H` of the Gaussian kernel whose width is the mean distance."""
    distances = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    count = len(points)
    width = distances.sum() / (count * (count - 1))
    kernel = torch.expm1(-0.5 * (distances / width.clamp_min(FLOOR)).square())
    kernel = kernel - kernel.mean(0)
    return kernel - kernel.mean(1, keepdim=True)


def perturbation(
    weights: Sequence[Tensor], gradients: Sequence[Tensor], *, gamma: float
) -> Sequence[Tensor]:
    """Returns `gamma ||theta|| g / ||g||` of each tensor (QAD, Eq. 5)."""
    lengths = torch._foreach_norm(weights)
    slopes = torch._foreach_norm(gradients)
    torch._foreach_add_(slopes, FLOOR)
    torch._foreach_div_(lengths, slopes)
    torch._foreach_mul_(lengths, gamma)
    return torch._foreach_mul(gradients, lengths)
