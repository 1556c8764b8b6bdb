"""Our losses against RepDistiller's values and gradients; `rep_distiller.txt` says how they were made.

RepDistiller averages over the batch what we return for each example, and over all entries, pairs
or triplets what we return for the batch: the mean of ours is its value, without a factor.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.losses.features import attention_transfer, fitnet, vid
from kdjax.losses.logits import kd
from kdjax.losses.relations import pkt, rkd_angle, rkd_distance, similarity_preserving

RECORDED = np.load(Path(__file__).with_name("rep_distiller.npz"), allow_pickle=False)


def rkd(student, teacher):
    return 25 * rkd_distance(student, teacher) + 50 * rkd_angle(student, teacher)


def vid_of_mean(mean, teacher):
    return vid(mean, RECORDED["vid_log_scale"], teacher)


LOGITS, POOLED = ("logits_student", "logits_teacher"), ("pooled_student", "pooled_teacher")
MAPS, SIZES = ("map_student", "map_teacher"), ("map_student", "large_teacher")
CASES = {
    "kd_1": (lambda s, t: kd(s, t, temperature=1), LOGITS),
    "kd_4": (lambda s, t: kd(s, t, temperature=4), LOGITS),
    "rkd_distance": (rkd_distance, POOLED),
    "rkd_angle": (rkd_angle, POOLED),
    "rkd": (rkd, POOLED),
    "pkt": (pkt, POOLED),
    "similarity_preserving": (similarity_preserving, SIZES),
    "attention_transfer_2": (attention_transfer, SIZES),
    "attention_transfer_4": (lambda s, t: attention_transfer(s, t, power=4), SIZES),
    "fitnet": (fitnet, MAPS),
    "vid": (vid_of_mean, ("vid_mean", "map_teacher")),
}


def value_and_grad(loss, *inputs, argnums=0):
    return jax.jit(jax.value_and_grad(lambda *x: loss(*x).mean(), argnums))(*inputs)


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_those_of_rep_distiller(name):
    loss, inputs = CASES[name]
    student, teacher = (RECORDED[key] for key in inputs)
    value, grad = value_and_grad(loss, student, teacher)
    expected = RECORDED[f"{name}_gradient"]
    np.testing.assert_allclose(value, RECORDED[name], rtol=1e-5)
    np.testing.assert_allclose(grad, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    with jax.enable_x64(True):
        value, grad = value_and_grad(loss, jnp.float64(student), jnp.float64(teacher))
        # its floors of 1e-12 and 1e-7 lie elsewhere than ours
        np.testing.assert_allclose(value, RECORDED[name], rtol=1e-6)
        np.testing.assert_allclose(grad, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())


def test_the_gradient_of_the_variance_is_that_of_rep_distiller():
    inputs = (RECORDED[key] for key in ("vid_mean", "vid_log_scale", "map_teacher"))
    _, grad = value_and_grad(vid, *inputs, argnums=1)
    np.testing.assert_allclose(grad, RECORDED["vid_log_scale_gradient"], rtol=1e-5)
