"""Converts action chunks to smooth, limited and supervised set-points for a Cartesian controller.

The logic is `restac_ros.control.streaming`, its thread `restac_ros.runtime.set_point_loop`; here are
parameters, services and diagnostics.
"""

import gc
import os
from dataclasses import asdict

from std_srvs.srv import Trigger

from restac_ros.contract.schema import Contract
from restac_ros.control.limits import LimitError
from restac_ros.control.supervisor import Phase
from restac_ros.nodes.diagnostics import Status, StatusLevel, latency_statuses
from restac_ros.nodes.lifecycle import ManagedNode
from restac_ros.nodes.running import run_node
from restac_ros.nodes.streamer.active_streamer import ActiveStreamer
from restac_ros.nodes.streamer.gripper_output import check_gripper_type
from restac_ros.nodes.streamer.robot_inputs import robot_state_class
from restac_ros.nodes.subscriptions import UnknownTypeError
from restac_ros.runtime.streamer_parameters import StreamerParameters
from restac_ros.runtime.summary_file import latency_summary

_FAILURE_PERIOD_S = 0.1
_LEVELS: dict[Phase, StatusLevel] = {Phase.MOVING: 'ok', Phase.HALTED: 'error'}


class StreamerNode(ManagedNode[StreamerParameters]):
    """Configure: check limits and types. Activate: become the controller's only source of targets."""

    model = StreamerParameters
    unique = True
    refusals = (LimitError, UnknownTypeError)

    def __init__(self) -> None:
        super().__init__('streamer_node')
        self._active: ActiveStreamer | None = None
        self._summary: dict[str, object] = {}  # of the last activation
        self.create_service(Trigger, '~/halt', self._halt)
        self.create_service(Trigger, '~/resume', self._resume)
        self.create_timer(_FAILURE_PERIOD_S, self._check_thread, clock=self.steady_clock)

    def configure(self) -> None:
        parameters = self.parameters
        contract = self.load_contract()
        config = parameters.control(contract)
        robot_state_class(parameters)
        check_gripper_type(parameters)
        if contract.gripper_stream and not parameters.gripper_type:
            self.get_logger().warning(
                f'the gripper will not move: contract {contract.name!r} has one, but gripper_type is empty; '
                'give --params FILE with gripper_type and gripper_name, such as config/robots/franka.yaml'
            )
        stop_ms = config.limits.stop_ns / 1e6
        target = self.resolve_topic_name(parameters.target_topic)
        self.get_logger().info(f'{target} at {parameters.rate_hz:g} Hz, to a hold within {stop_ms:.0f} ms')
        self._raise_priority(parameters.realtime_priority)

    def activate(self) -> None:
        parameters = self.parameters
        contract: Contract = self.load_contract()
        # A full garbage collection of all imported modules would last several ticks.
        gc.collect()
        gc.freeze()
        self._active = ActiveStreamer(self, contract, parameters, parameters.control(contract))

    def deactivate(self) -> None:
        if self._active:
            self._active.close()
            self._summary = streamer_summary(self._active)
            self._active = None

    def summarise(self) -> dict[str, object]:
        return streamer_summary(self._active) if self._active else self._summary

    def diagnose(self) -> list[Status]:
        if self._active is None:
            return []
        loop, origin, complaints = self._active.loop, self._active.origin, self._active.complaints.texts
        with loop.lock:
            state, counts = loop.streamer, asdict(loop.streamer.counts)
            supervision, plan, refusal = state.supervision, state.plan, state.refusal
        now_ns = self.now_ns()
        reasons = '; '.join(map(str, supervision.reasons))
        values = {
            'phase': str(supervision.phase),
            'since_s': f'{max(0, now_ns - supervision.since_ns) * 1e-9:.3f}',
            'last_refusal': refusal or 'none',
            'last_stop': '; '.join(map(str, supervision.cause)) or 'none',
            'chunk_age_ms': f'{(now_ns - plan.newest.stamp_ns) / 1e6:.0f}' if plan else 'none',
            **{name: str(count) for name, count in counts.items()},
            'run_id': origin.run_id or 'none',
            'foreign': str(origin.foreign),
        }
        text = f'{supervision.phase}: {reasons}' if reasons else str(supervision.phase)
        level = _LEVELS.get(supervision.phase, 'warn')
        notes = [Status('notes', 'warn', '; '.join(complaints))] if complaints else []
        return [Status('streaming', level, text, values), *notes, *latency_statuses(loop.latencies)]

    def _check_thread(self) -> None:
        """Leave the active state when the thread of the set-points has died."""
        if self._active and self._active.failure:
            self.report_problem(
                f'{self._active.failure}; no set-points any more: deactivate, then activate to try again'
            )
            self.trigger_deactivate()

    def _raise_priority(self, priority: int) -> None:
        """Set the real-time priority of this thread and of threads it starts."""
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO if priority else os.SCHED_OTHER, os.sched_param(priority))
        except PermissionError:
            self.get_logger().warning(
                f'set-points may be late: real-time priority {priority} is not permitted; '
                'allow it (rtprio in /etc/security/limits.conf) or set realtime_priority to 0'
            )

    def _halt(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._active is None:
            response.message = f'the streamer is {self.phase} and commands nothing'
            return response
        self._active.halt()
        stop_ms = self._active.loop.streamer.config.limits.stop_ns / 1e6
        response.success, response.message = True, f'halting, within {stop_ms:.0f} ms'
        return response

    def _resume(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._active is None:
            response.message = f'the streamer is {self.phase}: activate it first'
            return response
        refusal = self._active.loop.resume()
        response.success, response.message = refusal is None, refusal or 'going on with the next chunk'
        return response


def streamer_summary(active: ActiveStreamer) -> dict[str, object]:
    """Counts and reasons for the summary file."""
    state, origin = active.loop.streamer, active.origin
    return {
        'phase': str(state.phase),
        'reasons': [str(reason) for reason in state.supervision.reasons],
        'last_refusal': state.refusal or 'none',
        'last_stop': [str(reason) for reason in state.supervision.cause],
        **asdict(state.counts),
        'foreign': origin.foreign,
        'run_id': origin.run_id,
        'latency_ms': latency_summary(active.loop.latencies),
    }


def main() -> None:
    """Entry point."""
    run_node(StreamerNode)
