import functools
import inspect
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from kdjax import losses
from kdjax.losses.view_contrast import draw_partners

OFFICIAL = np.load(Path(__file__).with_name("official_add.npz"), allow_pickle=False)
LABELS = np.array([0, 1, 1, 0, 1, 0, 1, 1])
WEIGHTS = {"gamma": 100.0, "eta": 50.0, "margin": 0.3}
KEY = jax.random.key(5)


def densities(batch=8, views=3, bins=5, seed=0):
    drawn = np.random.default_rng(seed).dirichlet(np.ones(bins), size=(2, batch, views))
    return np.float32(drawn)


@functools.partial(jax.jit, static_argnames=("turn", "mode"))
def draw(labels, valid, key, turn, mode):
    return draw_partners(labels, jax.random.fold_in(key, turn), views=3, valid=valid, mode=mode)


def partners(labels=LABELS, valid=None, key=KEY, turn=0, mode="paper"):
    valid = np.ones(len(labels), bool) if valid is None else np.asarray(valid) > 0
    return draw(np.asarray(labels), valid, key, turn, mode)


def distance(a, b, cost):
    difference = np.float64(a) - np.float64(b)
    if cost == "squared":
        return (difference**2).sum(-1)
    return np.abs(np.cumsum(difference, -1)).sum(-1)


def mean(values):
    return sum(values) / len(values) if values else 0.0


def reference(student, teacher, turns, valid, *, cost="squared", relative=False, per_view=False):
    """Eq. 9 example by example, for given partners: the loss and the closed fraction."""
    batch, views = student.shape[:2]
    alive = [b for b in range(batch) if valid[b]]
    loss = WEIGHTS["gamma"] * mean([distance(student[b], teacher[b], cost).mean() for b in alive])
    closed = []
    for (anchor, pool), drawn in turns:
        pull, push, shut = [], [], []
        for b in alive:
            unit = (np.float64(teacher[b]) ** 2).sum(-1).mean() if relative else 1.0
            each = range(views)
            if drawn.has_same[b]:
                near = [distance(anchor[b, v], pool[drawn.same[b, v], v], cost) for v in each]
                pull.append(np.mean(near))
            if drawn.has_other[b]:
                far = [distance(anchor[b, v], pool[drawn.other[b, v], v], cost) for v in each]
                far = np.array(far) if per_view else np.mean(far)
                gap = WEIGHTS["margin"] * unit - far
                push.append(np.mean(np.maximum(gap, 0)))
                shut.append(np.mean(gap <= 0))
        loss += WEIGHTS["eta"] * (mean(pull) + mean(push))
        closed.append(mean(shut))
    return loss, mean(closed)


@pytest.mark.parametrize("mask", [None, [1, 1, 0, 1, 1, 1, 0, 1]])
@pytest.mark.parametrize(
    ("both_directions", "relative_margin", "cost"),
    [(False, False, "squared"), (True, True, "squared"), (True, False, "transport")],
)
def test_it_is_equation_nine_for_the_drawn_partners(mask, both_directions, relative_margin, cost):
    student, teacher = densities()
    options = {
        "cost": cost,
        "both_directions": both_directions,
        "relative_margin": relative_margin,
        "mask": None if mask is None else np.float32(mask),
    }
    both = functools.partial(losses.multi_view_and_closed, **WEIGHTS, **options)
    got = jax.jit(both)(student, teacher, LABELS, KEY)
    turns = [((student, teacher), partners(valid=mask))]
    if both_directions:
        turns.append(((teacher, student), partners(valid=mask, turn=1)))
    valid = [1] * 8 if mask is None else mask
    expected = reference(student, teacher, turns, valid, cost=cost, relative=relative_margin)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_the_hinge_is_open_below_the_margin_and_closed_above():
    student, teacher = densities()
    closed = {}
    for margin in (1e-6, 10.0):
        weights = {**WEIGHTS, "margin": margin, "eta": 1.0, "gamma": 0.0}
        loss, closed[margin] = losses.multi_view_and_closed(
            student, teacher, LABELS, KEY, **weights
        )
        drawn = partners()
        near = distance(student, teacher[drawn.same, np.arange(3)], "squared").mean()
        far = distance(student, teacher[drawn.other, np.arange(3)], "squared").mean()
        expected = near if margin < 1 else near + 10.0 - far
        np.testing.assert_allclose(loss, expected, rtol=1e-5)
    assert closed == {1e-6: 1.0, 10.0: 0.0}


