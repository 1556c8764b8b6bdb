"""The supervised training step and KD's in plain PyTorch, eager or by torch.compile, and what all methods share.

The same as `workloads.Training`: networks, batch (uint8 images, flipped at random, float), teacher's forward pass,
losses at kdjax's defaults with `train.balance=none`, Adam under one cycle, TOKD's rotations by an SGD of their own.
What kdjax logs beside the loss (accuracy, cosines, shares) is left out here. Maps lie in memory channels last. With
`amp` the networks and projectors run in bfloat16, the losses in float32.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
import torch_losses as losses
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch_staged import NORMALISATION, staged

from kdjax.defaults import defaults

STAGES = ("stage1", "stage2", "stage3", "stage4")
LEARNING_RATE = 1e-3
ROTATION_RATE = 0.05
TOTAL_STEPS = 1000
STUDENT, TEACHER = "c40", "raw"


class Setting(NamedTuple):
    """What a step is built for.

    Attributes:
      network: name of the student's and the teacher's network, one of `torch_staged.CUTS`.
      size: side of the images.
      dataset_size: images that CKD's bank has room for.
      steps_per_epoch: after which it is emptied.
      rotation_size: of TOKD's rotations.
      device: where it runs.
      amp: whether in bfloat16 by autocast.
      compiled: whether networks and losses go through torch.compile.
    """

    network: str
    size: int
    dataset_size: int
    steps_per_epoch: int
    rotation_size: int
    device: str = "cpu"
    amp: bool = False
    compiled: bool = False


class Method:
    """A student with the cross-entropy alone, and what the other methods share.

    Attributes:
      qualities: what the student sees.
      needs: features of the student that the losses take.
      wants: features of the teacher that they take.
      heads: trained beside the student.
    """

    name = "supervised"
    qualities: tuple[str, ...] = (STUDENT,)
    needs: tuple[str, ...] = ()
    wants: tuple[str, ...] = ()

    def __init__(self, setting: Setting, images: Mapping[str, Tensor], labels: Tensor) -> None:
        """Builds networks and optimiser; `images` are uint8 `[B, H, W, 3]` by quality."""
        self.setting, self.options = setting, defaults(self.name)
        self.labels = labels.long().to(setting.device)
        # a permuted NHWC tensor is a channels-last one
        self.images = {key: x.to(setting.device).permute(0, 3, 1, 2) for key, x in images.items()}
        mean, deviation = (torch.tensor(x, device=setting.device) for x in NORMALISATION)
        self.mean, self.deviation = mean[:, None, None], deviation[:, None, None]
        self.student = self._placed(staged(setting.network))
        self.teacher = self._placed(self.make_teacher()).eval().requires_grad_(False)
        self.heads = self._placed(self.make_heads())
        self.trained = [*self.student.parameters(), *self.heads.parameters()]
        self.optimizer = torch.optim.Adam(self.trained, LEARNING_RATE, fused=True)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, LEARNING_RATE, TOTAL_STEPS, pct_start=0.05, cycle_momentum=False
        )
        self.run_student, self.run_teacher = map(self.compiled, (self.student, self.teacher))
        self.compare = self.compiled(self.distil)

    def make_teacher(self) -> nn.Module:
        """Returns the teacher; of a method without one, nothing that is ever run."""
        return nn.Identity()

    def make_heads(self) -> nn.Module:
        """Returns what is trained beside the student."""
        return nn.ModuleDict()

    def distil(
        self, logits: Tensor, features: dict[str, Tensor], taught: Any, labels: Tensor
    ) -> Tensor:
        """Returns the loss: the cross-entropy, and what the method adds."""
        del features, taught
        return self.options["cross_entropy_weight"] * cross_entropy(logits, labels)

    def compiled(self, function: Callable) -> Callable:
        """Returns the function, through torch.compile where the setting says so."""
        return torch.compile(function) if self.setting.compiled else function

    def parameters(self) -> dict[str, int]:
        """Returns how many parameters student, teacher and heads have."""
        parts = {"student": self.student, "teacher": self.teacher, "heads": self.heads}
        return {key: sum(x.numel() for x in part.parameters()) for key, part in parts.items()}

    def step(self) -> Tensor:
        """Trains one step on the batch; returns the loss, without waiting for the device."""
        flipped = torch.rand(len(self.labels), 1, 1, 1, device=self.labels.device) < 0.5
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.backward(flipped)
        self.optimizer.step()
        self.schedule.step()
        return loss.detach()

    def advance(self, count: int = 1) -> None:
        """Trains `count` steps and waits for the last."""
        for _ in range(count):
            self.step()
        if self.setting.device == "cuda":
            torch.cuda.synchronize()

    def backward(self, flipped: Tensor) -> Tensor:
        """Leaves the gradients of the loss in the parameters and returns it."""
        taught = self.teach(flipped)
        logits, features = self.look(flipped)
        loss = self.compare(logits, features, taught, self.labels)
        loss.backward()
        return loss

    def see(self, quality: str, flipped: Tensor) -> Tensor:
        """Returns the normalised images of a quality."""
        images = self.images[quality]
        images = torch.where(flipped, images.flip(-1), images).float() / 255
        return (images - self.mean) / self.deviation

    def autocast(self) -> torch.autocast:
        """Returns the context in which networks run."""
        return torch.autocast(self.setting.device, torch.bfloat16, enabled=self.setting.amp)

    def look(self, flipped: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the student's logits and features, of all qualities one after the other."""
        images = torch.cat([self.see(quality, flipped) for quality in self.qualities])
        with self.autocast():
            return self.run_student(images, self.needs)

    def teach(self, flipped: Tensor) -> Any:
        """Returns the teacher's logits and features."""
        if isinstance(self.teacher, nn.Identity):
            return ()
        with torch.no_grad(), self.autocast():
            return self.run_teacher(self.see(TEACHER, flipped), self.wants)

    def _placed(self, module: nn.Module) -> nn.Module:
        return module.to(self.setting.device, memory_format=torch.channels_last)


class KD(Method):
    """Hinton's softened logits."""

    name = "kd"

    def make_teacher(self) -> nn.Module:
        """Returns a network like the student."""
        return staged(self.setting.network)

    def distil(
        self, logits: Tensor, features: dict[str, Tensor], taught: Any, labels: Tensor
    ) -> Tensor:
        """Returns `a CE + b T^2 KL`."""
        value = losses.kd(logits, taught[0], temperature=self.options["temperature"])
        plain = super().distil(logits, features, taught, labels)
        return plain + self.options["kd_weight"] * value
