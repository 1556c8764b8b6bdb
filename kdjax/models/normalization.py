"""Mean and deviation of the RGB in [0, 1] that networks expect, by layout of their weights."""

Triple = tuple[float, float, float]

Normalizations = dict[str, tuple[Triple, Triple]]
"""`{layout: (mean, deviation)}` of a network; its keys are the layouts the network has."""

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""ImageNet's statistics, as torchvision's and timm's weights take them."""

LITE = ((127 / 255,) * 3, (128 / 255,) * 3)
"""What TensorFlow's EfficientNet-Lites take: `(x - 127) / 128` of RGB in [0, 255]."""

UNIT = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
"""From [0, 1] to [-1, 1]."""

NONE = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
"""Images in [0, 1] as they are."""
