from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from kdjax.losses import contrastive

nce, crd = jax.jit(contrastive.contrastive_nce), jax.jit(contrastive.crd)
normalizer = jax.jit(contrastive.contrastive_normalizer)
OFFICIAL = np.load(Path(__file__).with_name("rep_distiller.npz"), allow_pickle=False)
NUMBERS = {"temperature": 0.05, "dataset_size": 100}
MASK = np.array([[1, 0, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0]])


def unit(*shape, first=1):
    """Rows of norm 1, without a random stream."""
    count = np.prod(shape)
    rows = np.sin(np.arange(first, first + count, dtype=np.float64) ** 2).reshape(shape)
    return np.float32(rows / np.linalg.norm(rows, axis=-1, keepdims=True))


TEACHER, STUDENT, NEGATIVES = unit(3, 5, first=101), unit(3, 5), unit(3, 4, 5, first=401)


def reference(teacher, student, negatives, *, temperature, dataset_size, mask=None, z=1.0):
    """Eq. 7 and 8 pair by pair, in float64."""
    batch, count, _ = negatives.shape
    mask = np.ones((batch, count)) if mask is None else mask

    def h(t, s):
        power = np.exp(np.float64(t) @ np.float64(s) / temperature) / z
        return power / (power + count / dataset_size)

    losses = []
    for i in range(batch):
        valid = [k for k in range(count) if mask[i, k]]
        repelled = [-np.log(1 - h(teacher[i], negatives[i, k])) for k in valid]
        loss = -np.log(h(teacher[i], student[i]))
        losses.append(loss + (count * np.mean(repelled) if valid else 0.0))
    return np.array(losses)


@pytest.mark.parametrize("mask", [None, MASK])
@pytest.mark.parametrize("temperature", [0.05, 0.5])
def test_it_is_the_negative_of_equation_eight(temperature, mask):
    numbers = {"temperature": temperature, "dataset_size": 100, "mask": mask}
    got = nce(TEACHER, STUDENT, NEGATIVES, **numbers)
    assert got.shape == (3,)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, reference(TEACHER, STUDENT, NEGATIVES, **numbers), rtol=1e-5)


def test_one_pair_worked_by_hand():
    e = np.eye(2, dtype=np.float32)
    got = nce(e[:1], e[:1], e[None, 1:], temperature=1.0, dataset_size=4)
    c = 1 / 4
    expected = -np.log(np.e / (np.e + c)) - np.log(c / (1 + c))
    np.testing.assert_allclose(got, [expected], rtol=1e-6)


def test_missing_negatives_weigh_nothing_and_the_rest_counts_for_k():
    whole = nce(TEACHER, STUDENT, NEGATIVES, **NUMBERS)
    twice = jnp.concatenate([NEGATIVES[:, :2], NEGATIVES[:, :2]], axis=1)
    half = jnp.asarray([[1, 1, 0, 0]] * 3)
    masked = nce(TEACHER, STUDENT, NEGATIVES, mask=half, **NUMBERS)
    np.testing.assert_allclose(
        masked, nce(TEACHER, STUDENT, twice, mask=None, **NUMBERS), rtol=1e-6
    )
    doubled = nce(TEACHER, STUDENT, NEGATIVES, mask=jnp.asarray([[2.0, 1, 1, 0]] * 3), **NUMBERS)
    twice = NEGATIVES[:, [0, 0, 1, 2]]
    np.testing.assert_allclose(doubled, nce(TEACHER, STUDENT, twice, **NUMBERS), rtol=1e-6)
    everything = nce(TEACHER, STUDENT, NEGATIVES, mask=jnp.ones((3, 4), bool), **NUMBERS)
    np.testing.assert_allclose(everything, whole, rtol=1e-6)


def test_what_stands_where_the_mask_is_zero_does_not_matter():
    def value_and_grads(negatives):
        def total(*embeddings):
            return nce(*embeddings, mask=MASK, **NUMBERS).sum()

        return jax.value_and_grad(total, (0, 1, 2))(TEACHER, STUDENT, jnp.float32(negatives))

    hidden = np.where(MASK[..., None] > 0, NEGATIVES, np.nan)
    value, grads = value_and_grads(hidden)
    expected_value, expected = value_and_grads(NEGATIVES)
    assert value == expected_value
    for got, want in zip(grads, expected, strict=True):
        np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(grads[2][MASK == 0], 0)


def test_without_any_negative_the_positive_pair_remains():
    got = nce(TEACHER, STUDENT, NEGATIVES, mask=jnp.zeros((3, 4)), **NUMBERS)
    scores = (np.float64(TEACHER) * STUDENT).sum(-1) / 0.05 - np.log(4 / 100)
    np.testing.assert_allclose(got, np.log1p(np.exp(-scores)), rtol=1e-5)


