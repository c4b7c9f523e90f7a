"""Which leaves come from a base, and how that is told; initial values of the others."""

import numpy as np
import pytest

from restac_ros.model.checkpoint.errors import CheckpointError
from restac_ros.model.checkpoint.initial import initial_leaf
from restac_ros.model.checkpoint.merge import plan_merge
from restac_ros.model.checkpoint.network import leaf_shapes
from restac_ros.model.checkpoint.report import LoadReport
from restac_ros.model.presets import PRESETS


@pytest.mark.parametrize('preset', PRESETS)
def test_every_preset_is_the_base_and_leaves_that_may_be_new(preset: str) -> None:
    """At full size, without memory: plain pi0.5 fits into every policy derived from it."""
    config = PRESETS[preset]
    model = leaf_shapes(config)
    base = {
        name: shape for name, shape in model.items() if name.startswith(('PaliGemma', 'action_', 'time_'))
    }
    base = {name: shape for name, shape in base.items() if 'lora' not in name}
    assert len(base) == 51
    plan = plan_merge(model, base, source='base')
    assert set(plan.load) == base.keys()
    assert set(plan.keep) == model.keys() - base.keys()
    assert plan.drop == ()


def test_unused_leaves_are_dropped_and_wanted_ones_started_anew() -> None:
    model = {'a': (2,), 'time_mlp_in/bias': (3,), 'gate/threshold': ()}
    base = {'a': (2,), 'time_mlp_in/bias': (3,), 'state_proj/bias': (4,)}
    plan = plan_merge(model, base, source='base', keep_own='time_mlp')
    assert plan.load == ('a',)
    assert plan.keep == ('time_mlp_in/bias', 'gate/threshold')
    assert plan.drop == ('time_mlp_in/bias', 'state_proj/bias')


def test_missing_leaves_are_all_named() -> None:
    with pytest.raises(CheckpointError, match=r'base: 2 leaves of the model are missing: b, c\. Only leaves'):
        plan_merge({'a': (2,), 'b': (2,), 'c': (1,)}, {'a': (2,)}, source='base')


def test_gating_weights_are_no_gate() -> None:
    """A pattern that covered them would let a base without feed-forward weights pass."""
    name = 'PaliGemma/llm/layers/mlp/gating_einsum'
    with pytest.raises(CheckpointError, match='gating_einsum'):
        plan_merge({name: (1,)}, {}, source='base')


def test_other_shapes_are_named_with_what_was_expected() -> None:
    with pytest.raises(CheckpointError, match=r'a is \(2,\), expected \(3,\)\. Choose the preset'):
        plan_merge({'a': (3,)}, {'a': (2,)}, source='base')


def test_the_table_has_a_row_for_every_leaf_and_totals() -> None:
    params = {'a': np.zeros((2, 3), np.float32), 'gate/threshold': np.zeros((), np.float32)}
    report = LoadReport.of(params, {'a': 'base'}, {'old': (4,)})
    lines = report.table().splitlines()
    assert lines[1].split() == ['loaded', 'a', '2×3', 'float32', 'base']
    assert lines[2].split() == ['kept', 'gate/threshold', 'scalar', 'float32', 'initial', 'value']
    assert lines[3].split() == ['dropped', 'old', '4', 'no', 'such', 'leaf']
    assert lines[4] == 'loaded 1 leaves (6 values), kept 1 leaves (1 values), dropped 1 leaves (4 values)'
    assert report.names('dropped') == ['old']


@pytest.mark.parametrize('preset', PRESETS)
def test_every_leaf_of_every_preset_has_an_initial_value(preset: str) -> None:
    for name in leaf_shapes(PRESETS[preset]):
        leaf = initial_leaf(name, (2, 2, 2, 2), np.float32, 0, everything=True)
        assert np.isfinite(leaf).all(), name
        if name.endswith('/var'):
            assert leaf.min() > 0


def test_weights_keep_the_scale_of_what_they_multiply() -> None:
    """Each sum over inputs of unit variance has unit variance."""
    rng = np.random.default_rng(0)
    w = initial_leaf('PaliGemma/llm/layers/attn/q_einsum/w', (1, 4, 256, 8), np.float32, 0, everything=False)
    y = np.einsum('td,ndh->tnh', rng.standard_normal((200, 256)), w[0])
    assert y.std() == pytest.approx(1.0, abs=0.05)
    w = initial_leaf(
        'PaliGemma/llm/layers/attn/attn_vec_einsum_1/w', (1, 4, 8, 256), np.float32, 0, everything=False
    )
    y = np.einsum('tnh,nhd->td', rng.standard_normal((200, 4, 8)), w[0])
    assert y.std() == pytest.approx(1.0, abs=0.05)
    w = initial_leaf(
        'tactile/encoder/mid_attention/query/kernel', (1, 1, 256, 64), np.float32, 0, everything=False
    )
    y = rng.standard_normal((200, 256)) @ w[0, 0]  # a 1x1 convolution, no projection to heads
    assert y.std() == pytest.approx(1.0, abs=0.05)
    w = initial_leaf('fusion_self_attn/query/kernel', (256, 8, 8), np.float32, 0, everything=False)
    y = np.einsum('td,dnh->tnh', rng.standard_normal((200, 256)), w)
    assert y.std() == pytest.approx(1.0, abs=0.05)


def test_training_starts_from_constants_and_a_demonstration_does_not() -> None:
    for name, constant in (
        ('tactile_token_proj/bias', 0.0),
        ('tactile/encoder/norm_out/scale', 1.0),
        ('default_tactile_embedding', 0.0),
        ('PaliGemma/llm/final_norm_1/Dense_0/kernel', 0.0),
        ('PaliGemma/img/head/kernel', 0.0),
    ):
        start = initial_leaf(name, (8, 4), np.float32, 0, everything=False)
        moved = initial_leaf(name, (8, 4), np.float32, 0, everything=True)
        assert (start == constant).all(), name
        assert moved.std() > 0, name
    assert initial_leaf('gate/temperature', (), np.float32, 0, everything=True) == 1.0


def test_a_leaf_depends_on_its_name_and_the_seed_only() -> None:
    one = initial_leaf('time_mlp_in/kernel', (4, 4), np.float32, 0, everything=True)
    again = initial_leaf('time_mlp_in/kernel', (4, 4), np.float32, 0, everything=True)
    np.testing.assert_array_equal(one, again)
    assert (one != initial_leaf('time_mlp_out/kernel', (4, 4), np.float32, 0, everything=True)).all()
    assert (one != initial_leaf('time_mlp_in/kernel', (4, 4), np.float32, 1, everything=True)).all()


def test_an_unknown_leaf_is_named() -> None:
    with pytest.raises(CheckpointError, match="leaf 'tactile/strange': no rule"):
        initial_leaf('tactile/strange', (1,), np.float32, 0, everything=True)