@pytest.mark.parametrize("mode", ["paper", "official"])
def test_partners_are_of_the_right_class_and_never_padding(mode):
    valid = np.array([1, 1, 0, 1, 1, 1, 0, 1], bool)
    for seed in range(30):
        drawn = partners(valid=valid, key=jax.random.key(seed), mode=mode)
        for b in np.flatnonzero(valid):
            assert drawn.has_same[b]
            assert drawn.has_other[b]
            for same, other in zip(drawn.same[b], drawn.other[b], strict=True):
                assert valid[same]
                assert valid[other]
                assert LABELS[same] == LABELS[b]
                assert LABELS[other] != LABELS[b]
                assert same != b or mode == "official"
        np.testing.assert_array_equal(drawn.has_same, valid)
        if mode == "official":
            for view in range(3):
                members = drawn.same[valid, view].tolist()
                assert sorted(members) == np.flatnonzero(valid).tolist()


def test_every_candidate_is_drawn_about_equally_often():
    count = np.zeros((2, 8))
    for seed in range(300):
        drawn = partners(key=jax.random.key(seed))
        count[0, drawn.same[1, 0]] += 1
        count[1, drawn.other[1, 0]] += 1
    np.testing.assert_allclose(
        count[0], np.where(LABELS == 1, 75, 0) * (np.arange(8) != 1), atol=30
    )
    np.testing.assert_allclose(count[1], np.where(LABELS == 0, 100, 0), atol=30)


@pytest.mark.parametrize("mode", ["paper", "official"])
@pytest.mark.parametrize("labels", [[1], [0, 0, 0], [0, 1]])
def test_missing_partners_are_left_out(labels, mode):
    student, teacher = densities(len(labels))
    options = {**WEIGHTS, "mode": mode}

    def loss(s):
        return losses.multi_view(s, teacher, jnp.asarray(labels), KEY, **options)

    value, grad = jax.jit(jax.value_and_grad(loss))(student)
    assert jnp.isfinite(grad).all()
    if mode == "paper":
        drawn = partners(labels)
        expected = reference(student, teacher, [((student, teacher), drawn)], [1] * len(labels))[0]
        np.testing.assert_allclose(value, expected, rtol=1e-5)
    if len(labels) == 1 and mode == "paper":
        own = WEIGHTS["gamma"] * losses.sliced_wasserstein(student, teacher)[0]
        np.testing.assert_allclose(value, own, rtol=1e-6)


def test_a_batch_of_padding_alone_is_zero():
    student, teacher = densities()

    def loss(s):
        return losses.multi_view(s, teacher, LABELS, KEY, mask=jnp.zeros(8), **WEIGHTS)

    value, grad = jax.jit(jax.value_and_grad(loss))(student)
    assert value == 0
    np.testing.assert_array_equal(grad, np.zeros(student.shape))


@pytest.mark.parametrize("options", [{}, {"both_directions": True}, {"mode": "official"}])
def test_gradients_are_those_of_the_values(options):
    with jax.enable_x64(True):
        student, teacher = jnp.float64(densities())

        def loss(s, t):
            return losses.multi_view(s, t, LABELS, KEY, **WEIGHTS, **options)

        assert loss(student, teacher).dtype == jnp.float64
        check_grads(jax.jit(loss), (student, teacher), 1, modes=["rev"])


@pytest.mark.parametrize("cost", ["squared", "transport"])
def test_equal_and_zero_densities_have_finite_gradients(cost):
    _, teacher = densities()
    for student in (teacher, np.zeros_like(teacher)):

        def loss(s):
            return losses.multi_view(
                s, teacher, LABELS, KEY, cost=cost, relative_margin=True, **WEIGHTS
            )

        assert jnp.isfinite(jax.jit(jax.grad(loss))(student)).all()


def test_bfloat16_densities_are_taken_in_float32():
    student, teacher = jnp.bfloat16(densities())
    assert losses.multi_view(student, teacher, LABELS, KEY, **WEIGHTS).dtype == jnp.float32


def test_compiling_changes_nothing():
    student, teacher = densities()

    def loss(s, t, key):
        return losses.multi_view(s, t, LABELS, key, **WEIGHTS)

    np.testing.assert_allclose(
        jax.jit(loss)(student, teacher, KEY), loss(student, teacher, KEY), rtol=1e-6
    )


