"""The three calls: their numbers against the plain network, their refusals, and that warm means warm."""

import gc
import json
import logging
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx

from checkpoints import load_checkpoint
from restac_ros.contract.load import dump_contract, parse_contract
from restac_ros.contract.schema import Contract
from restac_ros.model.checkpoint.errors import CheckpointError
from restac_ros.model.checkpoint.network import assemble
from restac_ros.model.checkpoint.store import NORM_STATS, StoredParams, save_checkpoint
from restac_ros.model.config import ModelConfig
from restac_ros.model.errors import ObservationError
from restac_ros.model.observation import make_observation
from restac_ros.policy.errors import NonFiniteError, PolicyError
from restac_ros.policy.init_checkpoint import init_checkpoint
from restac_ros.policy.loading import collecting_no_garbage
from restac_ros.policy.normalization import NormStats
from restac_ros.policy.policy import Policy
from restac_ros.policy.prompting import Prompting
from restac_ros.policy.stages import residual_norms
from restac_ros.policy.tokenizer import PromptTokenizer, TokenizerError

PROMPT = 'insert the plug into the socket'


@pytest.fixture(scope='module')
def load(checkpoint: Path, contract: Contract, compile_cache: Path) -> Callable[..., Policy]:
    def load(
        path: Path = checkpoint, contract: Contract = contract, prompt: str = PROMPT, **options: Any
    ) -> Policy:
        options.setdefault('num_steps', 3)
        return Policy.load(path, contract, prompt, compile_cache=compile_cache, **options)

    return load


@pytest.fixture(scope='module')
def policy(load: Callable[..., Policy]) -> Policy:
    policy = load()
    policy.warm_up()
    return policy


def changed(contract: Contract, **paths: Any) -> Contract:
    """The contract with values replaced by dotted path (dots written as __)."""
    data = contract.model_dump(mode='json', exclude_none=True)
    for path, value in paths.items():
        *parents, last = path.split('__')
        node = data
        for parent in parents:
            node = node[parent]
        node[last] = value
    return parse_contract(json.dumps(data))


def test_a_chunk_is_what_the_network_computes_in_raw_units(
    policy: Policy, checkpoint: Path, inputs: Any
) -> None:
    """The twin: the checked observation, the network in one piece, normalisation by hand."""
    noise = np.random.default_rng(3).standard_normal((5, 9)).astype(np.float32)
    prefix = policy.encode_prefix(inputs.images, stamp_ns=11)
    touch = policy.encode_tactile(inputs.tactile, prefix, inputs.action_prev, stamp_ns=12)
    chunk = policy.act(prefix, touch, inputs.state, noise=noise)

    loaded = load_checkpoint(checkpoint, consume=jax.device_put)
    graph, leaves = assemble(loaded.info.config, loaded.params, source='test')
    stats = NormStats.from_dict(loaded.info.norm_stats, 'test', 7)
    low, high = np.array(stats.state.q01), np.array(stats.state.q99)
    state = np.zeros((1, 9), np.float32)
    state[0, :7] = (inputs.state - low) / (high - low + 1e-6) * 2 - 1
    prompt = PromptTokenizer(loaded.info.tokenizer, 64, 'test').encode(PROMPT)
    tokens, mask = prompt.padded(64)
    slots = {'main': 'base_0_rgb', 'handeye': 'left_wrist_0_rgb', 'side': 'right_wrist_0_rgb'}
    observation = make_observation(
        loaded.info.config,
        images={slots[name]: image[None] for name, image in inputs.images.items()},
        image_masks={slot: np.array([True]) for slot in slots.values()},
        state=state,
        tokenized_prompt=tokens,
        tokenized_prompt_mask=mask,
        tactile=inputs.tactile[None],
        action_prev=inputs.action_prev[None],
    )

    @jax.jit
    def reference(leaves: nnx.State, observation: Any) -> tuple[Any, ...]:  # a constant would be folded
        model = nnx.merge(graph, leaves)
        code = model.observe_touch(observation)
        cache = model.encode_prefix(
            observation.images,
            observation.image_masks,
            observation.tokenized_prompt,
            observation.tokenized_prompt_mask,
        )
        plan = model.plan_sampling(3)
        return code, *model.sample_actions(cache, code, observation.state, noise[None], plan)

    code, actions, reading = reference(leaves, observation)
    low, high = np.array(stats.actions.q01), np.array(stats.actions.q99)
    expected = (np.asarray(actions[0, :, :7], np.float64) + 1) / 2 * (high - low + 1e-6) + low
    np.testing.assert_allclose(chunk.delta_pose, expected[:, :6], atol=1e-5)
    np.testing.assert_allclose(chunk.gripper_opening_m, expected[:, 6], atol=1e-5)
    assert chunk.delta_pose.dtype == np.float64
    assert touch.gate == pytest.approx(float(reading.gate[0, 0]), abs=1e-6)
    assert touch.logvar == pytest.approx(float(code.logvar[0, 0]), abs=1e-6)
    assert touch.logvar_standardised == pytest.approx(float(reading.logvar_standardised[0, 0]), abs=1e-4)
    assert touch.code_index == int(code.code_index[0])
    assert touch.residual_map is None  # this encoder expects nothing
    assert np.isnan(touch.residual_norm)


