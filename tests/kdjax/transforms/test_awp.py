import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.transforms.awp import adversarial_weight_perturbation as perturb

rng = np.random.default_rng(0)
SHAPES = {"conv": {"kernel": (3, 3, 2, 4)}, "norm": {"scale": (4,), "bias": (4,)}, "head": (4, 3)}


def tree(scale=1.0, dtype=np.float32):
    def draw(shape):
        return jnp.asarray(rng.normal(size=shape) * scale, dtype)

    return jax.tree.map(draw, SHAPES, is_leaf=lambda node: isinstance(node, tuple))


def loss(params):
    kernel = jnp.sin(params["conv"]["kernel"]).sum((0, 1, 2)) * params["norm"]["scale"]
    return jnp.sum(jnp.tanh((kernel + params["norm"]["bias"]) @ params["head"]) ** 2)


def norm(x):
    return np.linalg.norm(np.float64(x).ravel())


def authors_rule(weights, grads, gamma, learning_rate=0.01):
    """What AWP's authors do: the step of an SGD optimiser, brought to each tensor's own norm."""
    moved = {}
    for name, weight in weights.items():
        ascent = (weight + learning_rate * grads[name]) - weight
        ascent = np.linalg.norm(weight) / (np.linalg.norm(ascent) + 1e-20) * ascent
        moved[name] = weight + gamma * ascent if weight.ndim > 1 else weight
    return moved


def by_name(params):
    named, _ = jax.tree.flatten_with_path(params)
    return {jax.tree_util.keystr(path): np.float64(leaf) for path, leaf in named}


def test_it_is_the_rule_of_the_authors():
    params, grads = tree(), tree(1e-3)
    got = by_name(perturb(params, grads, gamma=0.01))
    expected = authors_rule(by_name(params), by_name(grads), 0.01)
    for name, value in expected.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("gamma", [0.002, 0.5])
def test_a_tensor_moves_by_gamma_times_its_norm_and_a_vector_not_at_all(gamma):
    params, grads = tree(), tree(1e-6)
    moved = perturb(params, grads, gamma=gamma)
    for name in ("conv", "head"):
        before, after = (jax.tree.leaves(p[name])[0] for p in (params, moved))
        np.testing.assert_allclose(norm(after - before), gamma * norm(before), rtol=1e-4)
    for name in ("scale", "bias"):
        np.testing.assert_array_equal(moved["norm"][name], params["norm"][name])


def test_the_true_loss_rises_to_first_order():
    with jax.enable_x64(True):
        params, gamma = tree(dtype=np.float64), 1e-5
        value, grads = jax.jit(jax.value_and_grad(loss))(params)
        rise = float(jax.jit(loss)(perturb(params, grads, gamma=gamma)) - value)
        pairs = [
            (params["conv"]["kernel"], grads["conv"]["kernel"]),
            (params["head"], grads["head"]),
        ]
        expected = gamma * sum(norm(p) * norm(g) for p, g in pairs)
    assert rise > 0
    np.testing.assert_allclose(rise, expected, rtol=1e-3)


def test_a_zero_gradient_moves_nothing():
    params = tree()
    zeros = jax.tree.map(jnp.zeros_like, params)
    moved = perturb(params, zeros, gamma=0.1)
    jax.tree.map(np.testing.assert_array_equal, moved, params)
    moved = perturb(zeros, params, gamma=0.1)
    jax.tree.map(np.testing.assert_array_equal, moved, zeros)


def test_a_mask_says_which_tensors_move():
    params, grads = tree(), tree()
    grads["head"] = grads["head"] * jnp.nan
    mask = {"conv": {"kernel": False}, "norm": {"scale": True, "bias": False}, "head": False}
    moved = perturb(params, grads, gamma=0.1, mask=mask)
    change = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), moved, params)
    assert change == mask


def test_more_steps_climb_within_the_ball():
    gamma, step_size = 0.1, 0.04
    params, slope = tree(0.3), jax.jit(jax.grad(loss))
    moved, losses = params, [loss(params)]
    shift, expected = 0.0, params["head"]
    for _ in range(4):
        grads = slope(moved)
        moved = perturb(params, grads, gamma=gamma, step_size=step_size, perturbed=moved)
        losses.append(loss(moved))
        size, direction = norm(params["head"]), np.float64(grads["head"]) / norm(grads["head"])
        shift = shift + step_size * size * direction
        shift = shift * min(1.0, gamma * size / norm(shift))
        expected = np.float64(params["head"]) + shift
        np.testing.assert_allclose(moved["head"], expected, rtol=1e-4, atol=1e-6)
    assert losses[1] < losses[2] < losses[3]
    np.testing.assert_allclose(norm(shift), gamma * norm(params["head"]), rtol=1e-6)
    for name in ("scale", "bias"):
        np.testing.assert_array_equal(moved["norm"][name], params["norm"][name])


def test_dtypes_are_kept_and_compiling_changes_nothing():
    params, grads = tree(dtype=jnp.bfloat16), tree(dtype=jnp.bfloat16)
    moved = perturb(params, grads, gamma=0.1)
    wide = perturb(*(jax.tree.map(jnp.float32, t) for t in (params, grads)), gamma=0.1)
    jitted = jax.jit(perturb)(params, grads, gamma=0.1)
    for leaf, exact, other in zip(*map(jax.tree.leaves, (moved, wide, jitted)), strict=True):
        assert leaf.dtype == jnp.bfloat16
        np.testing.assert_array_equal(leaf, exact.astype(jnp.bfloat16))
        np.testing.assert_allclose(*(jnp.float32(x) for x in (other, leaf)), rtol=1e-2)


def test_wrong_arguments_are_refused():
    params = tree()
    call = functools.partial(perturb, params, params, gamma=0.1)
    for match, wrong in {
        "gamma": {"gamma": -0.1},
        "step_size": {"step_size": -0.1},
        "mask must have": {"mask": {"conv": True}},
        "perturbed must have": {"perturbed": {"conv": params["conv"]}},
    }.items():
        with pytest.raises(ValueError, match=match):
            call(**wrong)
    with pytest.raises(ValueError, match="grads must have"):
        perturb(params, params["conv"], gamma=0.1)
    with pytest.raises(ValueError, match=r"grads \(3, 4\)"):
        perturb(params, {**params, "head": params["head"].T}, gamma=0.1)
