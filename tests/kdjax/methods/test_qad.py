"""QAD: two passes, one set of batch statistics, and the rows of the paper's Table 4."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import losses
from kdjax.configs.sweeps import qad_table4
from kdjax.methods.base import apply_student
from kdjax.train.step import method_inputs, prepare_batch

ROWS = [
    {key.removeprefix("method."): value for key, value in row.items() if key != "config"}
    for row in qad_table4.sweep()
]


def prepared(bench):
    batch = prepare_batch(bench.parts, bench.state, bench.batch(0))
    return batch, method_inputs(bench.parts, bench.state, {"qad": ()}, batch, None)


def run(bench):
    _, inputs = prepared(bench)
    return jax.device_get(jax.jit(bench.method.grads)(bench.state.params, *inputs))


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=lambda row: "-".join(map(str, row.values())) or "qad")
def test_every_row_of_the_table_has_finite_gradients(bench, row):
    grads, _, _, metrics = run(bench("qad", **row))
    for leaf in jax.tree.leaves(grads):
        assert np.isfinite(leaf).all()
        assert np.abs(leaf).max() > 0
    assert ("collaboration" in metrics) == (row.get("collaboration") != "none")


def log_softmax(logits):
    return logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)


def compared(kind, logits, pooled, labels):
    """What a row of Table 4 puts in the place of HSIC, of three qualities `[3, B, ...]`, summed."""
    pairs = [(0, 1), (0, 2), (1, 2)]
    if kind == "pairwise":
        return sum(((pooled[a] - pooled[b]) ** 2).sum(axis=-1).mean() for a, b in pairs)
    if kind == "center":
        # the centres begin at 0
        return sum((one**2).sum(axis=-1).mean() / 2 for one in pooled)
    if kind == "collaborative":
        seen = (logits, pooled)
        return sum(np.linalg.norm(x[a] - x[b], axis=-1).mean() for x in seen for a, b in pairs)
    soft = np.exp(log_softmax(logits / 4.0))
    total = 0.0
    for one in range(3):
        others = soft[[quality for quality in range(3) if quality != one]].mean(axis=0)
        target = 0.5 * others + 0.5 * np.eye(2)[labels]
        total -= (target * log_softmax(logits[one])).sum(axis=-1).mean()
    return total


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["soft_label", "pairwise", "center", "collaborative"])
def test_what_stands_in_for_hsic_is_added_with_its_weight(bench, kind):
    built = bench("qad", collaboration=kind, collaborative_weight=0.3, perturbation="none")
    batch, _ = prepared(built)
    outputs, _ = built.outputs(batch)
    logits, pooled = (
        np.float64(x).reshape(3, -1, x.shape[-1])
        for x in (outputs.logits, outputs.features["pooled"])
    )
    expected = compared(kind, logits, pooled, batch["label"])
    metrics = run(built)[3]
    np.testing.assert_allclose(metrics["collaboration"], expected, rtol=1e-4)
    np.testing.assert_allclose(
        metrics["loss"], metrics["cross_entropy"] + 0.3 * expected, rtol=1e-4
    )


def divergence(bench, params, inputs):
    """Returns the mean over the other qualities of KL(first quality's prediction || theirs)."""
    outputs, _ = apply_student(bench.student, params, inputs, bench.qualities)
    first, *others = (jax.nn.log_softmax(x) for x in jnp.split(outputs.logits, 3))
    first = jax.lax.stop_gradient(first)
    each = [jnp.sum(jnp.exp(first) * (first - other), axis=-1) for other in others]
    return jnp.mean(jnp.stack(each))


@pytest.mark.parametrize(
    "options",
    [
        {},
        pytest.param(
            {"classification": "tempered", "classification_temperature": 0.5},
            marks=pytest.mark.slow,
        ),
        pytest.param({"perturbation": "kl"}, marks=pytest.mark.slow),
    ],
    ids=["paper", "tempered", "kl"],
)
def test_the_gradient_is_that_of_the_loss_at_the_moved_weights(bench, options):
    built = bench("qad", gamma=0.05, **options)
    unmoved = {**options, "collaboration": "none", "perturbation": "none"}
    plain = bench("qad", **unmoved)
    weights = built.state.params["student"]
    first, _, _, _ = run(plain)
    if "perturbation" in options:
        _, inputs = prepared(built)
        first = jax.grad(lambda params: divergence(built, params, inputs))(built.state.params)

    def move(weight, gradient):
        weight, gradient = np.float64(weight), np.float64(gradient)
        if weight.ndim < 2:
            return jnp.float32(weight)
        length = 0.05 * np.linalg.norm(weight) / (np.linalg.norm(gradient) + 1e-12)
        return jnp.float32(weight + length * gradient)

    moved = {"student": jax.tree.map(move, weights, first["student"])}
    _, inputs = prepared(built)

    def loss(params):
        terms, rest = built.method.terms(params, inputs)
        return sum(terms.values()), rest

    expected, (statistics, _, _) = jax.jit(jax.grad(loss, has_aux=True))(moved)
    found, new, _, _ = run(built)
    for a, b in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        assert np.linalg.norm(a - b) <= 1e-3 * np.linalg.norm(b)
    # of the second pass only: the first one's, at the weights themselves, are others
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), new, statistics)
    untouched = run(plain)[1]
    assert any(
        np.abs(a - b).max() > 1e-5
        for a, b in zip(*map(jax.tree.leaves, (new, untouched)), strict=True)
    )