def test_the_residual_map_holds_the_norm_of_each_position_and_sums_up_to_that_of_all() -> None:
    residual = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
    maps, norms = residual_norms(jax.numpy.asarray(residual))
    np.testing.assert_allclose(maps, np.linalg.norm(residual, axis=1), rtol=1e-6)
    np.testing.assert_allclose(norms, [np.linalg.norm(one) for one in residual], rtol=1e-6)
    maps, norms = residual_norms(None)
    assert maps is None
    assert np.isnan(norms).all()


def test_stamps_and_origins_travel_with_the_products(policy: Policy, inputs: Any) -> None:
    prefix = policy.encode_prefix(inputs.images, stamp_ns=1_000)
    touch = policy.encode_tactile(inputs.tactile, prefix, inputs.action_prev, stamp_ns=2_000)
    chunk = policy.act(prefix, touch, inputs.state, seed=5, index=7)
    assert (prefix.stamp_ns, prefix.prompt, prefix.hidden) == (1_000, PROMPT, ())
    assert (touch.stamp_ns, touch.prefix_stamp_ns) == (2_000, 1_000)
    assert (chunk.prefix_stamp_ns, chunk.touch, chunk.noise_seed, chunk.noise_index) == (1_000, touch, 5, 7)
    assert chunk.horizon == 5
    assert chunk.gate == touch.gate
    np.testing.assert_array_equal(chunk.state, inputs.state)


def test_noise_follows_seed_and_call(load: Callable[..., Policy], inputs: Any) -> None:
    def chunks(policy: Policy, count: int) -> list[np.ndarray]:
        policy.warm_up()
        prefix = policy.encode_prefix(inputs.images, 0)
        touch = policy.encode_tactile(inputs.tactile, prefix, inputs.action_prev, 0)
        return [policy.act(prefix, touch, inputs.state).delta_pose for _ in range(count)]

    first, second = chunks(load(seed=1), 2)
    again = chunks(load(seed=1), 2)
    (other,) = chunks(load(seed=2), 1)
    np.testing.assert_array_equal([first, second], again)
    assert np.abs(first - second).max() > 1e-4
    assert np.abs(first - other).max() > 1e-4


def test_warm_calls_compile_nothing(
    load: Callable[..., Policy], inputs: Any, caplog: pytest.LogCaptureFixture
) -> None:
    policy = load(use_compile_cache=False)
    assert policy.warm_up() == (16,)
    with jax.log_compiles(), caplog.at_level(logging.DEBUG, logger='jax'):
        prefix = policy.encode_prefix(inputs.images, 0)
        touch = policy.encode_tactile(inputs.tactile, prefix, inputs.action_prev, 0)
        policy.act(prefix, touch, inputs.state)
        compiled = [record for record in caplog.records if 'ompil' in record.getMessage()]
        assert compiled == []
        policy.set_prompt(f'{PROMPT} and press the button gently, then wipe the whiteboard with the sponge')
        assert any('ompil' in record.getMessage() for record in caplog.records)  # the log does tell


