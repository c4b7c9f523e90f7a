"""Arrays that cross as one buffer come out as they went in, bit by bit, on either side."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from restac_ros.policy.packing import Packing

_RNG = np.random.default_rng(0)
_TREE = {
    'image': _RNG.integers(0, 256, (1, 3, 5, 3), np.uint8),
    'mask': np.array([[True, False, True]]),
    'tokens': _RNG.integers(0, 9, (1, 3), np.int32),
    'state': _RNG.standard_normal((2, 3)).astype(np.float32),
    'half': _RNG.standard_normal(3).astype(jnp.bfloat16),
    'scalar': np.float32(np.nan),
    'absent': None,
}


def _assert_same(found: dict) -> None:
    assert found['absent'] is None
    for name, value in _TREE.items():
        if value is not None:
            assert found[name].dtype == value.dtype, name
            np.testing.assert_array_equal(np.asarray(found[name]), value)


def test_to_the_device_and_back() -> None:
    packing = Packing(_TREE)
    buffer = packing.pack(_TREE)
    assert buffer.nbytes == packing.size
    _assert_same(packing.unpack(buffer))
    _assert_same(jax.jit(packing.unpack_on_device)(buffer))
    returned = jax.jit(lambda b: packing.pack_on_device(packing.unpack_on_device(b)))(buffer)
    _assert_same(packing.unpack(np.asarray(returned)))


def test_other_arrays_are_refused() -> None:
    packing = Packing(_TREE)
    with pytest.raises(ValueError, match='expected'):
        packing.pack(_TREE | {'state': np.zeros((3, 2), np.float32)})
    with pytest.raises(ValueError, match='expected'):
        packing.pack(_TREE | {'state': np.zeros((2, 3))})
    with pytest.raises(ValueError, match='expected'):
        packing.pack(_TREE | {'absent': np.zeros(1)})
