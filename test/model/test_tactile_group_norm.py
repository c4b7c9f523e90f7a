"""GroupNorm, whose order of summation is ours, against its definition in float64."""

import numpy as np
import pytest
from flax import nnx

from restac_ros.model.tactile.group_norm import GroupNorm


@pytest.mark.parametrize(
    ('shape', 'groups'), [((2, 5, 3, 12), 4), ((1, 5, 4, 8), 8), ((3, 4, 4, 6), 1), ((1, 7, 2, 32), 32)]
)
@pytest.mark.parametrize('mean', [0.0, 30.0])
def test_group_norm_equals_its_definition(shape: tuple[int, ...], groups: int, mean: float) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(mean, 2, shape)
    norm = GroupNorm(shape[-1], num_groups=groups, epsilon=1e-5, rngs=nnx.Rngs(0))
    scale, bias = rng.normal(1, 0.3, shape[-1]), rng.normal(0, 1, shape[-1])
    norm.scale[...], norm.bias[...] = scale, bias

    expected = np.empty(shape)
    width = shape[-1] // groups
    for b in range(shape[0]):
        for g in range(groups):
            channels = slice(g * width, (g + 1) * width)
            group = x[b, ..., channels]
            expected[b, ..., channels] = (group - group.mean()) / np.sqrt(group.var() + 1e-5)
    np.testing.assert_allclose(norm(x.astype(np.float32)), expected * scale + bias, atol=2e-4)