def test_auto_chooses_an_arithmetic_and_gives_the_reason(load: Callable[..., Policy], inputs: Any) -> None:
    """In whichever it is, actions are near those of float32."""
    exact, auto = load(), load(dtype='auto')
    assert exact.arithmetic == 'float32 (as the checkpoint says)'
    assert auto.arithmetic.startswith(auto.config.dtype)
    assert '(auto: ' in auto.arithmetic

    def chunk(policy: Policy) -> np.ndarray:
        prefix = policy.encode_prefix(inputs.images, 0)
        touch = policy.encode_tactile(inputs.tactile, prefix, inputs.action_prev, 0)
        return policy.act(prefix, touch, inputs.state, seed=0, index=0).delta_pose

    expected = chunk(exact)
    assert np.abs(chunk(auto) - expected).max() < 0.05 * np.ptp(expected)


def test_programs_are_kept_on_disk(policy: Policy, compile_cache: Path) -> None:
    del policy
    assert len(list(compile_cache.iterdir())) >= 3


def test_a_longer_prompt_is_compiled_when_it_is_set_not_when_it_is_used(
    load: Callable[..., Policy], inputs: Any
) -> None:
    policy = load()
    policy.warm_up()
    old = policy.encode_prefix(inputs.images, 0)
    policy.set_prompt('pick up the cup on the table and place it beside the drawer, then lift the red block')
    assert policy.prompt.startswith('pick up')
    new = policy.encode_prefix(inputs.images, 0)
    assert old.num_tokens == 16
    assert new.num_tokens > old.num_tokens
    for prefix in (old, new):  # a prefix of the earlier prompt can still be finished
        touch = policy.encode_tactile(inputs.tactile, prefix, inputs.action_prev, 0)
        policy.act(prefix, touch, inputs.state)


