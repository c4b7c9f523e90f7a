"""From frame to network and back: cameras, padding, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest

from restac_ros.contract.schema import Contract
from restac_ros.model.config import ModelConfig
from restac_ros.model.errors import ObservationError
from restac_ros.model.observation import CAMERA_SLOTS
from restac_ros.policy.demo_tokenizer import train_demo_tokenizer
from restac_ros.policy.normalization import NormStats, Quantiles
from restac_ros.policy.preprocessing import Preprocessor, stack
from restac_ros.policy.tokenizer import PromptTokenizer, TokenizerError

STATE = np.array([0.5, 0, 0.4, np.pi - 0.01, 0, 0, 0.04])
STATS = NormStats(
    Quantiles((0.2, -0.4, 0.1, 2.0, -1.0, -1.0, 0.0), (0.8, 0.4, 0.6, 4.0, 1.0, 1.0, 0.08)),
    Quantiles((-0.1,) * 6 + (0.0,), (0.1,) * 6 + (0.08,)),
)


@pytest.fixture(scope='module')
def inputs(contract: Contract, micro: ModelConfig) -> Preprocessor:
    tokenizer = PromptTokenizer(train_demo_tokenizer(), micro.max_prompt_tokens, 'test')
    return Preprocessor.from_contract(contract, micro, STATS, tokenizer)


@pytest.fixture
def without_touch(inputs: Preprocessor) -> Preprocessor:
    return replace(inputs, config=replace(inputs.config, fusion='none', tactile=None))


def image(value: int = 7) -> np.ndarray:
    return np.full((224, 224, 3), value, np.uint8)


def row(value: int = 7, task: str = 'insert the plug into the socket') -> dict:
    images = {name: image(value) for name in ('main', 'handeye', 'side')}
    tactile, action_prev = np.full((128, 160, 3), value, np.uint8), np.full(7, 1e-3)
    return {'images': images, 'state': STATE, 'task': task, 'tactile': tactile, 'action_prev': action_prev}


def test_cameras_go_to_the_slots_the_contract_declares(inputs: Preprocessor) -> None:
    assert inputs.slot_of == {
        'main': 'base_0_rgb',
        'handeye': 'left_wrist_0_rgb',
        'side': 'right_wrist_0_rgb',
    }


def test_a_missing_camera_is_hidden_by_its_mask(without_touch: Preprocessor) -> None:
    pixels, valid = without_touch.images({'main': image()})
    assert {slot: bool(mask[0]) for slot, mask in valid.items()} == {
        'base_0_rgb': True,
        'left_wrist_0_rgb': False,
        'right_wrist_0_rgb': False,
    }
    np.testing.assert_array_equal(pixels['base_0_rgb'], image()[None])
    assert pixels['right_wrist_0_rgb'].shape == (1, 224, 224, 3)


@pytest.mark.parametrize(
    ('images', 'message'),
    [
        ({'wrist': image()}, "unknown camera stream 'wrist'; known: main, handeye, side"),
        ({}, 'images: found none, expected some of main, handeye, side'),
        ({'main': image().astype(np.float32)}, r'images\[main\]: found dtype float32, expected uint8'),
        ({'main': image()[:4]}, r'images\[main\]: found shape \(4, 224, 3\), expected \(224, 224, 3\)'),
        ({'main': None}, r'images\[main\]: found None'),
        ({'main': image()}, 'images: handeye, side missing; the tactile prior reads every camera'),
    ],
)
def test_bad_images_are_named(inputs: Preprocessor, images: dict, message: str) -> None:
    with pytest.raises(ObservationError, match=message):
        inputs.images(images)


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        (None, 'state: found None, expected 7 numbers'),
        (np.zeros(6, np.float32), r'state: found shape \(6,\), expected \(7,\)'),
        (np.zeros(7, np.int64), r'state: found dtype int64, expected float32 or float64'),
        (np.array([0, 0, np.nan, 0, 0, 0, 0]), r'state: found nan at \(2,\), expected finite numbers'),
    ],
)
def test_bad_vectors_are_named(inputs: Preprocessor, values: np.ndarray | None, message: str) -> None:
    with pytest.raises(ObservationError, match=message):
        inputs.state(values)


def test_a_row_becomes_what_the_live_calls_give_to_the_network(inputs: Preprocessor) -> None:
    made, given = inputs.observation(**row()), row()
    assert list(made.images) == list(CAMERA_SLOTS)
    pixels, valid = inputs.images(given['images'])
    for slot in CAMERA_SLOTS:
        np.testing.assert_array_equal(made.images[slot], pixels[slot])
        np.testing.assert_array_equal(made.image_masks[slot], valid[slot])
    np.testing.assert_array_equal(made.state, inputs.state(STATE))
    np.testing.assert_array_equal(made.tactile, given['tactile'][None])
    np.testing.assert_array_equal(made.action_prev, np.full((1, 7), 1e-3, np.float32))
    prompt = inputs.prompting.prompt(inputs.prompting.task(given['task']), STATE)
    tokens, mask = prompt.padded(inputs.prompting.padded_length(prompt))
    np.testing.assert_array_equal(made.tokenized_prompt, tokens)
    np.testing.assert_array_equal(made.tokenized_prompt_mask, mask)


def test_states_are_normalised_by_quantiles_and_padded_with_zeros(inputs: Preprocessor) -> None:
    state = inputs.state(STATE)
    assert state.dtype == np.float32
    np.testing.assert_allclose(state[0, :3], [0.0, 0.0, 0.2], atol=1e-5)
    np.testing.assert_array_equal(state[0, 7:], 0.0)


def test_actions_are_normalised_deltas_and_come_back_as_deltas(inputs: Preprocessor) -> None:
    targets = STATE + np.array([[0.01, 0, -0.02, 0.02, 0, 0, 0.01], [0, 0.05, 0, 0, 0.03, 0, -0.04]])
    targets[0, 3] -= 2 * np.pi  # the same roll, a turn away
    actions = inputs.actions(targets, STATE)
    assert (actions.shape, actions.dtype) == ((2, inputs.config.action_dim), np.float32)
    np.testing.assert_allclose(actions[0, :4], [0.1, 0.0, -0.2, 0.2], atol=1e-4)
    np.testing.assert_array_equal(actions[:, 7:], 0.0)
    deltas = inputs.deltas_from_actions(actions)
    np.testing.assert_allclose(deltas[0], [0.01, 0, -0.02, 0.02, 0, 0, 0.05], atol=1e-6)
    np.testing.assert_allclose(deltas[1], [0, 0.05, 0, 0, 0.03, 0, 0.0], atol=1e-6)


def test_a_stacked_batch_holds_every_row_with_prompts_padded_to_the_longest(inputs: Preprocessor) -> None:
    rows = [inputs.observation(**row(1, 'lift')), inputs.observation(**row(2, 'insert the plug ' * 8))]
    batch = stack(rows)
    assert batch.state.shape == (2, inputs.config.action_dim)
    assert batch.images['base_0_rgb'][:, 0, 0, 0].tolist() == [1, 2]
    assert batch.tactile.shape == (2, 128, 160, 3)
    for index, one in enumerate(rows):
        length = one.tokenized_prompt.shape[1]
        np.testing.assert_array_equal(batch.tokenized_prompt[index, :length], one.tokenized_prompt[0])
        assert batch.tokenized_prompt_mask[index].sum() == one.tokenized_prompt_mask.sum()


def test_a_task_that_does_not_fit_is_refused(inputs: Preprocessor) -> None:
    with pytest.raises(TokenizerError, match='does not fit'):
        inputs.observation(**row(task='insert the plug ' * 40))
