"""What the streamer says of the chunk it executes, and which chunks it must not average."""

import dataclasses

import numpy as np
import pytest

from restac_ros.control.chunk import ChunkReport, ChunkRules
from restac_ros.control.continuity import ContinuityConfig
from restac_ros.control.limits import MotionLimits
from restac_ros.control.rtc import executed_steps
from restac_ros.control.streaming import ChunkUse, Measured, SetPoint, Streamer, StreamerConfig
from restac_ros.control.supervisor import Fault, Health, Phase
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


def tick(streamer: Streamer, now_ns: int, make_chunk) -> SetPoint | None:
    return streamer.tick(Health(now_ns), Measured(now_ns, make_chunk().anchor))


def test_the_executed_chunk_is_named_with_the_time_from_which_on_it_speaks(make_chunk) -> None:
    streamer = Streamer(CONFIG)
    assert streamer.use == ChunkUse()
    streamer.offer(make_chunk(**fields(START)), START + 30 * MS)
    assert not streamer.use.moving, 'taken up by the next tick'
    tick(streamer, START + 40 * MS, make_chunk)
    lead_ns = CONFIG.limits.lead_ns
    assert streamer.use == ChunkUse(START + 40 * MS, True, START, START + 40 * MS + lead_ns)

    late_ns = 110 * MS
    streamer.offer(make_chunk(**fields(START + 100 * MS, 1)), START + 100 * MS + late_ns)
    tick(streamer, START + 220 * MS, make_chunk)
    use = streamer.use
    assert use.chunk_stamp_ns == START + 100 * MS
    # The set-points look ahead: targets until then were the first chunk's.
    assert executed_steps(use.chunk_stamp_ns, use.joined_ns, STEP) == -(-(late_ns + lead_ns) // STEP)


@pytest.mark.parametrize('fault', [None, Fault.HALT])
def test_a_hold_executes_no_chunk(make_chunk, fault: Fault | None) -> None:
    streamer = Streamer(CONFIG)
    streamer.offer(make_chunk(**fields(START)), START)
    tick(streamer, START + 10 * MS, make_chunk)
    assert streamer.use.moving
    if fault:
        streamer.report(fault, 'on request')
    else:
        streamer.let_go()
    tick(streamer, START + 20 * MS, make_chunk)
    assert streamer.use == ChunkUse(START + 20 * MS)


def test_chunks_that_continue_each_other_are_not_averaged(make_chunk) -> None:
    """Refused before anything moves, and until a person has checked."""
    chunk = make_chunk(**fields(START, report=ChunkReport(chunking='rtc_guided')))
    assert Streamer(CONFIG).offer(chunk, START) is None
    streamer = Streamer(ENSEMBLING)
    refusal = streamer.offer(chunk, START)
    assert "set the streamer's continuity to receding_horizon, or the policy's chunking" in refusal
    assert tick(streamer, START + 10 * MS, make_chunk) is None
    assert streamer.phase is Phase.HALTED
    assert {reason.fault for reason in streamer.supervision.latched} == {Fault.MODEL}
    alone = make_chunk(**fields(START))
    assert Streamer(ENSEMBLING).offer(alone, START) is None
