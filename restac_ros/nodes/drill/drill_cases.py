"""The cases of a drill: a fault, the expected reaction, and its time limit."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from restac_ros.contract.schema import Contract
from restac_ros.msg import ActionChunk
from restac_ros.nodes.drill.drill_stage import GUIDE_N, RESTING_S, Stage, restamp
from restac_ros.nodes.fields import stamp
from restac_ros.sim.stream_faults import StreamFault
from restac_ros.sim.virtual_arm import ROBOT_MODE_GUIDING, ROBOT_MODE_REFLEX

# hold: stands until the fault is over. halt: stands until resumed. go on: the motion continues.
# gone: no set-points until the streamer is restarted.
Expectation = Literal['hold', 'halt', 'go on', 'gone']
_MS = 1_000_000
# From publishing to the next tick of the streamer, on a machine that is not overloaded.
DELIVERY_NS = 300 * _MS
DISCOVERY_NS = 2000 * _MS  # until other nodes know a new publisher
PUSH_N = 12.0  # of a hand on a moving arm: 30 mm
GUIDED_M = 0.09
FOREIGN_CHUNKS = 20  # 2 s: /diagnostics names them while they arrive

StageAction = Callable[[Stage], object]


@dataclass(frozen=True)
class Case:
    """One fault.

    Attributes:
        reason: regular expression of the text required on /diagnostics; '' where none is.
        node: beginning of the name of that status.
        noticed_ns: longest time until the streamer reacts, or the policy begins no further chunk.
        runs_out: the current chunk is played to its end before the hold.
        silent: no set-points are allowed until the streamer restarts at the arm's pose.
        heals: the cause ends by itself; resuming must be possible before `end`.
    """

    name: str
    expectation: Expectation
    reason: str
    begin: StageAction
    end: StageAction
    noticed_ns: int = 0
    runs_out: bool = False
    silent: bool = False
    heals: bool = False
    node: str = ''


def cases_of(contract: Contract, max_frozen_ns: int) -> list[Case]:
    """All cases; each stream fault on streams where it is typical."""
    return [*_stream_cases(contract, max_frozen_ns), *_chunk_cases(), *_person_cases(), *_death_cases()]


def _stream_cases(contract: Contract, max_frozen_ns: int) -> list[Case]:
    cameras, tactile = list(contract.by_role('camera')), list(contract.by_role('tactile'))
    arm, everything = contract.pose_stream, list(contract.streams)
    first, last, touch = cameras[0], cameras[-1], (tactile or cameras)[0]
    soonest_ns = min(spec.max_age_ns for spec in contract.streams.values() if spec.required)

    def old(name: str) -> int:
        return contract.streams[name].max_age_ns

    def case(
        kind: StreamFault, streams: list[str], expectation: Expectation, reason: str, noticed_ns: int = 0
    ) -> Case:
        return Case(
            name=f'{streams[0] if len(streams) == 1 else "all streams"}: {kind}',
            expectation=expectation,
            reason=reason,
            begin=lambda stage: stage.faults.begin(kind, streams),
            end=lambda stage: stage.faults.end(),
            noticed_ns=noticed_ns,
            runs_out=expectation == 'hold',
            node='streamer_node' if expectation == 'halt' else 'policy_node',
        )

    return [
        case('missing', [first], 'hold', f'{first}.* stale', old(first)),
        case('missing', [touch], 'hold', f'{touch}.* stale', old(touch)),
        case('missing', [arm], 'hold', f'{arm}.* stale', old(arm)),
        case('missing', everything, 'hold', 'stale', soonest_ns),
        case('late', [last], 'hold', f'{last}.* stale', old(last)),
        case('late', [touch], 'hold', f'{touch}.* stale', old(touch)),
        case('frozen', [first], 'hold', f'{first}.* frozen', max_frozen_ns + old(first)),
        case('frozen', [touch], 'hold', f'{touch}.* frozen', max_frozen_ns + old(touch)),
        case('frozen', [arm], 'halt', 'robot not following', max_frozen_ns),
        case('zero stamps', [touch], 'go on', 'stamps are zero'),
        case('re-encoded', [first], 'hold', f'{first}.* undecodable', old(first)),
        case('re-encoded', [touch], 'hold', f'{touch}.* undecodable', old(touch)),
        # A stream of joints under other names is silent; one of poses cannot be decoded.
        case('re-encoded', [arm], 'hold', f'{arm}.* (other joints|undecodable)', old(arm)),
        case('dropped', [first], 'go on', ''),
        case('clock ahead', everything, 'hold', 'future', soonest_ns),
        case('clock back', everything, 'hold', 'stale', soonest_ns),
    ]


def _nothing(stage: Stage) -> None:
    """The cause ends by itself."""


def _chunk_cases() -> list[Case]:
    def nan(stage: Stage, chunk: ActionChunk) -> None:
        chunk.delta_pose[3] = float('nan')

    def far(stage: Stage, chunk: ActionChunk) -> None:
        chunk.delta_pose[0] = 1e6

    def shifted(by_ns: int) -> Callable[[Stage, ActionChunk], None]:
        return lambda stage, chunk: restamp(chunk, stage.now_ns() + by_ns)

    def backwards(stage: Stage, chunk: ActionChunk) -> None:
        restamp(chunk, stage.newest_chunk_ns - _MS)  # observed before the newest ...
        chunk.valid_until = stamp(stage.now_ns() + 1000 * _MS)  # ... and not too old

    def foreign(stage: Stage, chunk: ActionChunk) -> None:
        """A chunk that would halt the streamer if it were executed."""
        chunk.run.run_id = 'forgotten'
        nan(stage, chunk)

    def send_foreign(stage: Stage) -> None:
        for _ in range(FOREIGN_CHUNKS):
            stage.send_chunk(foreign)
            stage.pause(0.1)

    def case(
        name: str, change: Callable[[Stage, ActionChunk], None], expectation: Expectation, reason: str
    ) -> Case:
        return Case(
            name=name,
            expectation=expectation,
            reason=reason,
            begin=lambda stage: stage.send_chunk(change),
            end=_nothing,
            noticed_ns=DELIVERY_NS,
            node='streamer_node',
        )

    return [
        case('chunk with NaN', nan, 'halt', 'faulty chunk.* is nan'),
        case('chunk with an absurd number', far, 'halt', 'faulty chunk.* is 1e'),
        case('chunk from the future', shifted(2000 * _MS), 'go on', 'from the future'),
        case('old chunk', shifted(-3000 * _MS), 'go on', 'too old'),
        case('chunk out of order', backwards, 'go on', 'out of order'),
        Case(
            name='chunks of a forgotten policy',
            expectation='go on',
            reason='chunks of run forgotten .* are not executed',
            begin=send_foreign,
            end=_nothing,
            node='streamer_node',
        ),
    ]


def _person_cases() -> list[Case]:
    def press(pressed: bool) -> Callable[[Stage], None]:
        return lambda stage: setattr(stage, 'pressed', pressed)

    def case(name: str, reason: str, begin: StageAction, end: StageAction, **options: Any) -> Case:
        return Case(
            name=name,
            reason=reason,
            begin=begin,
            end=end,
            node='streamer_node',
            **{'expectation': 'halt', 'noticed_ns': DELIVERY_NS, **options},
        )

    def push(force_n: float) -> StageAction:
        return lambda stage: stage.arm.push(force_n)

    def guide(stage: Stage) -> None:
        """Guide the arm away by hand and return the robot to move mode before resuming."""
        stage.set_mode(ROBOT_MODE_GUIDING)
        stage.arm.push(GUIDE_N)
        start_m = stage.arm.pose().position_m
        stage.until(
            lambda: np.linalg.norm(stage.arm.pose().position_m - start_m) > GUIDED_M, 'the arm is led by hand'
        )
        stage.let_go()

    def reflex(stage: Stage) -> None:
        """Stop in reflex mode; then guide the arm."""
        stage.set_mode(ROBOT_MODE_REFLEX)
        stage.pause(RESTING_S)
        guide(stage)

    rival = {'noticed_ns': DISCOVERY_NS, 'heals': True}
    return [
        case('halt on request', 'halt requested', lambda stage: stage.call('halt'), _nothing),
        case(
            'second publisher of set-points',
            'second publisher.*drill_node',
            lambda stage: stage.open_rival(sending=True),
            lambda stage: stage.close_rival(),
            **rival,
        ),
        case(
            'second publisher that sends nothing',
            'drill_node may publish .*has sent nothing',
            lambda stage: stage.open_rival(sending=False),
            lambda stage: stage.close_rival(),
            expectation='go on',
        ),
        case('robot in reflex, then moved', 'robot mode: reflex', reflex, _nothing, silent=True),
        case('arm guided by hand', 'robot mode: guiding', guide, _nothing, silent=True),
        case('arm pushed by hand', '', push(PUSH_N), push(0.0), expectation='go on'),
        case('enabling switch released', 'not pressed', press(False), press(True), expectation='hold'),
    ]


def _death_cases() -> list[Case]:
    def case(victim: str, expectation: Expectation, reason: str, **options: Any) -> Case:
        return Case(
            name=f'kill -9 {victim}',
            expectation=expectation,
            reason=reason,
            begin=lambda stage: stage.kill(victim),
            end=lambda stage: stage.start(victim),
            node='streamer_node',
            **options,
        )

    return [
        case('session_log_node', 'go on', ''),
        case('gate_view_node', 'go on', ''),
        case('policy_node', 'hold', 'chunk exhausted|stale observation', runs_out=True),
        case('streamer_node', 'gone', '', silent=True),
    ]
