"""The negatives of CKD: from the batch of all devices as far as it goes, then from the bank."""

import jax
import jax.numpy as jnp

from kdjax.checks import check_rank, check_same_batch, check_same_shape
from kdjax.transforms.memory_bank import MemoryBank, draw_without_replacement
from kdjax.types import Array


def draw_negatives(
    features: Array,
    labels: Array,
    bank: MemoryBank,
    count: int,
    rng: Array,
    *,
    mask: Array | None = None,
    anchor_labels: Array | None = None,
    positions: Array | None = None,
) -> tuple[Array, Array]:
    """Returns for each anchor `count` features of the other class, drawn without replacement.

    All examples of the batch that qualify come before any entry of the bank; if they are more than
    `count`, a random `count` of them are taken. The gradient flows into those of the batch, the
    bank's are constants. Push the batch into the bank afterwards, or its examples come twice.

    On several devices the caller gathers `features`, `labels` and `mask`, keeps the labels of its
    own examples as anchors and tells their place in the gathered batch; every device then draws
    what one device alone would draw for them.

    Args:
      features: float `[G, width]`, of the batch of all devices.
      labels: integer `[G]`.
      bank: holds features of the same width.
      count: `K`, negatives an anchor.
      rng: key of the draw, the same on every device.
      mask: float or bool `[G]`, 0 on padding, which is never drawn, be it NaN.
      anchor_labels: integer `[B]`, the labels of this device's examples; `labels` if None.
      positions: int32 `[B]`, their places in the batch of all devices; `0..B-1` if None.

    Returns:
      The negatives `[B, count, width]`, in the wider dtype of batch and bank, and a bool mask
      `[B, count]`, True first. Where there are too few, the mask is False and the negatives are 0.

    Raises:
      ValueError: for shapes that do not fit, or a count that is not positive.
    """
    check_rank("features", features, 2)
    check_rank("labels", labels, 1)
    check_same_batch(features=features, labels=labels)
    if features.shape[1] != bank.features.shape[1]:
        raise ValueError(
            f"features are {features.shape[1]} wide, the memory bank {bank.features.shape[1]}"
        )
    features, labels = jnp.asarray(features), jnp.asarray(labels)
    anchor_labels = labels if anchor_labels is None else jnp.asarray(anchor_labels)
    check_rank("anchor_labels", anchor_labels, 1)
    in_batch = anchor_labels[:, None] != labels[None]
    if mask is not None:
        check_same_shape(labels=labels, mask=mask)
        in_batch &= jnp.asarray(mask)[None] > 0
    allowed = jnp.concatenate([in_batch, bank.holds_opposite(anchor_labels)], axis=1)
    size = labels.shape[0]
    index, valid = draw_without_replacement(
        allowed, count, rng, positions=positions, first=jnp.arange(allowed.shape[1]) < size
    )
    of_batch = features[jnp.minimum(index, size - 1)]
    of_bank = bank.features[jnp.maximum(index - size, 0)]
    chosen = jnp.where((index < size)[..., None], of_batch, jax.lax.stop_gradient(of_bank))
    return jnp.where(valid[..., None], chosen, 0), valid
