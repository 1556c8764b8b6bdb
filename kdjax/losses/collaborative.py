"""Collaborative learning between views of one image, as QAD compares itself with it.

Fang & Lin's paper is known to us by its abstract alone: four ways of collaboration among the parts
of one network, namely agreement of the outputs, agreement of intermediate layers, and two that
make representations and kernels less alike within a network. QAD evaluates "a deviation" of it to
instances, without a formula. What is here is the instance-based loss that QAD does write down and
ascribes to that line of work, its Eq. 3. It serves the first two ways, on logits and on pooled
features, with qualities as the views. The two that spread a network's own parts compare no views.
"""

import jax.numpy as jnp
import numpy as np

from kdjax.checks import check_rank
from kdjax.losses.features import vector_norm
from kdjax.losses.reductions import at_least_float32
from kdjax.types import Array


def collaborative(views: Array) -> Array:
    """Returns the distance of what one network says about views of the same image.

        sum_{v < w} || f(x_v) - f(x_w) ||                             (QAD's Eq. 3, for two views)

    More than two views are summed over the unordered pairs, as QAD's own `L_col` is. The norm is
    not squared: its gradient is of size 1 however close the views are, and 0 where they are equal.
    Theorem 1 of QAD weighs it 8/T against 2 times Eq. 1's loss.

    Args:
      views: float `[V, B, D]`, logits or pooled features of `V >= 2` views.

    Returns:
      `[B]`, units of the features, at least float32.

    Raises:
      ValueError: if there are fewer than two views or `views` has another number of axes.

    See "Quality-Agnostic Deepfake Detection with Intra-model Collaborative Learning" by Le & Woo,
    2023 (https://arxiv.org/abs/2309.05911), after "Intra-Model Collaborative Learning of Neural
    Networks" by Fang & Lin, 2021 (https://arxiv.org/abs/2105.09590).
    """
    check_rank("views", views, 3)
    if views.shape[0] < 2:
        raise ValueError(f"views has shape {tuple(views.shape)}; two views or more are expected")
    first, second = np.triu_indices(views.shape[0], 1)
    views = at_least_float32(views)
    return jnp.sum(vector_norm(views[first] - views[second]), axis=0)
