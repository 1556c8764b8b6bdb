"""The losses in float64 NumPy, from the formulas: what a device's results are held against."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def log_softmax(logits: Array) -> Array:
    """Returns `z - log sum exp z` over the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def cross_entropy(logits: Array, labels: NDArray[np.int64]) -> Array:
    """Returns `-log p[label]` per example."""
    return -log_softmax(logits)[np.arange(len(labels)), labels]


def kd(student: Array, teacher: Array, temperature: float) -> Array:
    """Returns `T^2 KL(teacher || student)` of the tempered predictions per example."""
    log_student, log_teacher = (
        log_softmax(student / temperature),
        log_softmax(teacher / temperature),
    )
    return temperature**2 * (np.exp(log_teacher) * (log_teacher - log_student)).sum(axis=-1)


def frequency_attention(student: Array, teacher: Array, gamma: float) -> Array:
    """Returns `sum w d`, `d = |F_S - F_T|^2`, `w = exp(min(gamma mean_c d, 50))` per example."""
    cells = student.shape[1] * student.shape[2]
    spectrum = (np.fft.fft2(student, axes=(1, 2)) - np.fft.fft2(teacher, axes=(1, 2))) / cells
    distance = np.abs(spectrum) ** 2
    weight = np.exp(np.minimum(gamma * distance.mean(axis=-1, keepdims=True), 50.0))
    return (weight * distance).sum(axis=(1, 2, 3))


def view_density(features: Array, directions: Array, bins: int) -> Array:
    """Returns `[B, V, bins]`: the mass of `A^2 / |A|^2` in bins of `<direction, (c, x, y)>`."""
    batch, height, width, channels = features.shape
    y, x, c = np.meshgrid(*map(np.arange, (height, width, channels)), indexing="ij")
    places = np.stack([c.ravel(), x.ravel(), y.ravel()])
    mass = (features**2).reshape(batch, -1)
    mass = mass / mass.sum(axis=1, keepdims=True)
    density = np.zeros((batch, len(directions), bins))
    for view, direction in enumerate(directions):
        position = direction @ places
        edges = np.linspace(position.min(), position.max(), bins + 1)
        for example in range(batch):
            density[example, view], _ = np.histogram(position, edges, weights=mass[example])
    return density


def sliced_wasserstein(student: Array, teacher: Array) -> Array:
    """Returns the squared distance of `[B, V, bins]`, summed over bins, averaged over views."""
    return ((student - teacher) ** 2).sum(axis=-1).mean(axis=-1)
