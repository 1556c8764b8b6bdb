"""Pure transforms with explicit state: of weights, of features, and a memory of features."""

from kdjax.transforms import memory_bank as memory_bank
from kdjax.transforms.awp import adversarial_weight_perturbation as adversarial_weight_perturbation
from kdjax.transforms.balance import balance as balance
from kdjax.transforms.gradients import alignment as alignment
from kdjax.transforms.gradients import gradient_cosine as gradient_cosine
from kdjax.transforms.gradients import gradient_target as gradient_target
from kdjax.transforms.memory_bank import MemoryBank as MemoryBank
from kdjax.transforms.rotation import rotate as rotate
from kdjax.transforms.rotation import rotated_entries as rotated_entries
from kdjax.transforms.rotation import rotation_matrix as rotation_matrix
from kdjax.transforms.rotation import rotation_objective as rotation_objective

__all__ = [
    "MemoryBank",
    "adversarial_weight_perturbation",
    "alignment",
    "balance",
    "gradient_cosine",
    "gradient_target",
    "rotate",
    "rotated_entries",
    "rotation_matrix",
    "rotation_objective",
]
