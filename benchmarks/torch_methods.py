"""The steps of ADD, CKD, TOKD and QAD in plain PyTorch: what steps_torch.py times beside kdjax's."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch_losses as losses
from torch import Tensor, nn
from torch.nn.functional import conv2d, cross_entropy, normalize
from torch_staged import DualBranch
from torch_step import KD, LEARNING_RATE, ROTATION_RATE, STAGES, Method, Setting


class ADD(KD):
    """Frequency attention and multi-view attention."""

    name = "add"
    needs = wants = STAGES[1:]

    def distil(
        self, logits: Tensor, features: dict[str, Tensor], taught: Any, labels: Tensor
    ) -> Tensor:
        """Returns Eq. 10; directions and partners are drawn for each stage."""
        options = self.options
        total = Method.distil(self, logits, features, taught, labels)
        weights = zip(STAGES, options["frequency_layers"], options["view_layers"], strict=True)
        for stage, frequency_weight, view_weight in weights:
            if not (frequency_weight or view_weight):
                continue
            own, other = features[stage].float(), taught[1][stage].float()
            distance = losses.frequency_attention(own, other, gamma=options["frequency_gamma"])
            total = total + options["frequency_weight"] * frequency_weight * distance.mean()
            directions = normalize(torch.randn(options["views"], 3, device=own.device))
            bins = max(2, own.shape[1] // 2)
            index = losses.view_index(directions, *own.shape[1:], bins)
            value = losses.multi_view(
                *(losses.view_density(maps, index, bins) for maps in (own, other)),
                *losses.draw_partners(labels),
                gamma=options["view_gamma"],
                eta=options["view_eta"],
                margin=options["margin"],
            )
            total = total + options["view_weight"] * view_weight * value
        return total


class CKD(KD):
    """Contrastive transfer with a memory bank."""

    name = "ckd"
    needs = wants = ("pooled",)

    def __init__(self, setting: Setting, images: Mapping[str, Tensor], labels: Tensor) -> None:
        """Adds an empty bank."""
        super().__init__(setting, images, labels)
        device, width = setting.device, self.student.classifier.in_features
        self.bank = torch.zeros(setting.dataset_size, width, device=device)
        self.bank_labels = torch.full((setting.dataset_size,), -1, device=device)
        self.normalizer, self.steps = torch.zeros((), device=device), 0

    def make_heads(self) -> nn.Module:
        """Returns the linear maps to the common space."""
        width = self.student.classifier.in_features
        sides = ("student", "teacher")
        return nn.ModuleDict({side: nn.Linear(width, self.options["width"]) for side in sides})

    def distil(
        self, logits: Tensor, features: dict[str, Tensor], taught: Any, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Returns Eq. 9 and the normaliser."""
        options = self.options
        anchors = normalize(self.heads["teacher"](taught[1]["pooled"]))
        pool = torch.cat((features["pooled"], self.bank))
        index, valid = losses.draw_negatives(labels, self.bank_labels, options["negatives"])
        value, normalizer = losses.contrastive(
            *(anchors, normalize(self.heads["student"](pool)), index, valid, self.normalizer),
            temperature=options["temperature"],
            dataset_size=self.setting.dataset_size,
        )
        plain = Method.distil(self, logits, features, taught, labels)
        return plain + options["contrast_weight"] * value, normalizer

    def backward(self, flipped: Tensor) -> Tensor:
        """As every method's, and writes the batch into the bank."""
        epoch_step = self.steps % self.setting.steps_per_epoch
        if epoch_step == 0 and self.setting.steps_per_epoch >= 4:
            self.bank_labels.fill_(-1)
            self.written = 0
        taught = self.teach(flipped)
        logits, features = self.look(flipped)
        loss, self.normalizer = self.compare(logits, features, taught, self.labels)
        loss.backward()
        count = len(self.labels)
        place = torch.arange(self.written, self.written + count, device=self.labels.device)
        place %= len(self.bank)
        self.bank[place], self.bank_labels[place] = features["pooled"].detach(), self.labels
        self.written, self.steps = self.written + count, self.steps + 1
        return loss


def projector(layers: int, activated: tuple[int, ...], inputs: int, width: int) -> nn.Sequential:
    """Returns 3 x 3 convolutions, those of `activated` (from 1) normalised by the batch and rectified."""
    parts: list[nn.Module] = []
    for number in range(1, layers + 1):
        parts.append(nn.Conv2d(inputs if number == 1 else width, width, 3, padding=1, bias=False))
        if number in activated:
            parts += [nn.BatchNorm2d(width, track_running_stats=False), nn.ReLU(inplace=True)]
    return nn.Sequential(*parts)


