"""Faults that the tool for real bags makes, through the whole graph: replay, policy, streamer, session log.

The recorded arm moves by itself and follows nobody, so that the streamer is told to expect no following, and
a workspace as wide as that arm's way.
"""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip('rclpy')
pytest.importorskip('restac_ros.msg', reason='the messages are not built: `make build`')

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped
from rclpy.qos import QoSProfile

from restac_ros.contract.load import load_contract
from restac_ros.control.limits import MotionLimits
from restac_ros.dataset.bag.bag_reader import open_bag
from restac_ros.dataset.bag.message_types import deserialize
from restac_ros.nodes.drill.drill_record import (
    DrillRecord,
    first_match,
    last_match_ns,
    last_motion_ns,
    violations,
)
from restac_ros.nodes.drill.drill_stage import set_point_of, statuses_of
from restac_ros.policy.init_checkpoint import init_checkpoint

STREAMING = 'streamer_node: streaming'
STILL_NS = 300_000_000
UNFOLLOWED = {'following_m': 10.0, 'following_rad': 10.0, 'motionless_m': 10.0, 'motionless_rad': 10.0}
PATIENT = {
    'replan_hz': 5.0,
    'max_prefix_age_ms': 3000.0,
    'max_touch_age_ms': 3000.0,
    'chunk_validity_ms': 900.0,
}


class Watcher:
    """Receives set-points and statuses; waits for events, each after the one before."""

    def __init__(self, robot, wait_until: Callable) -> None:
        self.record = DrillRecord()
        self.since_ns = 0
        self._wait_until = wait_until
        robot.node.create_subscription(
            PoseStamped, '/target_pose', self._receive_target, QoSProfile(depth=200)
        )
        robot.node.create_subscription(DiagnosticArray, '/diagnostics', self._receive_diagnoses, 200)

    def moving(self) -> None:
        self.publishes(STREAMING, '^moving')

    def publishes(self, name: str, pattern: str) -> None:
        self._await(
            lambda: first_match(self.record.statuses(self.since_ns, name), pattern),
            f'{name} publishes {pattern!r}',
        )

    def holds(self) -> None:
        """Wait for the status, then for a time without motion."""
        self._await(self._standing, 'it holds and stands')

    def forget(self) -> None:
        """Events are expected anew."""
        self.since_ns = self.record.newest_ns

    def _standing(self) -> bool:
        points = self.record.set_points(self.since_ns)
        still_ns = last_motion_ns(points) or self.since_ns
        held_ns = last_match_ns(self.record.statuses(0, STREAMING), '^holding', 0)
        return held_ns > self.since_ns and points[-1].stamp_ns > max(still_ns, held_ns) + STILL_NS

    def _await(self, condition: Callable[[], object], what: str) -> None:
        self._wait_until(condition, lambda: f'{what}; streamer: {self.record.newest(STREAMING)}')

    def _receive_target(self, message: PoseStamped) -> None:
        self.record.add_set_point(set_point_of(message))

    def _receive_diagnoses(self, message: DiagnosticArray) -> None:
        self.record.add_statuses(statuses_of(message))


@pytest.fixture(scope='module')
def wide(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A contract whose workspace holds the recorded arm's whole way, and a tiny policy for it."""
    text = (repository / 'config' / 'contract.yaml').read_text()
    box = 'workspace_m: {min: [0.2, -0.5, 0.0], max: [0.8, 0.5, 0.8]}'
    assert box in text
    text = text.replace(box, 'workspace_m: {min: [-1.2, -1.2, 0.0], max: [1.2, 1.2, 1.5]}')
    for found, wanted in (('150', '500'), ('250 ', '500 '), ('100\n', '500\n')):
        text = text.replace(f'max_age_ms: {found}', f'max_age_ms: {wanted}')
    folder = tmp_path_factory.mktemp('wide')
    (folder / 'contract.yaml').write_text(text)
    init_checkpoint('tiny', load_contract(folder / 'contract.yaml'), folder / 'tiny', seed=1)
    return folder / 'contract.yaml', folder / 'tiny'


def test_streams_that_drop_freeze_and_die(
    start_node, robot, wait_until, make_real_bag, wide, compile_cache: Path, tmp_path: Path
) -> None:
    """One bag, again and again: no stamps, a camera away, clocks set, the GelSight frozen; then kill -9."""
    contract, checkpoint = wide
    bag = make_real_bag(
        '--seconds', '11', '--gelsight-zero-stamp', '--drop', 'main', '1', '3.5', '--clock-jump', '5', '3.5',
        '--freeze', 'gelsight', '6.5',
    )  # fmt: skip
    watcher = Watcher(robot, wait_until)
    shared = {'contract': contract}
    log = start_node('session_log_node', log_dir=tmp_path / 'log', **shared)
    streamer = start_node('streamer_node', **shared, **UNFOLLOWED)
    policy = start_node(
        'policy_node', checkpoint=checkpoint, prompt='push', compile_cache=compile_cache, **shared, **PATIENT
    )
    replay = start_node('replay_node', bag=bag, loop=True, wait_subscribers=1, **shared)
    reasons = ('main .*stale', 'joints .*stale', 'gelsight_left .*frozen')
    watcher.moving()
    watcher.publishes('policy_node: stream gelsight_left', 'stamps are zero')
    for reason in reasons:
        watcher.forget()
        watcher.publishes('policy_node', reason)
        watcher.holds()
        watcher.forget()
        watcher.moving()
    replay.end(signal.SIGKILL)
    watcher.forget()
    watcher.publishes('policy_node', 'stale')
    watcher.holds()
    watcher.forget()
    start_node('replay_node', bag=bag, loop=True, share_topics=True, **shared)
    watcher.moving()

    points = watcher.record.set_points()
    assert violations(points, MotionLimits.from_contract(load_contract(contract))) == []
    for node in (policy, streamer, log):
        assert node.end() == 0, node.log
    session = open_bag(Path(log.summary['log']))
    statuses = [
        status
        for message in session.messages({'/diagnostics'})
        for status in statuses_of(deserialize(message.cdr, 'diagnostic_msgs/msg/DiagnosticArray'))
    ]
    for reason in (*reasons, 'stamps are zero', '^holding: chunk exhausted'):
        assert first_match(statuses, reason), reason


def test_without_a_sound_stream_nothing_is_commanded(
    start_node,
    robot,
    wait_until,
    make_real_bag,
    wide,
    compile_cache: Path,
) -> None:
    contract, checkpoint = wide
    watcher = Watcher(robot, wait_until)
    shared = {'contract': contract}
    start_node('streamer_node', **shared, **UNFOLLOWED)
    policy = start_node(
        'policy_node', checkpoint=checkpoint, prompt='push', compile_cache=compile_cache, **shared, **PATIENT
    )
    start_node(
        'replay_node',
        bag=make_real_bag('--seconds', '4', '--encoding', 'main', 'bgr8'),
        loop=True,
        wait_subscribers=1,
        **shared,
    )
    watcher.publishes('policy_node', "undecodable: .*encoding 'bgr8'")
    watcher.publishes(STREAMING, '^idle: no chunk')
    assert policy.end() == 0, policy.log
    assert policy.summary['chunks'] == 0
    assert watcher.record.newest_ns == 0
