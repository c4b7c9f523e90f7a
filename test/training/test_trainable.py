"""Which leaves each published configuration trains, counted against openpi's own numbers."""

from dataclasses import replace

import pytest

from restac_ros.model.checkpoint.network import abstract_leaves, leaf_shapes
from restac_ros.model.presets import GEMMA_VARIANTS, PRESETS
from restac_ros.training.config import CONFIGS
from restac_ros.training.memory import estimate
from restac_ros.training.trainable import split_leaves


def values(names: tuple[str, ...], shapes: dict[str, tuple[int, ...]]) -> int:
    total = 0
    for name in names:
        size = 1
        for side in shapes[name]:
            size *= side
        total += size
    return total


@pytest.mark.parametrize('name', list(CONFIGS))
def test_every_leaf_is_on_one_side_and_unit_align_alone_is_frozen(name: str) -> None:
    config = PRESETS[CONFIGS[name].preset]
    shapes = leaf_shapes(config)
    split = split_leaves(config, shapes)
    assert sorted([*split.trained, *split.frozen]) == sorted(shapes)
    trains = config.tactile is not None and config.tactile.kind in ('cnn', 'cnn_map')
    assert bool([leaf for leaf in split.trained if leaf.startswith('tactile/')]) == trains


@pytest.mark.parametrize('name', list(CONFIGS))
def test_every_training_but_that_of_adapters_deploys_a_moving_average(name: str) -> None:
    assert (CONFIGS[name].ema_decay is None) == name.endswith('_lora')


def test_lora_trains_what_openpi_trains() -> None:
    shapes = leaf_shapes(PRESETS['pi05_lora'])
    split = split_leaves(PRESETS['pi05_lora'], shapes)
    assert (len(split.frozen), values(split.frozen, shapes)) == (20, 2_936_464_384)
    assert values(split.trained, shapes) == 466_957_072


def test_an_adapted_action_expert_leaves_the_language_expert_trained() -> None:
    config = replace(PRESETS['pi05'], action_expert=GEMMA_VARIANTS['gemma_300m_lora'])
    shapes = leaf_shapes(config)
    split = split_leaves(config, shapes)
    assert (len(split.frozen), values(split.frozen, shapes)) == (11, 427_932_672)


def test_full_training_freezes_nothing_of_pi05() -> None:
    assert split_leaves(PRESETS['pi05'], leaf_shapes(PRESETS['pi05'])).frozen == ()


@pytest.mark.parametrize('name', ['pi05_restac_lora', 'pi05_restac_token_in_ae_lora'])
def test_touch_is_trained_beside_the_adapters(name: str) -> None:
    trained = split_leaves(PRESETS[name], leaf_shapes(PRESETS[name])).trained
    assert {'gate/threshold', 'gate/temperature'} <= set(trained)
    assert any('lora_a' in leaf for leaf in trained)
    assert not [leaf for leaf in trained if '/llm/' in leaf and 'lora' not in leaf]


def test_the_action_expert_alone_leaves_the_prefix_as_it_is() -> None:
    config = PRESETS['tiny']
    split = split_leaves(config, leaf_shapes(config), 'action_expert')
    prefix = [leaf for leaf in split.trained if leaf.startswith('PaliGemma/')]
    assert prefix
    assert all('_1' in leaf for leaf in prefix)
    assert 'default_tactile_embedding' in split.trained


def test_memory_is_counted_by_what_is_trained() -> None:
    """Weights, two moments and gradients of what is trained in float32; what is frozen in bfloat16."""
    config = PRESETS['pi05_lora']
    leaves = abstract_leaves(config)
    trained, frozen = 466_957_072, 2_936_464_384
    for fsdp in (1, 2):
        found = estimate(
            config,
            leaves,
            split_leaves(config, leaves).trained,
            frozen_itemsize=2,
            average=False,
            micro_batch=4,
            fsdp=fsdp,
        )
        assert found.parameters * fsdp == 4 * trained + 2 * frozen
        assert (found.optimizer * fsdp, found.gradients * fsdp) == (8 * trained, 4 * trained)
        assert found.average == 0
        assert found.total - found.activations == found.parameters + found.optimizer + found.gradients
        assert 'GiB' in str(found)
