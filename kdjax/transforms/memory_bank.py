"""CKD's memory bank: a ring buffer of features and labels, to draw examples of the other class from.

Every function is pure and compiles; the arrays never change their shape. They are methods of
`MemoryBank` (the bank is the first argument) and functions of this module under the same names.

See "Contrastive Knowledge Transfer for Deepfake Detection with Limited Data" by Li et al., 2022.
"""

import flax.struct
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from kdjax.checks import (
    check_count,
    check_positive,
    check_rank,
    check_same_batch,
    check_same_shape,
)
from kdjax.types import Array

NO_LABEL = -1
"""Label of an entry that was never written."""


class MemoryBank(flax.struct.PyTreeNode):
    """A ring buffer of the latest examples.

    Attributes:
      features: float `[capacity, width]`, constants; 0 where never written.
      labels: int32 `[capacity]`, `NO_LABEL` where never written.
      cursor: int32 `[]`, the entry that is written next.
      count: int32 `[]`, how many entries were written, at most the capacity.
    """

    features: Array
    labels: Array
    cursor: Array
    count: Array

    @classmethod
    def create(cls, capacity: int, width: int, *, dtype: DTypeLike = jnp.float32) -> "MemoryBank":
        """Returns an empty bank.

        Args:
          capacity: number of entries.
          width: features an entry.
          dtype: what the features are kept in.

        Raises:
          ValueError: if a size is not positive.
        """
        check_positive("capacity", capacity)
        check_positive("width", width)
        return cls(
            features=jnp.zeros((capacity, width), dtype),
            labels=jnp.full((capacity,), NO_LABEL, jnp.int32),
            cursor=jnp.zeros((), jnp.int32),
            count=jnp.zeros((), jnp.int32),
        )

    def push(self, features: Array, labels: Array, *, mask: Array | None = None) -> "MemoryBank":
        """Returns the bank after the examples were written one by one, over the oldest ones.

        Of more examples than the capacity the last ones stay. On several devices all of them must
        push the gathered batch, so that their banks stay equal.

        Args:
          features: float `[N, width]`; its gradient ends here.
          labels: integer `[N]`.
          mask: float or bool `[N]`, 0 on padding, which leaves no gap; None if all count.

        Raises:
          ValueError: for shapes that do not fit the bank or each other.
        """
        check_rank("features", features, 2)
        check_rank("labels", labels, 1)
        check_same_batch(features=features, labels=labels)
        capacity, width = self.features.shape
        if features.shape[1] != width:
            raise ValueError(f"features are {features.shape[1]} wide, the memory bank {width}")
        if mask is None:
            counts = jnp.ones(labels.shape, bool)
        else:
            check_same_shape(labels=labels, mask=mask)
            counts = jnp.asarray(mask) > 0
        turn = jnp.cumsum(counts.astype(jnp.int32), dtype=jnp.int32)
        pushed = jnp.sum(counts, dtype=jnp.int32)
        stays = counts & (turn > pushed - capacity)
        # Places past the end are dropped, so that each entry is written at most once.
        place = jnp.where(stays, (self.cursor + turn - 1) % capacity, capacity)
        new = jax.lax.stop_gradient(jnp.asarray(features)).astype(self.features.dtype)
        return MemoryBank(
            features=self.features.at[place].set(new, mode="drop"),
            labels=self.labels.at[place].set(jnp.asarray(labels, jnp.int32), mode="drop"),
            cursor=(self.cursor + pushed) % capacity,
            count=jnp.minimum(self.count + pushed, capacity),
        )

    def sample_opposite(
        self, labels: Array, count: int, rng: Array, *, positions: Array | None = None
    ) -> tuple[Array, Array]:
        """Returns for each label `count` entries of another label, drawn without replacement.

        Args:
          labels: integer `[B]`.
          count: entries a label.
          rng: key of the draw, the same on every device.
          positions: int32 `[B]`, place of each label in the batch of all devices, on which its
            draw depends; `0..B-1` if None.

        Returns:
          The features `[B, count, width]`, constants, and a bool mask `[B, count]`, True first.
          Where the bank has too few, the mask is False and the features are 0.

        Raises:
          ValueError: for shapes that do not fit, or a count that is not positive.
        """
        check_rank("labels", labels, 1)
        allowed = self.holds_opposite(labels)
        index, mask = draw_without_replacement(allowed, count, rng, positions=positions)
        features = jnp.where(mask[..., None], self.features[index], 0)
        return jax.lax.stop_gradient(features), mask

    def reset(self) -> "MemoryBank":
        """Returns an empty bank of the same shape and dtype."""
        return MemoryBank.create(*self.features.shape, dtype=self.features.dtype)

    def holds_opposite(self, labels: Array) -> Array:
        """Returns which entries are written and of another label: bool `[B, capacity]`."""
        written = jnp.arange(self.labels.shape[0]) < self.count
        return written[None] & (self.labels[None] != jnp.asarray(labels)[:, None])


create = MemoryBank.create
push = MemoryBank.push
sample_opposite = MemoryBank.sample_opposite
reset = MemoryBank.reset


def draw_without_replacement(
    allowed: Array,
    count: int,
    rng: Array,
    *,
    positions: Array | None = None,
    first: Array | None = None,
) -> tuple[Array, Array]:
    """Returns `count` of the allowed columns of each row, uniformly and in random order.

    Args:
      allowed: bool `[B, N]`.
      count: columns a row.
      rng: key, the same on every device.
      positions: int32 `[B]`, place of each row in the batch of all devices; `0..B-1` if None.
      first: bool `[N]`, columns that all come before any other, or None.

    Returns:
      int32 `[B, count]`, and a bool mask `[B, count]` that is False, after the others, where no
      allowed column is left (the index is then some column).

    Raises:
      ValueError: if the count is not positive or the shapes do not fit.
    """
    check_count("count", count)
    check_rank("allowed", allowed, 2)
    rows, columns = allowed.shape
    positions = jnp.arange(rows) if positions is None else jnp.asarray(positions)
    check_same_batch(allowed=allowed, positions=positions)

    def scores(position: Array) -> Array:
        return jax.random.uniform(jax.random.fold_in(rng, position), (columns,), jnp.float32)

    drawn = jax.vmap(scores)(positions)  # in [0, 1)
    if first is not None:
        drawn = drawn + jnp.asarray(first, drawn.dtype)[None]
    best, index = jax.lax.top_k(jnp.where(allowed, drawn, -1.0), min(count, columns))
    missing = ((0, 0), (0, count - best.shape[1]))
    mask = jnp.pad(best >= 0, missing, constant_values=False)
    return jnp.pad(index.astype(jnp.int32), missing), mask
