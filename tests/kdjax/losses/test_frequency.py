from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import losses

OFFICIAL = np.load(Path(__file__).with_name("official_add.npz"), allow_pickle=False)


attention = jax.jit(losses.frequency_attention, static_argnames=("scale", "mode"))


def maps(height=5, width=4, channels=3, batch=2, scale=1.0):
    rng = np.random.default_rng(height * 100 + width)
    return rng.normal(size=(2, batch, height, width, channels)) * scale


def distances(student, teacher):
    """d of Eq. 2 by the sums of Eq. 1, `[H, W, C]` of one example."""
    height, width, channels = student.shape
    result = np.zeros((height, width, channels))
    for u in range(height):
        for v in range(width):
            for c in range(channels):
                value = 0j
                for y in range(height):
                    for x in range(width):
                        phase = np.exp(-2j * np.pi * (u * y / height + v * x / width))
                        value += (student[y, x, c] - teacher[y, x, c]) * phase
                result[u, v, c] = abs(value / (height * width)) ** 2
    return result


def reference(student, teacher, gamma=1.0, weights=None):
    """The loss by its formulas in float64; `weights` replaces Eq. 3's."""
    total = []
    for index, (s, t) in enumerate(zip(student, teacher, strict=True)):
        distance = distances(s, t)
        weight = np.exp(np.minimum(gamma * distance.mean(axis=-1), 50))
        weight = weight if weights is None else weights[index]
        total.append((weight[:, :, None] * distance).sum())
    return np.array(total)


@pytest.mark.parametrize("size", [(4, 4), (5, 4), (3, 5), (1, 1), (1, 2)])
@pytest.mark.parametrize("gamma", [1.0, 3.0])
def test_it_is_the_weighted_spectral_distance(size, gamma):
    student, teacher = maps(*size)
    got = attention(jnp.float32(student), jnp.float32(teacher), gamma=gamma)
    assert got.shape == (2,)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, reference(student, teacher, gamma), rtol=1e-5)
    with jax.enable_x64(True):
        got = attention(jnp.asarray(student), jnp.asarray(teacher), gamma=gamma)
        assert got.dtype == jnp.float64
        np.testing.assert_allclose(got, reference(student, teacher, gamma), rtol=1e-11)


@pytest.mark.parametrize("size", [(8, 8), (7, 8), (8, 7), (7, 7)])
def test_half_the_spectrum_gives_what_the_whole_one_gives(size):
    student, teacher = maps(*size)
    spectrum = np.fft.fft2(student - teacher, axes=(1, 2)) / (size[0] * size[1])
    distance = np.abs(spectrum) ** 2
    weight = np.exp(distance.mean(axis=-1, keepdims=True))
    got = attention(jnp.float32(student), jnp.float32(teacher))
    np.testing.assert_allclose(got, (weight * distance).sum(axis=(1, 2, 3)), rtol=1e-5)


def test_without_attention_it_is_the_squared_error_summed_over_channels():
    student, teacher = maps(6, 5)
    got = attention(jnp.float32(student), jnp.float32(teacher), gamma=0.0)
    expected = ((student - teacher) ** 2).mean(axis=(1, 2)).sum(axis=-1)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_scale_channel_divides_by_the_channels():
    student, teacher = jnp.float32(maps(6, 5, 7))
    whole = attention(student, teacher)
    part = attention(student, teacher, scale="channel")
    np.testing.assert_allclose(part * 7, whole, rtol=1e-6)


def gradient_at(student, teacher, weights):
    """The gradient on the student by central differences, with the weights held."""
    step, found = 1e-5, np.zeros_like(student)
    for place in np.ndindex(student.shape):
        moved = np.zeros_like(student)
        moved[place] = step
        up, down = (
            reference(student + sign * moved, teacher, weights=weights).sum() for sign in (1, -1)
        )
        found[place] = (up - down) / (2 * step)
    return found