@pytest.mark.parametrize(
    ("options", "mask"),
    [
        ({}, [1] * 8),
        ({"both_directions": True, "relative_margin": True}, [1, 1, 0, 1, 0, 0, 1, 1]),
        pytest.param({"mode": "official"}, [1, 1, 0, 1, 0, 0, 1, 1], marks=pytest.mark.slow),
    ],
)
def test_four_devices_equal_one(options, mask):
    student, teacher = densities()
    mask = np.float32(mask)

    def loss(student, teacher, labels, mask, axis_name=None):
        both = losses.multi_view_and_closed(
            student, teacher, labels, KEY, mask=mask, axis_name=axis_name, **WEIGHTS, **options
        )
        return both if axis_name is None else jax.lax.pmean(both, axis_name)

    one = jax.jit(loss)(student, teacher, LABELS, mask)

    def shard(x):
        return x.reshape(4, 2, *x.shape[1:])

    arguments = [shard(x) for x in (student, teacher, LABELS, mask)]
    four = jax.pmap(lambda *a: loss(*a, "batch"), axis_name="batch")(*arguments)
    np.testing.assert_allclose(four[0], np.full(4, one[0]), rtol=1e-6)
    np.testing.assert_allclose(four[1], np.full(4, one[1]), rtol=1e-6)

    def local(scale, student, teacher, labels, mask):
        def scaled(scale):
            return losses.multi_view(
                scale * student, teacher, labels, KEY, mask=mask, axis_name="batch",
                **WEIGHTS, **options,
            )  # fmt: skip

        return jax.lax.pmean(jax.grad(scaled)(scale), "batch")

    four = jax.pmap(local, axis_name="batch", in_axes=(None, 0, 0, 0, 0))(1.1, *arguments)
    whole = lambda scale: loss(scale * student, teacher, LABELS, mask)[0]  # noqa: E731
    one = jax.jit(jax.grad(whole))(1.1)
    np.testing.assert_allclose(four, np.full(4, one), rtol=1e-5)


@pytest.mark.parametrize("channels", [8, 10])
def test_official_mode_equals_the_published_code_for_its_draws(channels, monkeypatch):
    """The recorded partners take the place of ours; everything else is ours."""
    from kdjax.losses import view_contrast

    turns = iter(range(2))

    def recorded(labels, rng, *, views, valid, axis_name, mode):
        turn = next(turns)
        same, other = (OFFICIAL[f"{name}_{channels}"][:, turn].T for name in ("same", "other"))
        return view_contrast.Partners(jnp.asarray(same), valid, jnp.asarray(other), valid)

    monkeypatch.setattr(view_contrast, "draw_partners", recorded)

    def loss(student):
        student, teacher = losses.view_densities(
            student,
            OFFICIAL[f"teacher_{channels}"],
            OFFICIAL[f"directions_{channels}"],
            mode="official",
        )
        weights = {"gamma": 100.0, "eta": 50.0, "margin": 0.012}
        labels = OFFICIAL["labels"]
        return losses.multi_view(student, teacher, labels, KEY, mode="official", **weights)

    value, grad = jax.jit(jax.value_and_grad(loss))(OFFICIAL[f"student_{channels}"])
    np.testing.assert_allclose(value, OFFICIAL[f"multi_view_{channels}"], rtol=1e-5)
    expected = OFFICIAL[f"multi_view_gradient_{channels}"]
    np.testing.assert_allclose(grad, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())


def test_official_mode_is_equation_nine_view_by_view():
    student, teacher = densities()
    got = losses.multi_view_and_closed(student, teacher, LABELS, KEY, mode="official", **WEIGHTS)
    turns = [
        ((student, teacher), partners(mode="official")),
        ((teacher, student), partners(mode="official", turn=1)),
    ]
    expected = reference(student, teacher, turns, [1] * 8, per_view=True)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_wrong_arguments_are_refused():
    student, teacher = densities()
    for match, call in {
        "shapes": lambda: losses.multi_view(student, teacher[:, :2], LABELS, KEY, **WEIGHTS),
        "leading axes": lambda: losses.multi_view(student, teacher, LABELS[:3], KEY, **WEIGHTS),
        "mode": lambda: losses.multi_view(student, teacher, LABELS, KEY, mode="x", **WEIGHTS),
        "cost": lambda: losses.multi_view(student, teacher, LABELS, KEY, cost="x", **WEIGHTS),
    }.items():
        with pytest.raises(ValueError, match=match):
            call()


def test_both_forms_take_the_same_arguments():
    short, long = (
        inspect.signature(function).parameters
        for function in (losses.multi_view, losses.multi_view_and_closed)
    )
    assert short == long