@pytest.mark.slow
def test_all_qualities_go_through_the_network_in_one_pass(bench):
    built = bench("qad", perturbation="none")
    batch, _ = prepared(built)
    _, statistics, _, _ = run(built)
    images = jnp.concatenate([batch["image"][quality] for quality in ("raw", "c23", "c40")])
    network = built.student
    normal = (images - jnp.array(network.mean)[None, None, None]) / jnp.array(network.std)[
        None, None, None
    ]
    _, updated = network.module.apply(
        {"params": built.state.params["student"], "batch_stats": built.state.batch_stats},
        normal,
        train=True,
        mutable=["batch_stats"],
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        statistics,
        updated["batch_stats"],
    )


@pytest.mark.slow
@pytest.mark.parametrize("normalized", [True, False])
def test_the_collaboration_is_minus_the_sum_of_hsic_over_pairs_and_layers(bench, normalized):
    form = {"perturbation": "none", "normalized": normalized}
    built = bench("qad", collaborative_weight=1.0, **form)
    batch, _ = prepared(built)
    outputs, _ = built.outputs(batch)
    expected = 0.0
    for layer in ("stage2", "stage3", "stage4"):
        pooled = np.split(np.asarray(outputs.features[layer]).mean(axis=(1, 2)), 3)
        for first, second in ((0, 1), (0, 2), (1, 2)):
            expected -= float(
                losses.hsic(pooled[first], pooled[second], bandwidth="mean", normalized=normalized)
            )
    metrics = run(built)[3]
    np.testing.assert_allclose(metrics["collaboration"], expected, rtol=1e-4)
    ordered = run(bench("qad", pairs="ordered", **form))[3]
    assert ordered["collaboration"] < 2 * expected


@pytest.mark.slow
def test_centers_move_towards_the_means_of_their_classes(bench):
    built = bench("qad", collaboration="center", perturbation="none", center_rate=0.5)
    batch, _ = prepared(built)
    outputs, _ = built.outputs(batch)
    pooled = np.split(np.asarray(outputs.features["pooled"]), 3)
    _, _, aux, _ = run(built)
    for label in (0, 1):
        rows = np.concatenate([one[batch["label"] == label] for one in pooled])
        expected = 0.5 * rows.mean(axis=0)
        np.testing.assert_allclose(aux["qad"]["centers"][label], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"qualities": ("c40",)}, r"student\.qualities=c40"),
        ({"collaboration": "cosine"}, r"method\.collaboration"),
        ({"perturbation": "random"}, r"method\.perturbation"),
        ({"layers": ("stage9",)}, r"method\.layers"),
        ({"layers": ()}, r"method\.layers= must name"),
        ({"layers": ("stage2", "stage2")}, r"method\.layers=stage2,stage2 .* each once"),
        ({"random_features": 15}, r"method\.random_features=15 must be even"),
        ({"scale_by_dim": True, "bandwidth": "mean"}, r"needs method\.bandwidth=fixed"),
        ({"gamma": -1.0}, r"method\.gamma"),
        ({"sigma": 0.0}, r"method\.sigma"),
        ({"soft_mix": 2.0}, r"method\.soft_mix"),
        ({"classification": "hinge"}, r"method\.classification"),
        ({"gama": 1.0}, "did you mean 'gamma'"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(bench, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        bench("qad", **options)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_the_tempered_loss_can_classify(bench):
    built = bench(
        "qad", perturbation="none", classification="tempered", classification_temperature=2.0
    )
    batch, _ = prepared(built)
    outputs, _ = built.outputs(batch)
    labels = np.concatenate([batch["label"]] * 3)
    expected = losses.tempered_softmax(outputs.logits, labels, temperature=2.0).mean()
    np.testing.assert_allclose(run(built)[3]["cross_entropy"], expected, rtol=1e-5)


@pytest.mark.slow
def test_soft_labels_are_constants(bench):
    built = bench("qad", collaboration="soft_label", perturbation="none")
    batch, inputs = prepared(built)
    logits = np.float64(built.outputs(batch)[0].logits).reshape(3, -1, 2)
    soft = np.exp(log_softmax(logits / 4.0))
    others = [(soft.sum(axis=0) - soft[one]) / 2 for one in range(3)]
    target = jnp.float32(np.stack([0.5 * x + 0.5 * np.eye(2)[batch["label"]] for x in others]))

    def expected(params):
        seen, _ = apply_student(built.student, params, inputs, built.qualities)
        found = jax.nn.log_softmax(seen.logits).reshape(3, -1, 2)
        return -jnp.sum(target * found) / len(batch["label"])

    def term(params):
        return built.method.terms(params, inputs)[0]["collaboration"]

    params = built.state.params
    weight = float(built.state.hyper["collaborative_weight"])
    for a, b in zip(
        *map(jax.tree.leaves, (jax.grad(term)(params), jax.grad(expected)(params))), strict=True
    ):
        assert np.linalg.norm(a - weight * b) <= 1e-4 * np.linalg.norm(weight * b)