def test_the_gradient_holds_the_attention_constant():
    student, teacher = maps(3, 4, 2)
    weights = [np.exp(distances(s, t).mean(-1)) for s, t in zip(student, teacher, strict=True)]
    expected = gradient_at(student, teacher, weights)
    with jax.enable_x64(True):

        def loss(s, t):
            return attention(s, t).sum()

        by_student, by_teacher = jax.grad(loss, (0, 1))(jnp.asarray(student), jnp.asarray(teacher))
    np.testing.assert_allclose(by_student, expected, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(by_teacher, -expected, rtol=1e-7, atol=1e-9)


def test_equal_maps_give_zero_with_zero_gradient():
    student, _ = jnp.float32(maps())
    value, grad = jax.value_and_grad(lambda s: attention(s, student).sum())(student)
    assert value == 0
    np.testing.assert_array_equal(grad, np.zeros(student.shape))


@pytest.mark.parametrize("scale", [0.0, 1e-20, 1e2, 1e5])
def test_values_and_gradients_are_finite_at_any_size(scale):
    student, teacher = jnp.float32(maps(8, 8, 4, scale=scale))
    value, grad = jax.value_and_grad(lambda s: attention(s, teacher).sum())(student)
    assert jnp.isfinite(value)
    assert jnp.isfinite(grad).all()


def test_bfloat16_maps_are_taken_in_float32():
    student, teacher = jnp.bfloat16(maps())
    got = attention(student, teacher)
    wide = attention(student.astype(jnp.float32), teacher.astype(jnp.float32))
    assert got.dtype == jnp.float32
    np.testing.assert_array_equal(got, wide)


def test_maps_of_other_size_are_averaged_to_the_smaller():
    student, _ = jnp.float32(maps(8, 4))
    _, teacher = jnp.float32(maps(4, 8))
    pooled = (
        student.reshape(2, 4, 2, 4, 3).mean(axis=2),
        teacher.reshape(2, 4, 4, 2, 3).mean(axis=3),
    )
    got = attention(student, teacher)
    np.testing.assert_allclose(got, attention(*pooled), rtol=1e-5)


def test_compiling_changes_nothing():
    student, teacher = jnp.float32(maps())
    plain = losses.frequency_attention(student, teacher)
    np.testing.assert_allclose(attention(student, teacher), plain, rtol=1e-6)


@pytest.mark.parametrize("channels", [8, 10])
@pytest.mark.parametrize("gamma", [1.0, 3.0])
def test_official_mode_equals_the_published_code(channels, gamma):
    def loss(student):
        teacher = OFFICIAL[f"teacher_{channels}"]
        return attention(student, teacher, gamma=gamma, mode="official").mean()

    value, grad = jax.jit(jax.value_and_grad(loss))(OFFICIAL[f"student_{channels}"])
    np.testing.assert_allclose(value, OFFICIAL[f"frequency_{channels}_{gamma}"], rtol=1e-5)
    expected = OFFICIAL[f"frequency_gradient_{channels}_{gamma}"]
    np.testing.assert_allclose(grad, expected, rtol=1e-4, atol=1e-6)


def relative_reference(student, teacher, gamma):
    """The relative loss by its formulas in float64, over the whole spectrum."""
    total = []
    for s, t in zip(student, teacher, strict=True):
        share = distances(s, t) / distances(t, np.zeros_like(t)).sum()
        weight = np.exp(gamma * share.sum(axis=-1))
        total.append((weight / weight.mean() * share.sum(axis=-1)).sum())
    return np.array(total)


@pytest.mark.parametrize("size", [(4, 4), (5, 4), (3, 5), (1, 1), (1, 2)])
@pytest.mark.parametrize("gamma", [0.0, 1.0, 3.0])
def test_the_relative_distance_is_a_share_of_the_teachers_energy(size, gamma):
    student, teacher = maps(*size)
    with jax.enable_x64(True):
        got = attention(jnp.asarray(student), jnp.asarray(teacher), gamma=gamma, mode="relative")
    np.testing.assert_allclose(got, relative_reference(student, teacher, gamma), rtol=1e-11)
    got = attention(jnp.float32(student), jnp.float32(teacher), gamma=gamma, mode="relative")
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, relative_reference(student, teacher, gamma), rtol=1e-5)


def test_the_relative_distance_of_a_silent_student_is_one():
    _, teacher = jnp.float32(maps(6, 5))
    got = attention(jnp.zeros_like(teacher), teacher, gamma=0.0, mode="relative")
    np.testing.assert_allclose(got, 1.0, rtol=1e-5)


@pytest.mark.parametrize("scale", [1e-3, 10.0, 1e5])
def test_the_relative_distance_and_its_direction_do_not_know_the_scale(scale):
    student, teacher = jnp.float32(maps(6, 5))

    def loss(s, t):
        return attention(s, t, mode="relative").sum()

    value, grad = jax.value_and_grad(loss)(student, teacher)
    scaled, scaled_grad = jax.value_and_grad(loss)(scale * student, scale * teacher)
    np.testing.assert_allclose(scaled, value, rtol=1e-5)
    np.testing.assert_allclose(scale * scaled_grad, grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("gamma", [1.0, 1e4])
def test_a_student_far_from_the_teacher_is_pulled_with_finite_weights(gamma):
    student, teacher = jnp.float32(maps(8, 8, 4))
    value, grad = jax.value_and_grad(
        lambda s: attention(s, teacher, gamma=gamma, mode="relative").sum()
    )(100 * student)
    assert jnp.isfinite(value)
    assert jnp.isfinite(grad).all()
    # the weights are at most the number of frequencies
    plain = attention(100 * student, teacher, gamma=0.0, mode="relative").sum()
    assert value <= 64 * plain


@pytest.mark.parametrize("scale", [0.0, 1e-20])
def test_a_teacher_without_energy_says_nothing(scale):
    student, teacher = jnp.float32(maps(8, 8, 4))
    value, grad = jax.value_and_grad(
        lambda s: attention(s, scale * teacher, mode="relative").sum()
    )(student)
    assert value == 0
    np.testing.assert_array_equal(grad, np.zeros(student.shape))


def test_the_relative_gradient_holds_weights_and_energy_constant():
    student, teacher = maps(3, 4, 2)
    energy = [distances(t, np.zeros_like(t)).sum() for t in teacher]
    weights = []
    for s, t, total in zip(student, teacher, energy, strict=True):
        weight = np.exp(distances(s, t).sum(-1) / total)
        weights.append(weight / weight.mean() / total)
    expected = gradient_at(student, teacher, weights)
    with jax.enable_x64(True):

        def loss(s, t):
            return attention(s, t, mode="relative").sum()

        by_student, by_teacher = jax.grad(loss, (0, 1))(jnp.asarray(student), jnp.asarray(teacher))
    np.testing.assert_allclose(by_student, expected, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(by_teacher, -expected, rtol=1e-7, atol=1e-9)


def test_what_cannot_be_matched_is_refused():
    student, teacher = jnp.float32(maps())
    with pytest.raises(ValueError, match="adapter"):
        losses.frequency_attention(student, teacher[..., :2])
    with pytest.raises(ValueError, match="leading axes"):
        losses.frequency_attention(student, teacher[:1])
    with pytest.raises(ValueError, match="scale"):
        losses.frequency_attention(student, teacher, scale="mean")
    with pytest.raises(ValueError, match="teacher"):
        losses.frequency_attention(student, teacher[0])
    with pytest.raises(ValueError, match="relative"):
        losses.frequency_attention(student, teacher, mode="relative", scale="channel")