@pytest.mark.parametrize("mask", [None, MASK])
def test_gradients_are_those_of_the_values(mask):
    with jax.enable_x64(True):
        arrays = [jnp.float64(x) for x in (TEACHER, STUDENT, NEGATIVES)]

        def loss(*embeddings):
            return nce(*embeddings, temperature=0.3, dataset_size=50, mask=mask, normalizer=2.0)

        assert loss(*arrays).dtype == jnp.float64
        check_grads(loss, arrays, 1)


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e3, 1e15])
def test_values_and_gradients_are_finite_at_any_score(scale):
    def total(*embeddings):
        return nce(*embeddings, **NUMBERS).sum()

    arrays = [jnp.float32(scale * x) for x in (TEACHER, STUDENT, NEGATIVES)]
    value, grads = jax.value_and_grad(total, (0, 1, 2))(*arrays)
    assert jnp.isfinite(value)
    assert all(jnp.isfinite(grad).all() for grad in grads)


def test_bfloat16_embeddings_are_taken_in_float32():
    narrow = [jnp.bfloat16(x) for x in (TEACHER, STUDENT, NEGATIVES)]
    got = nce(*narrow, **NUMBERS)
    assert got.dtype == jnp.float32
    np.testing.assert_array_equal(got, nce(*(x.astype(jnp.float32) for x in narrow), **NUMBERS))


@pytest.mark.parametrize("mask", [None, MASK])
def test_the_normaliser_makes_the_scores_average_to_one_in_m(mask):
    z = normalizer(TEACHER, STUDENT, NEGATIVES, mask=mask, **NUMBERS)
    pairs = np.concatenate([STUDENT[:, None], NEGATIVES], axis=1).astype(np.float64)
    powers = np.exp(np.einsum("bd,bkd->bk", np.float64(TEACHER), pairs) / 0.05)
    counted = np.concatenate([np.ones((3, 1)), np.ones((3, 4)) if mask is None else mask], axis=1)
    np.testing.assert_allclose(z, 100 * powers[counted > 0].mean(), rtol=1e-5)
    arguments = {"mask": mask, **NUMBERS}
    got = nce(TEACHER, STUDENT, NEGATIVES, normalizer=z, **arguments)
    expected = reference(TEACHER, STUDENT, NEGATIVES, z=np.float64(z), **arguments)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_the_normaliser_leaves_padding_out_takes_no_gradient_and_stays_finite():
    padded = [np.concatenate([x, np.full_like(x, np.nan)]) for x in (TEACHER, STUDENT, NEGATIVES)]
    alive = np.array([1, 1, 1, 0, 0, 0])
    z = normalizer(TEACHER, STUDENT, NEGATIVES, **NUMBERS)
    np.testing.assert_allclose(normalizer(*padded, example_mask=alive, **NUMBERS), z, rtol=1e-6)
    assert normalizer(*padded, example_mask=0 * alive, **NUMBERS) == 1
    grad = jax.grad(lambda t: normalizer(t, STUDENT, NEGATIVES, **NUMBERS))(TEACHER)
    np.testing.assert_array_equal(grad, np.zeros((3, 5)))
    cut = normalizer(TEACHER, TEACHER, NEGATIVES, temperature=1e-3, dataset_size=100)
    assert 1e38 < cut < np.inf


def test_the_normaliser_of_four_devices_is_that_of_one():
    teacher, student, negatives = unit(8, 5), unit(8, 5, first=77), unit(8, 3, 5, first=200)
    mask = np.arange(24).reshape(8, 3) % 5 > 0
    alive = np.array([1, 1, 0, 1, 0, 0, 1, 1])

    def z(teacher, student, negatives, mask, alive, axis_name=None):
        masks = {"mask": mask, "example_mask": alive}
        return contrastive.contrastive_normalizer(
            teacher, student, negatives, axis_name=axis_name, **masks, **NUMBERS
        )

    arguments = (teacher, student, negatives, mask, alive)
    shards = [x.reshape(4, 2, *x.shape[1:]) for x in arguments]
    four = jax.pmap(lambda *a: z(*a, axis_name="batch"), axis_name="batch")(*shards)
    np.testing.assert_allclose(four, np.full(4, z(*arguments)), rtol=1e-6)


CRD_NUMBERS = {"temperature": 0.07, "dataset_size": 12}
CRD_INPUTS = (TEACHER, STUDENT, unit(3, 4, 5, first=201), unit(3, 4, 5, first=301))


