"""The loss of the tutorial is what its text says: squared gaps of spectra, weighed by frequency."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.fft import dctn

import kdjax
from kdjax import methods
from kdjax.methods import Inputs
from kdjax.types import Outputs

PAGE = Path(__file__).resolve().parents[3] / "docs" / "tutorials" / "loss.md"


def factory():
    cells = re.findall(r"```\{code-cell\} python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (cell,) = [cell for cell in cells if "def high_frequency" in cell]
    names = {"jnp": jnp, "kdjax": kdjax, "methods": methods}
    exec(cell, names)
    return names["high_frequency"]


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_the_tutorials_loss_weighs_rows_and_columns(power):
    rng = np.random.default_rng(0)
    # height, width and channels differ: no axis can stand for another
    own, teacher = rng.normal(size=(2, 3, 4, 6, 5)).astype(np.float32)
    mask = np.array([1, 1, 0], np.float32)
    part = factory()(None, (), qualities=("raw",), teacher_quality="raw", power=power)
    inputs = Inputs({}, (), [jnp.asarray(teacher)], {"mask": mask}, {}, jax.random.key(0))
    terms, _, _ = part.compare(Outputs(None, {"stage2": jnp.asarray(own)}), {}, inputs)
    spectrum = dctn((own - teacher).astype(np.float64), axes=(1, 2), norm="ortho")
    weight = np.add.outer(np.arange(4) / 4, np.arange(6) / 6)[None, :, :, None] ** power
    each = (weight * spectrum**2).sum((1, 2, 3)) / (teacher.astype(np.float64) ** 2).sum((1, 2, 3))
    np.testing.assert_allclose(terms["high_frequency"], each[:2].mean(), rtol=1e-4)