@pytest.mark.parametrize('fusion', ['token_in_ae', 'forcevla'])
def test_padding_of_the_prompt_changes_no_result(
    fusion: str,
    contract: Contract,
    micro: ModelConfig,
    load: Callable[..., Policy],
    inputs: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    init_checkpoint(replace(micro, fusion=fusion), contract, tmp_path / 'checkpoint')
    policy = load(tmp_path / 'checkpoint')
    noise = np.ones((5, 9), np.float32)

    def chunk() -> np.ndarray:
        prefix = policy.encode_prefix(inputs.images, 0)
        touch = policy.encode_tactile(inputs.tactile, prefix, inputs.action_prev, 0)
        return policy.act(prefix, touch, inputs.state, noise=noise).delta_pose

    short = chunk()
    monkeypatch.setattr(Prompting, 'padded_length', lambda self, prompt: 64)
    np.testing.assert_allclose(chunk(), short, atol=2e-6)


def test_three_threads_get_what_one_gets(policy: Policy, inputs: Any) -> None:
    noise = np.zeros((5, 9), np.float32)
    prefix = policy.encode_prefix(inputs.images, 0)
    touch = policy.encode_tactile(inputs.tactile, prefix, inputs.action_prev, 0)
    expected = policy.act(prefix, touch, inputs.state, noise=noise).delta_pose
    wrong: list[str] = []

    def repeat(name: str, call: Callable[[], np.ndarray], value: np.ndarray) -> None:
        for _ in range(10):
            if not np.array_equal(call(), value):
                wrong.append(name)

    gate = np.array(touch.gate)
    work = {
        'prefix': (
            lambda: np.asarray(policy.encode_prefix(inputs.images, 0).cache.keys),
            np.asarray(prefix.cache.keys),
        ),
        'touch': (
            lambda: np.array(policy.encode_tactile(inputs.tactile, prefix, inputs.action_prev, 0).gate),
            gate,
        ),
        'act': (lambda: policy.act(prefix, touch, inputs.state, noise=noise).delta_pose, expected),
    }
    threads = [threading.Thread(target=repeat, args=(name, *task)) for name, task in work.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize(
    ('change', 'field', 'found', 'expected'),
    [
        ({'fps': 10}, 'fps', '10', '15'),
        ({'rotation__convention': 'rotvec'}, r'rotation\.convention', "'rotvec'", "'rpy'"),
        (
            {'rotation__branch_centre_rad': [0.0, 0.0, 0.0]},
            r'rotation\.branch_centre_rad',
            r'\(0\.0, ',
            r'\(3\.14',
        ),
        ({'action__delta': 'so3'}, r'action\.delta', "'so3'", "'elementwise'"),
        ({'gripper__opening_m': [0.0, 0.1]}, r'gripper\.opening_m', r'\(0\.0, 0\.1\)', r'\(0\.0, 0\.08\)'),
        (
            {'streams__main__feature': 'observation.images.top'},
            r'base_0_rgb\.feature',
            "'observation.images.top'",
            "'observation.images.main_realsense_rgb'",
        ),
        (
            {'robot__pose_tool_in_hand__xyz_m': [0.0, 0.0, 0.1]},
            r'robot\.pose_tool_in_hand\.xyz_m',
            r'\(0\.0, 0\.0, 0\.1\)',
            r'\(0\.0, 0\.0, 0\.0\)',
        ),
    ],
)
def test_a_contract_of_another_meaning_is_refused(
    load: Callable[..., Policy], contract: Contract, change: dict, field: str, found: str, expected: str
) -> None:
    with pytest.raises(PolicyError, match=rf'{field}: found {found}.*, expected {expected}'):
        load(contract=changed(contract, **change))


def test_refusals_come_before_the_parameters_are_read(
    load: Callable[..., Policy], contract: Contract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StoredParams, 'read', lambda *args, **options: pytest.fail('parameters read'))
    monkeypatch.setattr(
        'restac_ros.policy.policy.checked_beside', lambda path: pytest.fail('checksums compared')
    )
    with pytest.raises(PolicyError, match='fps: found 12, expected 15'):
        load(contract=changed(contract, fps=12))
    with pytest.raises(TokenizerError, match='no such tokenizer file'):
        load(tokenizer=tmp_path / 'absent.model')
    with pytest.raises(TokenizerError, match='found an empty text'):
        load(prompt=' ')
    with pytest.raises(TokenizerError, match='tokens'):
        load(prompt='press the edge ' * 100)


def test_a_load_leaves_the_garbage_collector_as_it_was(load: Callable[..., Policy]) -> None:
    with collecting_no_garbage():
        assert not gc.isenabled()
        with pytest.raises(TokenizerError):
            load(prompt=' ')
        assert not gc.isenabled()
    assert gc.isenabled()


def test_a_damaged_file_is_named_rather_than_what_it_led_to(
    load: Callable[..., Policy], checkpoint: Path, tmp_path: Path
) -> None:
    """The statistics are still JSON, so that they would be complained about themselves."""
    copy = Path(shutil.copytree(checkpoint, tmp_path / 'copy'))
    stats = copy / NORM_STATS
    stats.write_text('{}'.ljust(stats.stat().st_size))
    with pytest.raises(CheckpointError, match=r'norm_stats\.json: content does not match its checksum'):
        load(path=copy)


def test_topics_rates_and_limits_may_differ(load: Callable[..., Policy], contract: Contract) -> None:
    load(
        contract=changed(
            contract,
            name='another_site',
            streams__main__topic='/cam0/image',
            streams__main__rate_hz=60,
            streams__side__latency_ms=12,
            limits__speed_m_s=0.1,
        )
    )


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (lambda p, i: p.encode_prefix({'main': i.images['main']}, 0), 'handeye, side missing'),
        (
            lambda p, i: p.encode_prefix(i.images | {'top': i.images['main']}, 0),
            "unknown camera stream 'top'",
        ),
        (
            lambda p, i: p.encode_prefix(i.images | {'main': i.images['main'][:10]}, 0),
            r'images\[main\]: found shape \(10, 224, 3\), expected \(224, 224, 3\)',
        ),
    ],
)
def test_bad_images_are_refused(policy: Policy, inputs: Any, call: Callable, message: str) -> None:
    with pytest.raises(ObservationError, match=message):
        call(policy, inputs)


