"""What every method must do, whatever it computes."""

import functools

import jax
import jax.monitoring
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import log_softmax

from kdjax.train import parallel
from kdjax.train.step import make_gradient_norms, method_inputs, prepare_batch, update

UNMOVED = {"qad": {"perturbation": "none"}, "combine": {"parts": ("kd",)}}
"""Options that leave the weights where they are, so that the gradient is that of the terms."""


PAPERS = ("ckd", "add", "tokd", "qad")
OTHERS = ("supervised", "kd", "baselines", "combine")
of_the_papers = pytest.mark.parametrize(
    "method_name",
    [
        *(pytest.param(name, marks=pytest.mark.slow) for name in PAPERS),
        *(pytest.param(name, marks=pytest.mark.every) for name in OTHERS),
    ],
)
"""The slow suite takes the papers' four, `make test-every` the others."""


def first_step(bench, state, teachers, batch):
    """Returns all that can be asked of the first step: gradients, terms, metrics, teachers' gradients."""
    prepared = prepare_batch(bench.parts, state, batch)
    targets = bench.method.targets(teachers, prepared)
    inputs = method_inputs(bench.parts, state, targets, prepared, bench.axis_name)
    grads, *_ = bench.method.grads(state.params, *inputs)
    terms, _ = bench.method.terms(state.params, inputs)
    _, metrics = update(bench.parts, state, targets, prepared, bench.axis_name)
    found = {"grads": grads, "terms": terms, "metrics": metrics}
    return found if bench.axis_name is None else jax.lax.pmean(found, bench.axis_name)


@functools.cache
def measured(bench):
    """Returns `first_step` of a bench's first batch, compiled, on one device's copy."""
    return measure(bench, bench.batch(0))


def measure(bench, batch):
    compiled = compiled_first_step(bench)
    result = compiled(
        parallel.replicate(bench.state, bench.devices),
        parallel.replicate(bench.teachers, bench.devices),
        parallel.shard(batch, bench.devices),
    )
    return jax.device_get(parallel.unreplicate(result, bench.devices))


@functools.cache
def compiled_first_step(bench):
    return parallel.compile_step(functools.partial(first_step, bench), bench.devices)


def gradients(bench):
    return measured(bench)["grads"]


@functools.cache
def one_step(bench):
    """Returns the state after one compiled, donating step."""
    return bench.run(1)


def flat(tree):
    return {
        jax.tree_util.keystr(path): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


@pytest.mark.parametrize("dtype", ["float32", pytest.param("bfloat16", marks=pytest.mark.slow)])
def test_gradients_are_finite_and_none_is_all_zero(bench, method_name, dtype):
    grads = flat(gradients(bench(method_name, dtype=jnp.dtype(dtype))))
    for key, value in grads.items():
        assert value.dtype == np.float32, key
        assert np.isfinite(value).all(), key
        assert np.abs(value).max() > 0, key


@pytest.mark.slow
def test_second_step_compiles_nothing(bench, method_name):
    built = bench(method_name)
    step = built.compiled()
    state, _ = step(parallel.replicate(built.state, 1), built.teachers, built.batch(0))
    seen = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, seconds, **extra: seen.append(event)
    )
    try:
        state, _ = step(state, built.teachers, built.batch(1))
        jax.block_until_ready(state)
    finally:
        jax.monitoring.clear_event_listeners()
    assert not [event for event in seen if "compile" in event]


def test_step_keeps_structure_dtypes_and_shapes(bench, method_name):
    built = bench(method_name)
    after = one_step(built)
    before = jax.eval_shape(lambda: built.state)
    assert jax.tree.structure(after) == jax.tree.structure(before)
    for old, new in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        assert (old.dtype, old.shape) == (new.dtype, new.shape)


def test_step_changes_what_is_meant_and_nothing_else(bench, method_name):
    built = bench(method_name)
    before = jax.device_get(built.state)
    teachers = jax.device_get(built.teachers)
    after = one_step(built)
    assert int(after.step) == 1
    old, new = flat(before.params), flat(after.params)
    assert [key for key in old if np.array_equal(old[key], new[key])] == []
    old, new = flat(before.batch_stats), flat(after.batch_stats)
    assert [key for key in old if np.array_equal(old[key], new[key])] == []
    for name in ("hyper", "best_metric", "best_step", "stale"):
        jax.tree.map(np.testing.assert_array_equal, getattr(before, name), getattr(after, name))
    jax.tree.map(np.testing.assert_array_equal, teachers, jax.device_get(built.teachers))


def test_state_is_donated(bench, method_name):
    built = bench(method_name)
    state = jax.tree.map(jnp.copy, parallel.replicate(built.state, 1))
    built.compiled()(state, built.teachers, built.batch(0))
    donated = [leaf.is_deleted() for leaf in jax.tree.leaves(state.params)]
    assert all(donated)


@pytest.mark.slow
def test_no_gradient_reaches_the_teachers(bench, method_name):
    built = bench(method_name)
    if not built.teachers:
        pytest.skip("has no teacher")
    images = {"raw": jnp.ones((8, 32, 32, 3)), "c40": jnp.ones((8, 32, 32, 3))}

    def outputs(teachers):
        targets = built.method.targets(teachers, {"image": images})
        return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(targets))

    for leaf in jax.tree.leaves(jax.jit(jax.grad(outputs))(built.teachers)):
        np.testing.assert_array_equal(leaf, 0)


