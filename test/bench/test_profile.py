"""Profiles: traced events are attributed to the operations behind them."""

import jax
import jax.numpy as jnp
import pytest

from restac_ros.bench.profile import operation_names, profile, shares

_TEXT = """
HloModule jit_f
%body (p: f32[2]) -> f32[2] {
  ROOT %exp.2 = f32[2]{0} exponential(%p), metadata={op_name="jit(f)/while/body/exp" stack_frame_id=1}
}
ENTRY %main {
  %ynn_fusion.1 = f32[2]{0} fusion(%a), kind=kCustom, metadata={op_name="jit(f)/dot_general"}
  %while.3 = f32[2]{0} while(%b), metadata={op_name="jit(f)/while"}
  %bare = f32[2]{0} copy(%c)
}
"""


def _event(instruction: str, duration_us: float, program: str = 'jit_f') -> dict:
    return {'ph': 'X', 'dur': duration_us, 'args': {'hlo_module': program, 'hlo_op': instruction}}


def test_shares_add_up_what_is_known_and_leave_out_loops() -> None:
    events = [
        _event('ynn_fusion.1', 30.0),
        _event('ynn_fusion.1', 30.0),
        _event('exp.2', 20.0),
        _event('while.3', 1000.0),
        _event('exp.2', 500.0, program='jit_g'),
        {'ph': 'M', 'name': 'thread name'},
    ]
    found = shares(events, operation_names('jit_f', _TEXT))
    assert [(share.operation, share.count) for share in found] == [('dot_general', 2), ('exp', 1)]
    assert [share.share for share in found] == pytest.approx([0.75, 0.25])
    assert found[0].seconds == pytest.approx(60e-6)


def test_a_real_call_is_mostly_its_matrix_product() -> None:
    matrix = jnp.ones((512, 512))
    product = jax.jit(lambda x: jnp.sin(x @ x)).lower(matrix).compile()
    found = profile(lambda: jax.block_until_ready(product(matrix)))
    assert found
    assert {share.operation for share in found} <= {'dot_general', 'sin'}
    assert sum(share.share for share in found) == pytest.approx(1.0)