def test_bad_touch_state_and_noise_are_refused(policy: Policy, inputs: Any) -> None:
    prefix = policy.encode_prefix(inputs.images, 0)
    letterboxed = np.zeros((224, 224, 3), np.uint8)
    with pytest.raises(
        ObservationError, match=r'tactile: found shape \(224, 224, 3\), expected \(128, 160, 3\)'
    ):
        policy.encode_tactile(letterboxed, prefix, inputs.action_prev, 0)
    with pytest.raises(ObservationError, match='tactile: found dtype float32, expected uint8'):
        policy.encode_tactile(inputs.tactile.astype(np.float32), prefix, inputs.action_prev, 0)
    with pytest.raises(ObservationError, match='action_prev: found None'):
        policy.encode_tactile(inputs.tactile, prefix, None, 0)
    touch = policy.encode_tactile(inputs.tactile, prefix, inputs.action_prev, 0)
    with pytest.raises(PolicyError, match="touch: found None, expected a Touch: fusion = 'token_in_ae'"):
        policy.act(prefix, None, inputs.state)
    with pytest.raises(ObservationError, match=r'state: found nan'):
        policy.act(prefix, touch, np.full(7, np.nan))
    with pytest.raises(PolicyError, match=r'noise: found float64 \(5, 9\), expected finite float32 \(5, 9\)'):
        policy.act(prefix, touch, inputs.state, noise=np.zeros((5, 9)))


@pytest.mark.parametrize(
    ('leaf', 'stage'),
    [
        ('PaliGemma/img/head/bias', 'encode_prefix'),
        ('tactile_token_proj/bias', 'act'),
        ('action_out_proj/bias', 'act'),
    ],
)
def test_nan_is_reported_by_the_stage_that_gave_it(
    checkpoint: Path, load: Callable[..., Policy], inputs: Any, tmp_path: Path, leaf: str, stage: str
) -> None:
    good = load_checkpoint(checkpoint)
    broken = {name: np.array(value) for name, value in good.params.items()}
    broken[leaf][0] = np.nan
    save_checkpoint(tmp_path / 'broken', broken, good.info)
    policy = load(tmp_path / 'broken')

    def run() -> None:
        prefix = policy.encode_prefix(inputs.images, 0)
        touch = policy.encode_tactile(inputs.tactile, prefix, inputs.action_prev, 0)
        policy.act(prefix, touch, inputs.state)

    with pytest.raises(NonFiniteError, match=rf'^{stage}: .*NaN or infinity; hold'):
        run()


def test_nan_in_the_tactile_encoder_is_reported(
    checkpoint: Path, load: Callable[..., Policy], inputs: Any, tmp_path: Path
) -> None:
    good = load_checkpoint(checkpoint)
    broken = {
        name: np.full_like(value, np.nan) if name.startswith('tactile/') and value.ndim == 1 else value
        for name, value in good.params.items()
    }
    save_checkpoint(tmp_path / 'broken', broken, good.info)
    policy = load(tmp_path / 'broken')
    with pytest.raises(NonFiniteError, match=r'^encode_'):
        policy.encode_tactile(inputs.tactile, policy.encode_prefix(inputs.images, 0), inputs.action_prev, 0)


def test_a_policy_without_touch_hides_missing_cameras(
    contract: Contract, micro: ModelConfig, load: Callable[..., Policy], inputs: Any, tmp_path: Path
) -> None:
    init_checkpoint(replace(micro, fusion='none', tactile=None), contract, tmp_path / 'plain')
    policy = load(tmp_path / 'plain')
    assert policy.tactile_stream is None
    noise = np.zeros((5, 9), np.float32)

    def chunk(images: dict) -> np.ndarray:
        return policy.act(policy.encode_prefix(images, 0), None, inputs.state, noise=noise).delta_pose

    two = {name: inputs.images[name] for name in ('main', 'side')}
    assert policy.encode_prefix(two, 0).hidden == ('handeye',)
    assert np.abs(chunk(two) - chunk(inputs.images)).max() > 1e-4
    with pytest.raises(PolicyError, match='this policy has no touch'):
        policy.encode_tactile(inputs.tactile, policy.encode_prefix(two, 0), inputs.action_prev, 0)


