"""The frequency gap against a Fourier sum written out, and against ADD's loss; embeddings."""

import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import losses
from kdjax.evaluate.explain.embedding import embed
from kdjax.evaluate.explain.gap import frequency_gap

rng = np.random.default_rng(0)


def maps():
    return rng.normal(size=(3, 4, 6, 5)), rng.normal(size=(3, 4, 6, 5))


def test_it_is_the_sum_that_the_paper_writes():
    student, teacher = maps()
    found = frequency_gap(student, teacher)
    rows, columns = np.arange(4)[:, None], np.arange(6)[None]
    for u, v in ((0, 0), (1, 4), (2, 3), (3, 5)):
        wave = np.exp(-2j * np.pi * (u * rows / 4 + v * columns / 6)) / 24
        sums = [(wave[None, :, :, None] * each).sum((1, 2)) for each in (student, teacher)]
        distance = (np.abs(sums[0] - sums[1]) ** 2).sum(-1)
        energy = (teacher**2).sum((1, 2, 3)) / 24
        np.testing.assert_allclose(found[:, u, v], distance / energy, rtol=1e-10)


def test_its_sum_is_adds_relative_loss_without_attention():
    student, teacher = maps()
    wanted = losses.frequency_attention(
        jnp.asarray(student, jnp.float32),
        jnp.asarray(teacher, jnp.float32),
        gamma=0.0,
        mode="relative",
    )
    np.testing.assert_allclose(frequency_gap(student, teacher).sum((1, 2)), wanted, rtol=1e-5)


def test_a_wave_is_found_at_its_frequency():
    teacher = rng.normal(size=(1, 8, 8, 2))
    wave = np.cos(2 * np.pi * 3 * np.arange(8) / 8)[None, None, :, None]
    found = frequency_gap(teacher + wave, teacher)[0]
    assert {tuple(place) for place in np.argwhere(found > 1e-9)} == {(0, 3), (0, 5)}


def test_a_student_that_is_nothing_lacks_everything():
    _, teacher = maps()
    np.testing.assert_allclose(frequency_gap(0 * teacher, teacher).sum((1, 2)), 1)
    np.testing.assert_array_equal(frequency_gap(teacher, teacher), 0)
    assert np.isnan(frequency_gap(teacher, 0 * teacher)).all()
    with pytest.raises(ValueError, match="shapes must be equal"):
        frequency_gap(teacher, teacher[..., :4])


def test_points_are_scikit_learns_and_the_same_twice():
    groups = np.repeat(np.arange(3), 12)
    features = rng.normal(size=(36, 20)) + 20 * np.eye(3, 20)[groups]
    found = embed(features)
    _, values, axes = np.linalg.svd(features - features.mean(0), full_matrices=False)
    np.testing.assert_allclose(found.explained, (values**2 / (values**2).sum())[:2], rtol=1e-9)
    wanted = (features - features.mean(0)) @ axes[:2].T
    np.testing.assert_allclose(np.abs(found.pca), np.abs(wanted), rtol=1e-7, atol=1e-9)
    # groups that lie far apart stay apart
    for points in (found.pca, found.tsne):
        centres = np.stack([points[groups == each].mean(0) for each in range(3)])
        nearest = ((points[:, None] - centres) ** 2).sum(-1).argmin(1)
        np.testing.assert_array_equal(nearest, groups)
    np.testing.assert_array_equal(embed(features).tsne, found.tsne)


@pytest.mark.parametrize("shape", [(4, 1), (5, 2), (6, 100)])
def test_few_images_and_few_features_are_points_too(shape):
    found = embed(rng.normal(size=shape))
    assert found.pca.shape == found.tsne.shape == (shape[0], 2)
    assert np.isfinite(found.pca).all()
    assert np.isfinite(found.tsne).all()


def test_features_that_are_all_the_same_are_one_point():
    found = embed(np.ones((9, 4)))
    assert not found.pca.any()
    assert not found.tsne.any()
    with pytest.raises(ValueError, match="3 images; points take at least 4"):
        embed(np.ones((3, 4)))
    with pytest.raises(ValueError, match="not finite"):
        embed(np.full((5, 2), np.inf))
