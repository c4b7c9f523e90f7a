"""The gate's colours, held against what colour scientists measure rather than against a table of values."""

import numpy as np
import pytest

from restac_ros.view.colours import (
    BACKGROUND,
    GREEN,
    INVALID,
    ORANGE,
    PANEL,
    PINK,
    SKY,
    gate_colours,
    gate_rgba,
    rgba,
)

# Machado, Oliveira and Fernandes (2009), severity 1.0, on linear RGB.
DEFICIENCIES = {
    'protanopia': [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    'deuteranopia': [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    'tritanopia': [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
    'none': np.eye(3).tolist(),
}


def linear(colours: np.ndarray) -> np.ndarray:
    values = np.asarray(colours, dtype=np.float64) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def luminance(colours: np.ndarray) -> np.ndarray:
    return linear(colours) @ [0.2126, 0.7152, 0.0722]


def contrast(colours: np.ndarray, ground: tuple[int, int, int]) -> np.ndarray:
    """WCAG 2 contrast ratio."""
    pair = luminance(colours) + 0.05, luminance(np.array(ground)) + 0.05
    return np.maximum(*pair) / np.minimum(*pair)


def lab(colours: np.ndarray, deficiency: str) -> np.ndarray:
    """CIELAB (D65) as the given eye sees it."""
    seen = np.clip(linear(colours) @ np.array(DEFICIENCIES[deficiency]).T, 0, 1)
    to_xyz = [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
    ratio = seen @ np.array(to_xyz).T / [0.95047, 1.0, 1.08883]
    f = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    x, y, z = np.moveaxis(f, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


@pytest.mark.parametrize('deficiency', DEFICIENCIES)
def test_an_opener_gate_is_lighter_for_every_eye(deficiency: str) -> None:
    lightness = lab(gate_colours(np.linspace(0, 1, 21)), deficiency)[:, 0]
    assert (np.diff(lightness) > 0.5).all()


@pytest.mark.parametrize('deficiency', DEFICIENCIES)
def test_quarters_of_the_gate_are_told_apart_by_every_eye(deficiency: str) -> None:
    seen = lab(gate_colours(np.linspace(0, 1, 5)), deficiency)
    distance = np.linalg.norm(seen[:, None] - seen[None], axis=-1)[np.triu_indices(5, 1)]
    assert distance.min() > 10  # CIE76; about 2 is just noticeable


@pytest.mark.parametrize('ground', [BACKGROUND, PANEL])
def test_every_colour_stands_out_from_its_ground(ground: tuple[int, int, int]) -> None:
    assert contrast(gate_colours(np.linspace(0, 1, 101)), ground).min() >= 3  # WCAG 1.4.11, graphics
    if ground == PANEL:
        assert contrast(np.array([SKY, ORANGE, GREEN, PINK]), ground).min() >= 4.5  # WCAG 1.4.3, text


def test_what_is_no_gate_looks_like_no_gate() -> None:
    colours = gate_colours(np.array([np.nan, np.inf, 0.0, 1.0, -3.0, 7.0]))
    assert (colours[:2] == INVALID).all()
    np.testing.assert_array_equal(colours[2], colours[4])
    np.testing.assert_array_equal(colours[3], colours[5])
    for deficiency in DEFICIENCIES:
        gates = lab(gate_colours(np.linspace(0, 1, 101)), deficiency)
        assert np.linalg.norm(gates - lab(np.array(INVALID), deficiency), axis=-1).min() > 10


@pytest.mark.parametrize('gate', [0.0, 0.3, 0.999, 1.0, -2.0, 5.0, np.nan, -np.inf])
def test_one_gate_has_the_colour_that_many_have(gate: float) -> None:
    np.testing.assert_array_equal(gate_rgba(gate), rgba(gate_colours(gate)))


def test_rgba_scales_and_broadcasts_alpha() -> None:
    values = rgba(np.array([[255, 0, 51], [0, 0, 0]]), np.array([1.0, 0.25]))
    np.testing.assert_allclose(values, [[1, 0, 0.2, 1], [0, 0, 0, 0.25]], atol=1e-6)
    assert values.dtype == np.float32
