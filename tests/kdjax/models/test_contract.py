"""What a network of the user's own is told when it is none."""

import jax.numpy as jnp
import pytest
from flax import linen as nn

from kdjax.models import check, create
from kdjax.types import STAGES, Outputs


class Fixed(nn.Module):
    """A network of one image size, which fails in a way that is given."""

    size: int = 24
    fails: str = ""

    @nn.compact
    def __call__(self, x, train=False):
        if x.shape[1] != self.size:
            raise KeyError(f"images of {x.shape[1]} pixels")
        if train and self.fails:
            raise {"exit": SystemExit, "index": IndexError}[self.fails](self.fails)
        flat = nn.Dense(2, name="classifier")(x.reshape(len(x), -1))
        return Outputs(flat, {**dict.fromkeys(STAGES, x), "pooled": flat})


def test_a_network_is_checked_at_the_size_it_takes():
    assert check(Fixed(24), image_size=24).logits.shape == (2, 2)
    assert check(create("resnet_tiny"), image_size=32).features["pooled"].ndim == 2
    with pytest.raises(
        ValueError, match=r"network Fixed fails on images \[2, 64, 64, 3\]: KeyError: 'images of 64"
    ):
        check(Fixed(24))


@pytest.mark.parametrize("fails", ["exit", "index"])
def test_whatever_fails_in_training_is_a_value_error_that_says_so(fails):
    with pytest.raises(ValueError, match=rf"network mine, in training, fails .*: {fails}"):
        check(Fixed(8, fails), image_size=8, name="mine")


def test_what_is_no_array_is_refused():
    class Text(nn.Module):
        def __call__(self, x, train=False):
            return "much", jnp.zeros(2)

    with pytest.raises(ValueError, match=r"network Text fails on images .*TypeError"):
        check(Text())
