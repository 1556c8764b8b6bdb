"""The parts of a face that change within a clip: eyes and mouth, drawn anew in every frame."""

import numpy as np

from kdjax.data_pipeline.builders.synthfaces.canvas import bump, paint, planes, smooth_step, soft
from kdjax.data_pipeline.builders.synthfaces.face import Head
from kdjax.data_pipeline.builders.synthfaces.identity import Identity
from kdjax.data_pipeline.builders.synthfaces.motion import State

_WHITE, _PUPIL, _GLINT = planes((224, 218, 212)), planes((14, 14, 14)), planes((245, 245, 245))
_THROAT, _TEETH = planes((52, 18, 18)), planes((226, 220, 206))


def draw(person: Identity, head: Head, state: State) -> np.ndarray:
    """Returns the head's layers `[4, H, W]` with the eyes, mouth and glasses of a state."""
    layers = head.layers.copy()
    for side in (-1.0, 1.0):
        _draw_eye(person, head, state, layers, side)
    _draw_mouth(person, head, state, layers)
    if person.glasses:
        rows, _ = head.grid.window(0.0, person.layout.eye_y, 1.0, 0.2)
        rims = 0.95 * head.glasses[rows]
        paint(layers[:3, rows], planes(person.glasses_color) * layers[3, rows], rims)
    return layers


def _line(distance: np.ndarray, width: float) -> np.ndarray:
    """Returns the darkness of a soft line: `exp(-(distance/width)^2)`."""
    return np.exp(-np.square(distance / width))


def _draw_eye(person: Identity, head: Head, state: State, layers: np.ndarray, side: float) -> None:
    layout, look = person.layout, person.appearance
    center = side * layout.eye_gap
    rows, columns = head.grid.window(center, layout.eye_y, 0.16, 0.12)
    part = head.grid.cut(rows, columns)
    area, light = layers[:3, rows, columns], head.light[rows, columns]
    x, y = part.x - center, part.y - layout.eye_y
    u = side * x / look.eye_width
    y = y + look.eye_slant * 0.25 * look.eye_width * u
    arc = np.clip(1.0 - np.square(u), 0.0, 1.0)
    upper = -look.eye_height * arc**0.8 * (1.0 - 1.35 * state.blink)
    lower = 0.6 * look.eye_height * arc
    edge = np.minimum(np.minimum(y - upper, lower - y), (1.0 - np.abs(u)) * look.eye_width)
    white, lit = soft(edge, part.unit, 1.5), 0.35 + 0.65 * light
    paint(area, _WHITE * (lit * (0.72 + 0.28 * arc)), white)
    x, gazed = x - 0.05 * state.gaze_x, y - 0.03 * state.gaze_y
    distance, iris = np.hypot(x, gazed + 0.006), planes(look.iris) * lit
    paint(area, iris, white * soft(0.052 - distance, part.unit, 2.0))
    paint(area, 0.35 * iris, 0.7 * white * _line(distance - 0.052, 0.008))
    paint(area, _PUPIL, white * soft(0.023 - distance, part.unit, 1.5))
    glint = np.clip(1.6 * bump(x - 0.02, gazed + 0.022, 0.01, 0.01), 0.0, 1.0)
    paint(area, _GLINT, white * glint)
    near = soft((1.08 - np.abs(u)) * look.eye_width, part.unit, 3.0)
    skin = planes(look.skin) * light
    paint(area, 0.22 * skin, 0.9 * near * _line(y - upper, 0.011))
    paint(
        area,
        0.6 * skin,
        near * (0.45 * _line(y - lower, 0.01) + 0.5 * _line(y - upper + 0.035, 0.01)),
    )


def _draw_mouth(person: Identity, head: Head, state: State, layers: np.ndarray) -> None:
    layout, look = person.layout, person.appearance
    middle = layout.mouth_y + 0.35 * state.mouth_open
    rows, columns = head.grid.window(0.0, middle, 0.32, 0.2)
    part = head.grid.cut(rows, columns)
    area, light = layers[:3, rows, columns], head.light[rows, columns]
    width = look.mouth_width + 0.5 * state.smile
    u, y = np.abs(part.x) / width, part.y - middle
    arc = np.sqrt(np.clip(1.0 - np.square(u), 0.0, 1.0))
    line = -0.9 * state.smile * np.square(u) + 0.006 * np.cos(3.0 * u)
    gap = state.mouth_open * arc
    cupid = look.upper_lip * arc * (1.0 + 0.35 * _line(u - 0.22, 0.16) - 0.25 * _line(u, 0.1))
    inner_top, inner_bottom = line - 0.45 * gap, line + 0.55 * gap
    bottom = inner_bottom + look.lower_lip * arc
    ends, lip = (1.0 - u) * width, planes(look.lip) * light
    lips = np.minimum(np.minimum(y - inner_top + cupid, bottom - y), ends)
    relief = 0.92 + 0.16 * smooth_step(y, 0.0, 0.03) - 0.12 * smooth_step(y - bottom, -0.02, 0.0)
    paint(area, lip * relief, 0.9 * soft(lips, part.unit, 2.5))
    inside = soft(np.minimum(np.minimum(y - inner_top, inner_bottom - y), ends), part.unit, 1.5)
    paint(area, _THROAT * light, inside)
    teeth = np.minimum(y - inner_top, inner_top + 0.032 - y)
    shown = inside * soft(teeth, part.unit, 2.0) * soft(ends - 0.05, part.unit, 6.0)
    paint(area, _TEETH * (0.3 + 0.6 * light), shown)
    seam = _line(y - line, 0.009) * soft(ends, part.unit, 2.0)
    paint(area, 0.3 * lip, 0.8 * seam * (1.0 - smooth_step(gap, 0.0, 0.03)))
    shadow = bump(part.x, y - 0.55 * state.mouth_open - look.lower_lip - 0.045, 0.09, 0.02)
    paint(area, 0.72 * planes(look.skin) * light, 0.5 * shadow)
