"""CKD: what the bank holds after a step, ensembles, and the variants."""

import dataclasses

import jax
import numpy as np
import pytest

from kdjax.train.step import method_inputs, prepare_batch


def run(bench, state=None, number=0):
    state = bench.state if state is None else state
    batch = prepare_batch(bench.parts, bench.state, bench.batch(number))
    targets = bench.method.targets(bench.teachers, batch)
    inputs = method_inputs(bench.parts, state, targets, batch, None)
    return jax.device_get(jax.jit(bench.method.grads)(state.params, *inputs))


def banks(aux):
    return aux["ckd"]["banks"]


def test_the_bank_holds_the_students_representations_of_the_batch(bench):
    built = bench("ckd")
    batch = prepare_batch(built.parts, built.state, built.batch(0))
    outputs, _ = built.outputs(batch)
    bank = banks(run(built)[2])["student"]
    assert (int(bank.count), int(bank.cursor)) == (8, 8)
    np.testing.assert_allclose(bank.features[:8], outputs.features["pooled"], rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(bank.labels[:8], batch["label"])


@pytest.mark.slow
def test_embeddings_may_be_stored_instead_one_bank_a_teacher(bench):
    built = bench("ckd", store="embeddings", teacher_count=2)
    found = banks(run(built)[2])
    assert set(found) == {"0", "1"}
    for bank in found.values():
        assert bank.features.shape == (24, 8)
        np.testing.assert_allclose(np.linalg.norm(bank.features[:8], axis=1), 1, rtol=1e-5)


def test_a_masked_example_is_not_remembered(bench):
    built = bench("ckd")
    batch = prepare_batch(built.parts, built.state, built.batch(0))
    batch["mask"] = np.array([1, 1, 0, 1, 1, 0, 1, 1], np.float32)
    targets = built.method.targets(built.teachers, batch)
    inputs = method_inputs(built.parts, built.state, targets, batch, None)
    _, _, aux, _ = jax.jit(built.method.grads)(built.state.params, *inputs)
    assert int(banks(aux)["student"].count) == 6


@pytest.mark.parametrize(
    ("reset", "per_epoch", "count"), [("epoch", 4, 8), ("never", 4, 16), ("epoch", 2, 16)]
)
def test_an_epochs_first_step_empties_the_bank_unless_epochs_are_short(
    bench, reset, per_epoch, count
):
    built = bench("ckd", bank_reset=reset, steps_per_epoch=per_epoch)
    full = built.state.replace(aux=run(built)[2])
    _, _, aux, _ = run(built, full, number=1)
    assert int(banks(aux)["student"].count) == count
    later = full.replace(step=full.step + 1)
    _, _, aux, _ = run(built, later, number=1)
    assert int(banks(aux)["student"].count) == 16


@pytest.mark.slow
def test_negatives_come_from_the_bank_when_the_batch_has_too_few(bench):
    built = bench("ckd", negatives=10, bank_reset="never")
    _, _, aux, first = run(built)
    _, _, _, second = run(built, built.state.replace(aux=aux), number=1)
    # 4 of the other class in a batch of 8, then 4 more from the bank
    assert first["valid_negatives"] == pytest.approx(0.4)
    assert second["valid_negatives"] == pytest.approx(0.8)


@pytest.mark.parametrize("options", [{}, {"normalizer": "none"}])
def test_the_loss_is_equation_eight_with_crds_constant_by_default(bench, options):
    built = bench("ckd", negatives=10, bank_reset="never", **options)
    batch = prepare_batch(built.parts, built.state, built.batch(0))
    heads = jax.device_get(built.state.params["heads"]["ckd"]["0"])

    def embed(features, head):
        found = np.float64(features) @ np.float64(head["kernel"]) + np.float64(head["bias"])
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    student = embed(built.outputs(batch)[0].features["pooled"], heads["student"])
    teacher = built.method.targets(built.teachers, batch)["ckd"][0]
    teacher = embed(teacher, heads["teacher"])
    tau, size, wanted = 0.05, 40, 10
    cosines = teacher @ student.T / tau
    other = batch["label"][:, None] != batch["label"][None]
    constant = 1.0
    if not options:
        # a mean over the pairs that are there
        pairs = np.exp(cosines)
        constant = size * np.concatenate([np.diagonal(pairs), pairs[other]]).mean()
    logits = cosines - np.log(constant * wanted / size)
    positive = np.logaddexp(0, -np.diagonal(logits))
    # 4 of the 10 wanted negatives are there, and stand for all
    negative = (np.logaddexp(0, logits) * other).sum(axis=1) * wanted / other.sum(axis=1)
    metrics = run(built)[3]
    np.testing.assert_allclose(metrics["contrast"], (positive + negative).mean(), rtol=1e-4)


@pytest.mark.slow
def test_teachers_add_up(bench):
    one, two = bench("ckd"), bench("ckd", teacher_count=2)
    assert len(two.state.params["heads"]["ckd"]) == 2
    assert run(two)[3]["contrast"] > run(one)[3]["contrast"]


@pytest.mark.slow
def test_real_anchors_alone_may_count(bench):
    built = bench("ckd", anchors="real")
    batch = built.batch(0)
    assert run(built)[3]["contrast"] != run(bench("ckd"))[3]["contrast"]
    assert 0 < batch["label"].mean() < 1


@pytest.mark.slow
def test_the_normaliser_is_set_once(bench):
    built = bench("ckd", normalizer="first_batch")
    _, _, aux, _ = run(built)
    first = aux["ckd"]["normalizers"]["0"]
    assert first > 0
    _, _, aux, _ = run(built, built.state.replace(aux=aux), number=1)
    assert aux["ckd"]["normalizers"]["0"] == first


@pytest.mark.slow
def test_the_normaliser_waits_for_an_anchor(bench):
    built = bench("ckd", normalizer="first_batch", anchors="real")
    fake = {**built.batch(0), "label": np.ones(8, np.int32)}
    _, aux, metrics = built.first_step(fake)
    assert aux["ckd"]["normalizers"]["0"] == 0
    assert metrics["contrast"] == 0
    later = dataclasses.replace(built, state=built.state.replace(aux=aux))
    _, aux, metrics = later.first_step(built.batch(1))
    assert aux["ckd"]["normalizers"]["0"] > 0
    assert np.isfinite(metrics["contrast"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, r"method\.temperature"),
        ({"negatives": 0}, r"method\.negatives"),
        ({"bank_size": -1}, r"method\.bank_size"),
        ({"width": 0}, r"method\.width"),
        ({"anchors": "fake"}, r"method\.anchors"),
        ({"store": "images"}, r"method\.store"),
        ({"contrast_weight": -0.1}, r"method\.contrast_weight"),
        ({"teacher_count": 0}, r"teacher\.runs"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(bench, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        bench("ckd", **options)
    assert "\n" not in str(caught.value)