def test_the_state_can_enter_through_the_prompt(
    contract: Contract, micro: ModelConfig, load: Callable[..., Policy], inputs: Any, tmp_path: Path
) -> None:
    config = replace(micro, state_input='prompt', max_prompt_tokens=80)
    init_checkpoint(config, contract, tmp_path / 'prompted')
    policy = load(tmp_path / 'prompted', prompt='lift')
    lengths = policy.warm_up()
    assert len(lengths) >= 2  # bins of one to three digits
    with pytest.raises(ObservationError, match='state: found None'):
        policy.encode_prefix(inputs.images, 0)
    moved = inputs.state + np.array([0.1, 0, 0, 0, 0, 0, 0], np.float32)
    prefixes = [policy.encode_prefix(inputs.images, 0, state) for state in (inputs.state, moved)]
    assert all(prefix.num_tokens in lengths for prefix in prefixes)
    np.testing.assert_array_equal(prefixes[1].state_used, moved)
    touch = policy.encode_tactile(inputs.tactile, prefixes[0], inputs.action_prev, 0)
    noise = np.zeros((5, 9), np.float32)
    first, second = (policy.act(p, touch, inputs.state, noise=noise).delta_pose for p in prefixes)
    assert np.abs(first - second).max() > 1e-5


def test_bfloat16_stays_near_float32(load: Callable[..., Policy], policy: Policy, inputs: Any) -> None:
    half = load(dtype='bfloat16')
    noise = np.zeros((5, 9), np.float32)

    def chunk(policy: Policy) -> np.ndarray:
        prefix = policy.encode_prefix(inputs.images, 0)
        touch = policy.encode_tactile(inputs.tactile, prefix, inputs.action_prev, 0)
        return policy.act(prefix, touch, inputs.state, noise=noise).delta_pose

    difference = np.abs(chunk(half) - chunk(policy)).max()
    assert 0 < difference < 0.02
    assert half.config.dtype == 'bfloat16'


def test_notes_tell_what_an_operator_should_know(load: Callable[..., Policy], policy: Policy) -> None:
    assert [note.split(':')[0] for note in policy.notes] == ['normalisation statistics', 'gate calibration']


def test_a_prompt_that_does_not_fit_is_refused_not_cut(load: Callable[..., Policy], policy: Policy) -> None:
    with pytest.raises(TokenizerError, match=r'expected at most 64: .* does not fit; shorten'):
        load(prompt='insert the plug ' * 40)
    with pytest.raises(TokenizerError, match='does not fit'):
        policy.set_prompt('insert the plug ' * 40)
    assert policy.prompt == PROMPT


def test_a_tokenizer_with_more_pieces_than_the_model_embeds_is_refused(
    contract: Contract, micro: ModelConfig, load: Callable[..., Policy], tmp_path: Path
) -> None:
    init_checkpoint(replace(micro, vocab_size=300), contract, tmp_path / 'small')
    with pytest.raises(PolicyError, match='found 512 pieces, expected at most 300'):
        load(tmp_path / 'small')


def test_statistics_of_another_robot_are_refused(
    checkpoint: Path, load: Callable[..., Policy], tmp_path: Path
) -> None:
    good = load_checkpoint(checkpoint)
    stats = json.loads(json.dumps(good.info.norm_stats))
    for values in stats['norm_stats'].values():
        for quantile in values.values():
            quantile.append(1.0)
    save_checkpoint(tmp_path / 'eight', good.params, replace(good.info, norm_stats=stats))
    with pytest.raises(ValueError, match=r'norm_stats\.state: found 8 values, expected 7'):
        load(tmp_path / 'eight')


def test_the_contract_in_a_checkpoint_is_the_one_it_was_made_for(
    checkpoint: Path, contract: Contract
) -> None:
    text = (checkpoint / 'contract.yaml').read_text()
    assert parse_contract(text) == contract
    assert text == dump_contract(contract)


def test_loading_a_policy_needs_neither_ros_nor_torch() -> None:
    probe = (
        'import sys, restac_ros.policy.policy, restac_ros.policy.init_checkpoint; '
        'print([name for name in ("rclpy", "torch", "lerobot") if name in sys.modules])'
    )
    run = subprocess.run([sys.executable, '-c', probe], capture_output=True, text=True, check=False)
    assert run.stdout.strip() == '[]', run.stderr or run.stdout