class TOKD(KD):
    """Two branches of a teacher, their gradients reconciled by rotations."""

    name = "tokd"
    needs = ("stage4",)
    wants = ("rgb", "frequency")

    def __init__(self, setting: Setting, images: Mapping[str, Tensor], labels: Tensor) -> None:
        """Adds rotations, the teacher's frozen projectors and the rotations' optimiser."""
        super().__init__(setting, images, labels)
        size, width = setting.rotation_size, self.student.classifier.in_features
        plans = ((3, (1, 2, 3)), (5, (2, 4)))
        stacks = nn.ModuleList(projector(*plan, width, self.options["width"]) for plan in plans)
        self.stacks = self._placed(stacks).requires_grad_(False)
        self.free = [
            torch.zeros(size, size, device=setting.device, requires_grad=True) for _ in self.wants
        ]
        self.turning = torch.optim.SGD(self.free, ROTATION_RATE)
        self.project = self.compiled(self.targets)
        self.turn = self.compiled(self.objective)

    def make_teacher(self) -> nn.Module:
        """Returns two branches of the student's kind."""
        return DualBranch(self.setting.network, self.setting.size)

    def make_heads(self) -> nn.Module:
        """Returns the student's projectors."""
        width = self.student.classifier.in_features
        plans = ((2, (1, 2)), (3, (1, 2, 3)))
        return nn.ModuleList(projector(*plan, width, self.options["width"]) for plan in plans)

    def targets(self, taught: dict[str, Tensor]) -> list[Tensor]:
        """Returns the projected maps of the teacher's branches."""
        return [stack(taught[key]) for stack, key in zip(self.stacks, self.wants, strict=True)]

    def rotate(self, maps: Tensor, matrix: Tensor) -> Tensor:
        """Returns maps whose first channels are multiplied with the matrix."""
        size = len(matrix)
        turned = conv2d(maps[:, :size], matrix[:, :, None, None])
        return torch.cat((turned, maps[:, size:]), 1) if size < maps.shape[1] else turned

    def distil(self, logits: Tensor, features: list[Tensor], taught: Any, labels: Tensor) -> Tensor:
        """Returns Eq. 10; `features` are the map as each branch sees it, `taught` the projected targets."""
        total = Method.distil(self, logits, {}, taught, labels)
        weights = (self.options["rgb_weight"], self.options["frequency_weight"])
        for weight, head, own, other in zip(weights, self.heads, features, taught, strict=True):
            with self.autocast():
                own = head(own)
            total = total + weight * losses.normalized_distance(own.float(), other.float()).mean()
        return total

    def objective(self, free: list[Tensor], gradients: list[Tensor]) -> Tensor:
        """Returns what the rotations make small."""
        matrices = [losses.rotation_matrix(each) for each in free]
        return losses.rotations_objective(matrices, gradients)

    def backward(self, flipped: Tensor) -> Tensor:
        """One backward pass for student and heads, whose gradients at the rotated maps turn the rotations."""
        with torch.no_grad(), self.autocast():
            _, taught = self.teach(flipped)
            targets = self.project(taught)
            matrices = [losses.rotation_matrix(each) for each in self.free]
        logits, features = self.look(flipped)
        seen = [self.rotate(features["stage4"].float(), matrix) for matrix in matrices]
        for maps in seen:
            maps.retain_grad()
        loss = self.compare(logits, seen, targets, self.labels)
        loss.backward()
        size, count = self.setting.rotation_size, len(self.labels)
        weights = (self.options["rgb_weight"], self.options["frequency_weight"])
        pairs = zip(seen, weights, strict=True)
        gradients = [maps.grad[:, :size] * (count / weight) for maps, weight in pairs]
        self.turning.zero_grad(set_to_none=True)
        self.turn(self.free, gradients).backward()
        factor = self.schedule.get_last_lr()[0] / LEARNING_RATE
        self.turning.param_groups[0]["lr"] = ROTATION_RATE * factor**2
        self.turning.step()
        return loss


class QAD(Method):
    """All qualities at once, the gradient taken at weights moved against the loss of the labels."""

    name = "qad"
    qualities = ("raw", "c23", "c40")
    needs = STAGES[1:]

    def distil(
        self, logits: Tensor, features: dict[str, Tensor], taught: Any, labels: Tensor
    ) -> Tensor:
        """Returns `CE - alpha sum HSIC`."""
        count = len(self.qualities)
        total = super().distil(logits, features, taught, labels.repeat(count))
        for layer in self.options["layers"]:
            points = features[layer].mean((2, 3), dtype=torch.float32).chunk(count)
            value = losses.collaboration(points)
            total = total + self.options["collaborative_weight"] * value
        return total

    def backward(self, flipped: Tensor) -> Tensor:
        """Gradient of the labels' loss, a move along it, the gradient there, and the move back."""
        moved = [weight for weight in self.student.parameters() if weight.ndim > 1]
        with kept_statistics(self.student):
            logits, _ = self.look(flipped)
            first = cross_entropy(logits, self.labels.repeat(len(self.qualities)))
            gradients = torch.autograd.grad(first, moved)
        with torch.no_grad():
            move = losses.perturbation(moved, gradients, gamma=self.options["gamma"])
            torch._foreach_add_(moved, move)
        loss = super().backward(flipped)
        with torch.no_grad():
            torch._foreach_sub_(moved, move)
        return loss


@contextmanager
def kept_statistics(network: nn.Module) -> Iterator[None]:
    """Runs a block in which the running statistics stay as they are."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momentum = norms[0].momentum
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm in norms:
            norm.momentum = momentum


METHODS: dict[str, type[Method]] = {
    method.name: method for method in (Method, KD, CKD, ADD, TOKD, QAD)
}
"""The methods by kdjax's names."""
