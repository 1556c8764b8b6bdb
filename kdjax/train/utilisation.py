"""How much of what a device can compute a run uses."""

from typing import Any

import jax

PEAKS: dict[str, float] = {
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L40": 181e12,
    "L4": 121e12,
    "A10G": 70e12,
    "A10": 125e12,
    "V100": 125e12,
    "T4": 65e12,
    "TPU v6": 918e12,
    "TPU v5p": 459e12,
    "TPU v5 lite": 197e12,
    "TPU v5e": 197e12,
    "TPU v4": 275e12,
}
"""FLOP/s of a device, dense, in bfloat16 (float16 where it has none), by what its name holds: the makers' own."""


def peak(device: jax.Device) -> float | None:
    """Returns the FLOP/s that a device's maker names; None where it is not known, as of a CPU."""
    kind = device.device_kind.lower()
    return next((value for name, value in PEAKS.items() if name.lower() in kind), None)


def operations(program: Any, *arguments: Any) -> float:
    """Returns the floating-point operations of a compiled function on one device, as XLA counts them.

    Those that are done twice (`student.remat`) count twice. 0 where the device's peak is not known, which is all
    that they are for, or where XLA does not count.
    """
    if peak(jax.local_devices()[0]) is None:
        return 0.0
    cost = program.lower(*arguments).cost_analysis()
    found = cost[0] if isinstance(cost, list | tuple) else cost
    return float((found or {}).get("flops", 0.0))
