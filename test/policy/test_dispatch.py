"""The size of XLA's pool: one thread more than cores, unless the user has chosen another."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import os
from restac_ros.policy.dispatch import POOL_SIZE, make_room_for_calls
make_room_for_calls()
import jax, jax.numpy as jnp
print(os.environ[POOL_SIZE], float(jnp.ones((64, 64)).sum()))
"""


@pytest.mark.parametrize('given', [None, '7'])
def test_the_pool_has_room_for_a_touch_beside_a_prefix_and_a_chunk(given: str | None) -> None:
    env = {name: value for name, value in os.environ.items() if name != 'PJRT_NPROC'}
    if given:
        env['PJRT_NPROC'] = given
    said = subprocess.run([sys.executable, '-c', SCRIPT], env=env, check=True, capture_output=True, text=True)
    expected = given or str(len(os.sched_getaffinity(0)) + 1)
    assert said.stdout.split() == [expected, '4096.0']
