import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from sklearn.metrics.pairwise import cosine_similarity, euclidean_distances

from kdjax.losses.relations import pkt, rkd_angle, rkd_distance, similarity_preserving

rng = np.random.default_rng(0)
STUDENT, TEACHER = rng.normal(size=(5, 6)), rng.normal(size=(5, 2, 3))
MASK = np.array([1, 0, 1, 1, 0, 1, 1], np.float32)


def rows(x):
    return np.float64(x).reshape(len(x), -1)


def smooth(error):
    return np.where(np.abs(error) < 1, error**2 / 2, np.abs(error) - 0.5)


def distance_reference(student, teacher):
    result = []
    for x in (student, teacher):
        distances = euclidean_distances(rows(x))
        result.append(distances * len(x) * (len(x) - 1) / distances.sum())
    return smooth(result[0] - result[1]).mean()


def angles(x):
    result = np.zeros((len(x),) * 3)
    for i, j, k in np.ndindex(result.shape):
        if i not in (j, k):
            a, b = x[j] - x[i], x[k] - x[i]
            result[i, j, k] = a @ b / np.sqrt((a @ a) * (b @ b))
    return result


def angle_reference(student, teacher):
    return smooth(angles(rows(student)) - angles(rows(teacher))).mean()


def similarity_reference(student, teacher):
    result = []
    for x in (student, teacher):
        products = rows(x) @ rows(x).T
        result.append(products / np.linalg.norm(products, axis=1, keepdims=True))
    return ((result[0] - result[1]) ** 2).mean()


def pkt_reference(student, teacher):
    result = []
    for x in (student, teacher):
        similarity = (cosine_similarity(rows(x)) + 1) / 2
        result.append(similarity / similarity.sum(axis=1, keepdims=True))
    q, p = result
    return (p * np.log((p + 1e-7) / (q + 1e-7))).mean()


CASES = {
    rkd_distance: distance_reference,
    rkd_angle: angle_reference,
    similarity_preserving: similarity_reference,
    pkt: pkt_reference,
}
every_loss = pytest.mark.parametrize("loss", CASES)
COMPILED = {loss: jax.jit(loss) for loss in CASES}
GRADS = {loss: jax.jit(jax.value_and_grad(loss, (0, 1))) for loss in CASES}


@every_loss
@pytest.mark.parametrize("spread", [1.0, 0.05])
def test_values_are_those_of_the_formula(loss, spread):
    student = STUDENT * [1, 1, 1, 1, 1, 8] if spread == 1 else rows(TEACHER) + spread * STUDENT
    expected = CASES[loss](student, TEACHER)
    got = COMPILED[loss](np.float32(student), np.float32(TEACHER))
    assert got.shape == ()
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, expected, rtol=1e-5 if spread == 1 else 1e-4)
    with jax.enable_x64(True):
        got = COMPILED[loss](student, TEACHER)
        assert got.dtype == jnp.float64
        np.testing.assert_allclose(got, expected, rtol=1e-10)


@every_loss
def test_compiling_changes_nothing(loss):
    student, teacher = np.float32(STUDENT), np.float32(TEACHER)
    np.testing.assert_allclose(COMPILED[loss](student, teacher), loss(student, teacher), rtol=1e-5)


@every_loss
def test_gradients_are_those_of_the_values(loss):
    with jax.enable_x64(True):
        check_grads(COMPILED[loss], (jnp.asarray(STUDENT), jnp.asarray(TEACHER)), 1)


def with_two_of_nan(x):
    padded = np.full((7, *x.shape[1:]), np.nan, np.float32)
    padded[MASK > 0] = x
    return padded


@every_loss
def test_what_is_masked_has_no_influence(loss):
    keep = MASK > 0
    value, grads = GRADS[loss](with_two_of_nan(STUDENT), with_two_of_nan(TEACHER), mask=MASK)
    expected, expected_grads = GRADS[loss](np.float32(STUDENT), np.float32(TEACHER))
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    for grad, expected in zip(grads, expected_grads, strict=True):
        grad = np.asarray(grad)
        np.testing.assert_allclose(grad[keep], expected, rtol=1e-4, atol=1e-7)
        np.testing.assert_array_equal(grad[~keep], np.zeros_like(grad[~keep]))