@pytest.mark.slow
def test_terms_have_the_announced_names_and_sum_to_the_loss(bench, method_name):
    built = bench(method_name, **UNMOVED.get(method_name, {}))
    found = measured(built)
    assert set(found["terms"]) == set(built.method.term_names)
    assert built.method.term_names[0] == "cross_entropy"
    total = sum(found["terms"].values())
    np.testing.assert_allclose(found["metrics"]["loss"], total, rtol=1e-6)
    assert set(found["terms"]) <= set(found["metrics"])


@pytest.mark.slow
def test_gradient_norms_are_those_of_each_term_alone(bench, method_name):
    built = bench(method_name, **UNMOVED.get(method_name, {}))
    norm = jax.jit(make_gradient_norms(built.parts))
    names = built.method.term_names
    whole = norm(built.state, built.lesson(built.batch(0)), dict.fromkeys(names, 1.0))
    expected = optax.tree.norm(gradients(built)["student"])
    np.testing.assert_allclose(whole, expected, rtol=1e-4)
    for name in names:
        chosen = {other: float(other == name) for other in names}
        assert float(norm(built.state, built.lesson(built.batch(0)), chosen)) > 0


@pytest.mark.every
def test_first_gradients_of_four_devices_are_those_of_one(bench, method_name):
    # in float32 rounding alone is near 1e-5 where RKD divides distances by their mean
    with jax.enable_x64(True):
        one = flat(gradients(bench(method_name, dtype=jnp.float64)))
        four = flat(gradients(bench(method_name, devices=4, dtype=jnp.float64)))
    for key, expected in one.items():
        scale = max(np.linalg.norm(expected), 1e-12)
        assert np.linalg.norm(four[key] - expected) <= 1e-9 * scale, key


@of_the_papers
def test_five_steps_on_four_devices_are_those_on_one_in_float64(bench, method_name):
    with jax.enable_x64(True):
        one = flat(bench(method_name, dtype=jnp.float64).run(5).params)
        four = flat(bench(method_name, dtype=jnp.float64, devices=4).run(5).params)
    for key, expected in one.items():
        assert expected.dtype == np.float64
        scale = np.abs(expected).max()
        assert np.abs(four[key] - expected).max() <= 1e-9 * scale, key


@of_the_papers
def test_step_under_jit_is_the_step_without(bench, method_name):
    built = bench(method_name)
    with jax.disable_jit():
        plain = first_step(built, built.state, built.teachers, built.batch(0))
    for key, expected in flat(gradients(built)).items():
        scale = max(np.linalg.norm(expected), 1e-12)
        assert np.linalg.norm(flat(plain["grads"])[key] - expected) <= 1e-4 * scale, key


def test_masked_examples_do_not_count(bench, method_name):
    built = bench(method_name)
    kept = np.arange(8) < 6
    # through batch statistics a masked image does count, so the images stay and the labels change
    masked = {**built.batch(0), "mask": kept.astype(np.float32)}
    flipped = {**masked, "label": np.where(kept, masked["label"], 1 - masked["label"])}
    found, other = (measure(built, batch)["metrics"] for batch in (masked, flipped))
    for name, value in found.items():
        np.testing.assert_allclose(other[name], value, rtol=1e-5, err_msg=name)
    assert found["loss"] != measured(built)["metrics"]["loss"]


@of_the_papers
def test_several_qualities_go_through_in_one_pass(bench, method_name):
    grads = flat(gradients(bench(method_name, qualities=("raw", "c23", "c40"))))
    assert all(np.isfinite(value).all() for value in grads.values())


@of_the_papers
def test_several_teachers_teach(bench, method_name):
    if method_name in ("supervised", "qad"):
        with pytest.raises(ValueError, match=r"teacher\.runs"):
            bench(method_name, teacher_count=1)
        return
    both = bench(method_name, teacher_count=2)
    prepared = prepare_batch(both.parts, both.state, both.batch(0))
    targets = both.method.targets(both.teachers, prepared)
    assert {len(found) for found in targets.values() if found != ()} == {2}
    assert all(np.isfinite(value).all() for value in flat(gradients(both)).values())


def test_method_without_its_teacher_is_refused(bench, method_name):
    if method_name in ("supervised", "qad"):
        pytest.skip("has no teacher")
    with pytest.raises(ValueError, match=r"teacher\.runs"):
        bench(method_name, teacher_count=0)


def test_classes_have_weights_in_the_loss_of_labels(bench):
    built = bench("supervised", class_weights=(0.5, 3.0))
    batch = {**built.batch(0), "label": np.array([0, 0, 0, 0, 0, 1, 1, 0], np.int32)}
    batch["mask"] = np.array([1, 1, 1, 1, 0, 1, 1, 1], np.float32)
    _, _, metrics = built.first_step(batch)
    logits = np.float64(built.outputs(prepare_batch(built.parts, built.state, batch))[0].logits)
    chosen = np.take_along_axis(log_softmax(logits, axis=-1), batch["label"][:, None], axis=1)[:, 0]
    weights = np.where(batch["label"] == 1, 3.0, 0.5) * batch["mask"]
    expected = -np.sum(weights * chosen) / batch["mask"].sum()
    np.testing.assert_allclose(metrics["cross_entropy"], expected, rtol=1e-5)


@pytest.mark.parametrize("weights", [(1.0,), (1.0, 2.0, 3.0), (0.0, 1.0), (-1.0, 1.0)])
def test_class_weights_are_one_positive_number_a_class(bench, weights):
    with pytest.raises(ValueError, match=r"method\.class_weights=\S+ must be 2 positive numbers"):
        bench("supervised", class_weights=weights)
