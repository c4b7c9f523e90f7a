"""What the streamer says of the chunk it executes, and which chunks it must not average."""

import dataclasses

import numpy as np
import pytest

from restac_ros.control.chunk import ChunkRules
from restac_ros.control.continuity import ContinuityConfig
from restac_ros.control.limits import MotionLimits
from restac_ros.control.rtc import executed_steps
from restac_ros.control.streaming import ChunkUse, Streamer, StreamerConfig, let_go, offer, report, tick
from restac_ros.control.supervisor import Fault, Phase
from restac_ros.geometry.delta import DeltaRule

MS = 10**6
START, STEP = 10**18, 66_666_666
CONFIG = StreamerConfig(
    MotionLimits((0.2, -0.5, 0.0), (0.8, 0.5, 0.8), speed_m_s=0.25, speed_rad_s=1.0),
    ChunkRules('fr3_link0', DeltaRule('rpy', 'elementwise'), STEP, 20 * MS),
)
ENSEMBLING = dataclasses.replace(CONFIG, continuity=ContinuityConfig('temporal_ensembling'))


def fields(stamp_ns: int, number: int = 0, **changes: object) -> dict:
    return {'chunk_id': number, 'stamp_ns': stamp_ns, 'delta_pose': np.zeros((16, 6)), **changes}


def test_the_executed_chunk_is_named_with_the_time_from_which_on_it_speaks(make_chunk) -> None:
    state = Streamer()
    assert state.use == ChunkUse()
    state, _ = offer(CONFIG, state, make_chunk(**fields(START)), START + 30 * MS)
    assert not state.use.moving, 'taken up by the next tick'
    state, _ = tick(CONFIG, state, START + 40 * MS)
    lead_ns = CONFIG.limits.lead_ns
    assert state.use == ChunkUse(START + 40 * MS, True, START, START + 30 * MS + lead_ns)

    late_ns = 110 * MS
    state, _ = offer(CONFIG, state, make_chunk(**fields(START + 100 * MS, 1)), START + 100 * MS + late_ns)
    state, _ = tick(CONFIG, state, START + 220 * MS)
    use = state.use
    assert use.chunk_stamp_ns == START + 100 * MS
    # The set-points look ahead: targets until then were the first chunk's.
    assert executed_steps(use.chunk_stamp_ns, use.joined_ns, STEP) == -(-(late_ns + lead_ns) // STEP)


@pytest.mark.parametrize('fault', [None, Fault.HALT])
def test_a_hold_executes_no_chunk(make_chunk, fault: Fault | None) -> None:
    state, _ = offer(CONFIG, Streamer(), make_chunk(**fields(START)), START)
    state, _ = tick(CONFIG, state, START + 10 * MS)
    assert state.use.moving
    state = report(state, fault, 'on request') if fault else let_go(state)
    state, _ = tick(CONFIG, state, START + 20 * MS)
    assert state.use == ChunkUse(START + 20 * MS)


def test_chunks_that_continue_each_other_are_not_averaged(make_chunk) -> None:
    """Refused before anything moves, and until a person has looked."""
    chunk = make_chunk(**fields(START, continues_others=True))
    assert offer(CONFIG, Streamer(), chunk, START)[1] is None
    state, refusal = offer(ENSEMBLING, Streamer(), chunk, START)
    assert "set the streamer's continuity to receding_horizon, or the policy's chunking" in refusal
    state, point = tick(ENSEMBLING, state, START + 10 * MS)
    assert point is None
    assert state.phase is Phase.HALTED
    assert {reason.fault for reason in state.supervision.latched} == {Fault.MODEL}
    alone = make_chunk(**fields(START))
    assert offer(ENSEMBLING, Streamer(), alone, START)[1] is None