def test_a_mask_may_be_boolean():
    student, teacher = with_two_of_nan(STUDENT), with_two_of_nan(TEACHER)
    got = COMPILED[similarity_preserving](student, teacher, mask=MASK > 0)
    np.testing.assert_allclose(got, similarity_reference(STUDENT, TEACHER), rtol=1e-5)


@every_loss
@pytest.mark.parametrize("count", [0, 1])
def test_a_batch_of_one_or_none_costs_nothing(loss, count):
    mask = np.float32(np.arange(7) < count)
    value, grads = GRADS[loss](with_two_of_nan(STUDENT), with_two_of_nan(TEACHER), mask=mask)
    np.testing.assert_allclose(value, 0, atol=1e-12)
    for grad in grads:
        np.testing.assert_allclose(grad, np.zeros(grad.shape), atol=1e-6)
    if count:
        got = COMPILED[loss](np.float32(STUDENT[:1]), np.float32(TEACHER[:1]))
        np.testing.assert_allclose(got, 0, atol=1e-12)


@every_loss
def test_equal_relations_cost_nothing(loss):
    value, grads = GRADS[loss](np.float32(STUDENT), np.float32(STUDENT))
    np.testing.assert_allclose(value, 0, atol=1e-10)
    for grad in grads:
        np.testing.assert_allclose(grad, np.zeros(grad.shape), atol=1e-6)


@every_loss
@pytest.mark.parametrize("size", [0.0, 1.0, 1e-30, 1e15])
def test_identical_or_zero_or_extreme_examples_have_finite_gradients(loss, size):
    two_and_three = np.array([1, 1, 0, 0, 0])[:, None] * np.ones(6)
    for student in (np.ones((5, 6)), STUDENT, two_and_three):
        value, grads = GRADS[loss](np.float32(student * size), np.float32(TEACHER))
        assert np.isfinite(value)
        assert all(np.isfinite(grad).all() for grad in grads)


@every_loss
@pytest.mark.parametrize("size", [1e-6, 1e15])
def test_the_scale_of_the_features_does_not_count(loss, size):
    got = COMPILED[loss](np.float32(STUDENT * size), np.float32(TEACHER))
    np.testing.assert_allclose(got, CASES[loss](STUDENT, TEACHER), rtol=2e-5)


@pytest.mark.parametrize("loss", [rkd_distance, rkd_angle])
def test_two_neighbours_far_from_the_origin_keep_their_digits(loss):
    student = np.float32(STUDENT + 100)
    student[1] = student[0] + np.float32([1e-3, 0, 2e-3, 0, 0, 0])
    expected = CASES[loss](rows(student) - 100, TEACHER)
    got = COMPILED[loss](student, np.float32(TEACHER))
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_close_neighbourhoods_keep_their_digits():
    student, teacher = np.float32(TEACHER.reshape(5, 6) + 0.01 * STUDENT), np.float32(TEACHER)
    got = COMPILED[pkt](student, teacher)
    np.testing.assert_allclose(got, pkt_reference(student, teacher), rtol=2e-4)


def test_opposite_examples_share_no_neighbourhood():
    student, teacher = np.float32(STUDENT), np.float32(TEACHER)
    student[1], teacher[2:4] = -student[0], -teacher[4]
    value, grads = GRADS[pkt](student, teacher)
    np.testing.assert_allclose(value, pkt_reference(student, teacher), rtol=1e-5)
    assert all(np.isfinite(grad).all() for grad in grads)


@every_loss
def test_bfloat16_is_taken_in_float32(loss):
    student, teacher = jnp.bfloat16(STUDENT), jnp.bfloat16(TEACHER)
    got = COMPILED[loss](student, teacher)
    assert got.dtype == jnp.float32
    expected = COMPILED[loss](np.float32(student), np.float32(teacher))
    np.testing.assert_allclose(got, expected, rtol=1e-6)


@every_loss
def test_what_does_not_fit_is_refused(loss):
    with pytest.raises(ValueError, match="leading axes"):
        loss(STUDENT, TEACHER[:3])
    with pytest.raises(ValueError, match="mask"):
        loss(STUDENT, TEACHER, mask=MASK[:3])
    with pytest.raises(ValueError, match="mask"):
        loss(STUDENT, TEACHER, mask=np.ones((5, 1)))
