"""Names of the layers of Meso4 and MesoInception4 in the authors' files.

Keras numbered those layers as they were made, in one process and across networks, so the numbers of a file
start anywhere: what holds is their order within a kind. Here each kind is numbered from zero
(`conv2d`, `conv2d_1`, ...); a loader sorts the file's layers by kind and number and does likewise.
"""

from kdjax.models.mesonet import PLANS, layer_names

SINGLE_UNIT = "real"
"""What the one sigmoid unit of the authors' head says: the logit of the class that is 0 here.

Of its weights `w` and bias `b` two logits are made: columns `(w, 0)` and `(b, 0)`.
"""


def schemes(name: str) -> dict[str, dict[str, str]]:
    """Returns `{scheme: {path of our layer: name of theirs}}` of the network `name` of `PLANS`."""
    stages = list(enumerate(PLANS[name], start=1))
    convolutions = [path for pair in stages for branch in layer_names(*pair) for path in branch]
    kinds = {
        "conv2d": convolutions,
        "batch_normalization": [f"stage{number}_norm" for number, _ in stages],
        "dense": ["hidden", "classifier"],
    }
    numbered = {
        path: f"{kind}_{number}" if number else kind
        for kind, paths in kinds.items()
        for number, path in enumerate(paths)
    }
    return {"keras": numbered}