@pytest.mark.parametrize("wide", [False, True])
def test_crd_equals_the_authors_code(wide):
    """Side 1 of the recorded values is the student's, side 2 the teacher's."""
    dtype, tolerance = (np.float64, 1e-11) if wide else (np.float32, 1e-5)
    with jax.enable_x64(wide):
        recorded = {k: v.astype(dtype) for k, v in OFFICIAL.items() if k.startswith("crd_")}
        numbers = {
            "temperature": OFFICIAL["crd_temperature"].item(),
            "dataset_size": OFFICIAL["crd_n_data"].item(),
        }
        student, teacher = recorded["crd_v1"], recorded["crd_v2"]
        of_student = recorded["crd_positive_1"], recorded["crd_negatives_1"]
        of_teacher = recorded["crd_positive_2"], recorded["crd_negatives_2"]
        z = normalizer(student, *of_teacher, **numbers), normalizer(teacher, *of_student, **numbers)
        np.testing.assert_allclose(z, [OFFICIAL["crd_z1"], OFFICIAL["crd_z2"]], rtol=tolerance)

        def loss(teacher, student):
            return crd(
                teacher,
                student,
                of_teacher[1],
                of_student[1],
                teacher_positive=of_teacher[0],
                student_positive=of_student[0],
                teacher_normalizer=z[1],
                student_normalizer=z[0],
                **numbers,
            ).mean()

        value, grads = jax.value_and_grad(loss, (0, 1))(teacher, student)
        np.testing.assert_allclose(value, OFFICIAL["crd_loss"], rtol=tolerance)
        for got, side in zip(grads, (2, 1), strict=True):
            expected = OFFICIAL[f"crd_gradient_v{side}"]
            largest = np.abs(expected).max()
            np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance * largest)


@pytest.mark.parametrize("epsilon", [0.0, 0.1])
def test_crd_is_its_formula_in_both_directions(epsilon):
    teacher, student, *negatives = (np.float64(x) for x in CRD_INPUTS)
    z, c = (30.0, 7.0), 4 / 12
    expected = np.zeros(3)
    for i in range(3):
        turns = zip((teacher, student), (student, teacher), negatives[::-1], z, strict=True)
        for anchor, positive, others, scale in turns:
            close = np.exp(anchor[i] @ positive[i] / 0.07) / scale
            far = np.exp(others[i] @ anchor[i] / 0.07) / scale
            expected[i] -= np.log(close / (close + c + epsilon))
            expected[i] -= np.log(c / (far + c + epsilon)).sum()
    numbers = {"teacher_normalizer": z[0], "student_normalizer": z[1], **CRD_NUMBERS}
    got = contrastive.crd(*CRD_INPUTS, epsilon=epsilon, **numbers)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    if not epsilon:
        of_teacher, of_student = CRD_INPUTS[2:]
        by_teacher = nce(TEACHER, STUDENT, of_student, normalizer=z[0], **CRD_NUMBERS)
        by_student = nce(STUDENT, TEACHER, of_teacher, normalizer=z[1], **CRD_NUMBERS)
        np.testing.assert_allclose(got, by_teacher + by_student, rtol=1e-6)


def test_gradients_of_crd_are_those_of_the_values():
    with jax.enable_x64(True):
        arrays = [jnp.float64(x) for x in CRD_INPUTS]
        check_grads(lambda *a: crd(*a, temperature=0.4, dataset_size=12), arrays, 1)


def test_compiling_changes_nothing():
    arguments, numbers = (TEACHER, STUDENT, NEGATIVES), {"mask": MASK, **NUMBERS}
    plain = contrastive.contrastive_nce(*arguments, **numbers)
    np.testing.assert_allclose(nce(*arguments, **numbers), plain, rtol=1e-6)
    plain = contrastive.crd(*CRD_INPUTS, **CRD_NUMBERS)
    np.testing.assert_allclose(crd(*CRD_INPUTS, **CRD_NUMBERS), plain, rtol=1e-6)


@pytest.mark.parametrize(
    ("match", "change"),
    [
        ("teacher .* student", {"student": STUDENT[:2]}),
        ("negatives has shape", {"negatives": NEGATIVES[..., :4]}),
        ("negatives has shape", {"negatives": NEGATIVES[:, 0]}),
        ("number of negatives=0", {"negatives": NEGATIVES[:, :0]}),
        ("mask has shape", {"mask": MASK[:, :2]}),
        ("temperature", {"temperature": 0.0}),
        ("dataset_size", {"dataset_size": -1}),
        ("normalizer", {"normalizer": 0.0}),
    ],
)
def test_wrong_arguments_are_refused(match, change):
    arrays = {"teacher": TEACHER, "student": STUDENT, "negatives": NEGATIVES}
    with pytest.raises(ValueError, match=match):
        contrastive.contrastive_nce(**{**arrays, **NUMBERS, **change})
    with pytest.raises(ValueError, match="epsilon"):
        contrastive.crd(*CRD_INPUTS, epsilon=-1.0, **CRD_NUMBERS)
    with pytest.raises(ValueError, match="example_mask"):
        contrastive.contrastive_normalizer(*arrays.values(), example_mask=MASK, **NUMBERS)
