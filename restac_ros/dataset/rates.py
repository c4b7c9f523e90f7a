"""What helps where a stream's rate is not the declared one."""

from restac_ros.contract.schema import Stream

_JOINT_STATE_PUBLISHER_HZ = 100.0  # joint_state_publisher sends at 30, Franka's broadcaster at 1000


def rate_remedy(spec: Stream, rate_hz: float, publishers: int | None = None) -> str:
    """Return what helps where `rate_hz` is measured; `publishers` of the topic, None: not known."""
    if spec.role == 'arm_joints' and rate_hz < _JOINT_STATE_PUBLISHER_HZ < spec.rate_hz:
        return (
            'This looks like joint_state_publisher, 30 Hz and stamped anew: set topic to '
            '/franka/joint_states, of 1 kHz.'
        )
    if publishers is not None and publishers > 1:
        return 'Stop all publishers but one.'
    if rate_hz > spec.rate_hz:
        if publishers is None:
            return (
                'Are there two publishers? Else correct rate_hz in the contract, or the rate of its driver.'
            )
        return 'Correct rate_hz in the contract, or the rate of its driver.'
    if spec.role in ('camera', 'tactile'):
        return 'Look at exposure time, USB bandwidth and CPU load, or correct rate_hz in the contract.'
    return 'Look at the rate of its driver and at CPU load, or correct rate_hz in the contract.'
