"""CKA against its definition in features, its estimators against an enumeration of all quadruples."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.evaluate.explain.similarity import cka, gram, hsic

rng = np.random.default_rng(0)


def features(count=12, width=7):
    return rng.normal(size=(count, width)), rng.normal(size=(count, width + 3))


def gram64(x):
    return x @ x.T


def test_biased_of_one_batch_it_is_kornblith_and_others_feature_form():
    x, y = features()
    x0, y0 = x - x.mean(0), y - y.mean(0)
    within = [np.linalg.norm(each.T @ each) for each in (x0, y0)]
    wanted = np.linalg.norm(y0.T @ x0) ** 2 / np.prod(within)
    found = cka([gram64(x)], [gram64(y)], unbiased=False)
    assert found == pytest.approx(wanted, rel=1e-12)


def test_the_unbiased_estimate_is_the_mean_over_all_quadruples():
    """Song et al.: HSIC_1 is the mean of k_ij (l_ij + l_qr - 2 l_iq) over all four different images."""
    k, m = (gram64(each) for each in features(6))
    terms = [
        k[i, j] * (m[i, j] + m[q, r] - 2 * m[i, q])
        for i, j, q, r in itertools.permutations(range(6), 4)
    ]
    assert hsic(k, m) == pytest.approx(np.mean(terms), rel=1e-10)


def test_gram_is_of_centred_features_and_hsic_does_not_mind():
    x, _ = features()
    maps = (x + 100).reshape(12, 1, 7, 1)
    centred = x - x.mean(0)
    found = np.asarray(gram(jnp.asarray(maps, jnp.float32)))
    np.testing.assert_allclose(found, centred @ centred.T / 7, atol=1e-4)
    for unbiased in (True, False):
        assert hsic(gram64(x), gram64(x), unbiased=unbiased) == pytest.approx(
            hsic(gram64(centred), gram64(centred), unbiased=unbiased), rel=1e-9
        )


def test_a_rotation_and_a_scale_change_nothing():
    x, y = features()
    rotation, _ = np.linalg.qr(rng.normal(size=(7, 7)))
    same = gram64(3 * x @ rotation + 5)
    assert cka([gram64(x)], [same]) == pytest.approx(1, abs=1e-9)
    assert cka([same], [gram64(y)]) == pytest.approx(cka([gram64(x)], [gram64(y)]), abs=1e-9)


def test_of_many_features_of_few_images_only_the_unbiased_one_says_nothing_in_common():
    pairs = [(rng.normal(size=(16, 4000)), rng.normal(size=(16, 4000))) for _ in range(40)]
    grams = [[gram64(each) for each in side] for side in zip(*pairs, strict=True)]
    assert cka(*grams, unbiased=False) > 0.9
    assert abs(cka(*grams)) < 0.05


def test_batches_give_what_the_whole_gives():
    shared = rng.normal(size=(640, 5))
    x, y = np.hstack([shared, rng.normal(size=(640, 5))]), shared + rng.normal(size=(640, 5))
    whole = cka([gram64(x)], [gram64(y)])
    parts = [[gram64(each[i : i + 32]) for i in range(0, 640, 32)] for each in (x, y)]
    assert cka(*parts) == pytest.approx(whole, abs=0.03)


def test_what_has_no_answer_is_not_a_number():
    constant, x = np.ones((8, 3)), rng.normal(size=(8, 3))
    assert np.isnan(cka([gram64(constant)], [gram64(x)]))
    assert np.isnan(cka([], []))
    with pytest.raises(ValueError, match="4 images or more"):
        hsic(np.eye(3), np.eye(3))
    with pytest.raises(ValueError, match="shapes must be equal"):
        hsic(np.eye(4), np.eye(5))
