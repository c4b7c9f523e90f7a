"""Policy and streamer as processes: chunks continue the one that is executed, and none after a halt."""

import math
from pathlib import Path

import pytest

pytest.importorskip('rclpy')
pytest.importorskip('restac_ros.msg', reason='the messages are not built: `make build`')

from restac_ros.msg import ActionChunk, ChunkUse
from std_srvs.srv import Trigger

from restac_ros.contract.load import load_contract
from restac_ros.model.config import GemmaConfig, ModelConfig, SiglipConfig
from restac_ros.policy.init_checkpoint import init_checkpoint

# Of the least size, as guidance compiles the network's derivative, too.
MICRO = ModelConfig(
    paligemma=GemmaConfig(16, 1, 24, num_heads=2, num_kv_heads=1, head_dim=8),
    action_expert=GemmaConfig(16, 1, 24, num_heads=2, num_kv_heads=1, head_dim=8),
    siglip=SiglipConfig(width=8, depth=1, mlp_dim=16, num_heads=2, patch_size=56),
    vocab_size=512,
    max_prompt_tokens=32,
    action_dim=9,
    action_horizon=16,
    dtype='float32',
)


@pytest.fixture
def start_policy(start_node, patient_contract_file: Path, compile_cache: Path, tmp_path: Path):
    init_checkpoint(MICRO, load_contract(patient_contract_file), tmp_path / 'micro')
    given = {
        'contract': patient_contract_file,
        'checkpoint': tmp_path / 'micro',
        'prompt': 'push',
        'compile_cache': compile_cache,
        'flow_steps': 5,
    }
    return lambda **parameters: start_node('policy_node', **given, **parameters)


def test_chunks_continue_what_is_executed(robot, start_node, start_policy, wait_until) -> None:
    chunks = robot.listen('/policy_node/action_chunk', ActionChunk)
    uses = robot.listen('/streamer_node/chunk_use', ChunkUse)
    policy = start_policy(chunking='rtc_guided')
    policy.wait_for('ready after')
    robot.swing_rad = 0.01  # else the arm is elsewhere by the time a late chunk would start
    robot.publish_streams()
    wait_until(lambda: len(chunks) >= 3, lambda: f'chunks: {policy.log}')
    assert not any(chunk.continues for chunk in chunks), 'nobody executes them'
    assert all(chunk.chunking == ActionChunk.CHUNKING_RTC_GUIDED for chunk in chunks)

    # The robot moves by itself, so the streamer must not mind how far it is from its set-points.
    streamer = start_node('streamer_node', following_m=1.0, following_rad=3.0)
    wait_until(
        lambda: sum(chunk.continues for chunk in chunks) >= 15,
        lambda: f'continued chunks: {policy.log} {streamer.log}',
    )
    assert all(math.isfinite(number) for chunk in chunks for number in chunk.delta_pose)
    continued = [chunk for chunk in chunks if chunk.continues]
    assert continued[0].continued_delay_steps == 3, 'the initial estimate'
    assert continued[-1].continued_delay_steps >= 1, 'set-points look ahead: a chunk is never in time'
    # On a busy machine a chunk can end before the next one came: then the streamer holds, and says so.
    executed = {(use.chunk_stamp.sec, use.chunk_stamp.nanosec) for use in uses if use.moving}
    assert executed

    robot.call('/streamer_node/halt', Trigger)
    wait_until(lambda: not uses[-1].moving, 'the halt')
    halted = len(chunks)
    wait_until(  # the policy may receive later than this test that nothing is executed any more
        lambda: len(chunks) >= halted + 5 and not any(chunk.continues for chunk in chunks[-5:]),
        lambda: f'chunks while halted: {policy.log}',
    )
    assert executed <= {(chunk.header.stamp.sec, chunk.header.stamp.nanosec) for chunk in chunks}
    assert streamer.end() == 0
    assert policy.end() == 0
    summary = policy.summary
    assert summary['continued'] == sum(chunk.continues for chunk in chunks)
    assert summary['continued'] + summary['planned_freely'] == summary['chunks']


def test_an_untrained_checkpoint_is_refused(start_policy) -> None:
    policy = start_policy(chunking='rtc_trained', exit_on_refusal=True)
    assert policy.wait() == 1
    assert 'it was not trained to continue a chunk' in policy.log
    assert "Choose 'rtc_guided'" in policy.log


def test_guidance_that_would_overshoot_is_refused(start_policy) -> None:
    policy = start_policy(chunking='rtc_guided', rtc_max_guidance=5.5, exit_on_refusal=True)
    assert policy.wait() == 1
    assert "'rtc_max_guidance' is 5.5, above 'flow_steps', which is 5" in policy.log
