"""The base of all nodes: lifecycle, checked parameters, /diagnostics, and a summary at the end."""

import secrets
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter

from restac_ros.contract.errors import ContractError, Problem
from restac_ros.contract.load import load_contract
from restac_ros.contract.schema import Contract
from restac_ros.installation import GraphError, config_file
from restac_ros.nodes.diagnostics import Status, StatusLevel, diagnostic_array
from restac_ros.nodes.parameters import declare_parameters, judge_changes, read_parameters, without_unchanged
from restac_ros.nodes.twins import TwinError, check_alone
from restac_ros.runtime.node_parameters import NodeParameters, ParameterError
from restac_ros.runtime.summary_file import write_summary

DIAGNOSTICS_PERIOD_S = 1.0
_VERBS = {
    Transition.TRANSITION_CONFIGURE: 'configure',
    Transition.TRANSITION_ACTIVATE: 'activate',
    Transition.TRANSITION_DEACTIVATE: 'deactivate',
    Transition.TRANSITION_CLEANUP: 'cleanup',
}


class ManagedNode[P: NodeParameters](LifecycleNode):
    """A lifecycle node. Subclasses override `configure`, `activate`, `deactivate` and `cleanup`.

    `refusals` are errors that a user can correct: one is logged in one line and leaves the node in its state.
    Any other exception is logged with its traceback and leaves the node unconfigured.
    """

    model: type[P]
    parameters: P  # checked; from `configure` on
    unique: ClassVar[bool] = False  # refuse to start beside another one in the same domain and namespace
    refusals: ClassVar[tuple[type[Exception], ...]] = ()
    _always_refused: ClassVar[tuple[type[Exception], ...]] = (
        ParameterError,
        ContractError,
        GraphError,
        OSError,
    )

    def __init__(self, name: str) -> None:
        super().__init__(name, automatically_declare_parameters_from_overrides=True)
        declare_parameters(self, self.model, config_file(f'{name.removesuffix("_node")}.yaml'))
        self.phase = 'unconfigured'
        self.problem = ''
        self.exit_status: int | None = None
        self.stop_requests = 0
        self.configuring = False
        self._changes: list[str] = []
        self._own_run_id = secrets.token_hex(4)
        # Diagnostics and pacing continue while a simulated clock does not advance.
        self.steady_clock = Clock(clock_type=ClockType.STEADY_TIME)
        self.add_on_set_parameters_callback(self._check_changes)
        self.add_post_set_parameters_callback(self._note_changes)
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self.create_timer(DIAGNOSTICS_PERIOD_S, self.publish_diagnostics, clock=self.steady_clock)

    def configure(self) -> None:
        """Load and connect by `self.parameters`, which have been checked."""

    def activate(self) -> None:
        """Begin to publish."""

    def deactivate(self) -> None:
        """Stop publishing."""

    def cleanup(self) -> None:
        """Undo `configure`, also one that failed half-way."""

    def finish(self) -> None:
        """Complete pending work before the process ends; may last."""

    def summarise(self) -> dict[str, object]:
        """Counts and latencies for the summary file."""
        return {}

    def diagnose(self) -> list[Status]:
        """Statuses for /diagnostics besides the node's state."""
        return []

    def request_stop(self) -> None:
        """Request `run_node` to end the process in order; a second request ends it at once."""
        self.stop_requests += 1

    def check_change(self, name: str, value: Any) -> None:
        """Refuse a new value that only the configured node can judge.

        Raises:
            ParameterError: what was found and what was expected.
        """

    def parameters_changed(self) -> None:
        """Called after some of `model.changeable` have changed in `self.parameters`."""

    @property
    def run_id(self) -> str:
        """The run that the node belongs to: the given one, or its own when started by hand."""
        return self._raw('run_id', '') or self._own_run_id

    def load_contract(self) -> Contract:
        """Read the contract, its topics expanded by this node's namespace and remappings.

        Raises:
            ContractError: the file is faulty, or remappings form a chain: the result would be remapped again.
        """
        path = self.parameters.contract_path
        contract = load_contract(path, self.resolve_topic_name)
        for name, stream in contract.streams.items():
            if (again := self.resolve_topic_name(stream.topic)) != stream.topic:
                found = f'remapped to {stream.topic}, which is itself remapped to {again}'
                raise ContractError([Problem(f'streams.{name}.topic', found)], str(path))
        return contract

    @property
    def qualified_name(self) -> str:
        """Namespace and name without the leading slash: `left/policy_node`, or `policy_node`."""
        return self.get_fully_qualified_name().removeprefix('/')

    def now_ns(self) -> int:
        """The node's clock: the system's, or a simulated one."""
        return self.get_clock().now().nanoseconds

    def autostart(self) -> None:
        """Configure and activate if the parameters ask for it."""
        if not self._raw('autostart', True):
            return
        if self.unique and self._raw('run_id', ''):
            try:
                check_alone(self, self.run_id)
            except TwinError as error:
                self.report_problem(f'cannot start: {error}')
                self.exit_status = 1
                return
        self.trigger_configure()
        if self.phase == 'inactive' and not self.stop_requests:
            self.begin()

    def begin(self) -> None:
        """Activate the node, which `autostart` has configured."""
        self.trigger_activate()

    def close(self) -> int:
        """Stop in order, leave a summary; returns the exit status, 1 when a problem is reported."""
        if self.phase == 'active':
            self.trigger_deactivate()
        self.finish()
        summary = {
            'node': self.qualified_name,
            'problem': self.problem,
            'changes': self._changes,
            **self.summarise(),
        }
        if self.phase == 'inactive':
            self.trigger_cleanup()
        elif self.phase == 'finalized':
            self.cleanup()
        if path := self._raw('summary_file', ''):
            write_summary(Path(path).expanduser(), summary)
        return self.exit_status if self.exit_status is not None else int(bool(self.problem))

    def report_problem(self, text: str) -> None:
        """Log an error once; it remains on /diagnostics and in the exit status until the next attempt."""
        self.problem = text
        self.get_logger().error(text)
        self.publish_diagnostics()

    def publish_diagnostics(self) -> None:
        """Publish the node's state; also called once a second."""
        level: StatusLevel = 'error' if self.problem else 'ok'
        values = {'phase': self.phase, 'run_id': self.run_id}
        own = Status('state', level, self.problem or self.phase, values)
        stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(diagnostic_array(self.qualified_name, stamp, [own, *self.diagnose()]))

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Lifecycle: unconfigured -> inactive."""

        def configure() -> None:
            self.parameters = read_parameters(self, self.model)
            self.configure()

        self.problem, self.configuring = '', True
        result = self._transition('configure', configure, 'inactive')
        self.configuring = False
        if result != TransitionCallbackReturn.SUCCESS:
            self.cleanup()
            self._give_up()
        return result

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Lifecycle: inactive -> active."""
        self.problem = ''
        super().on_activate(state)
        result = self._transition('activate', self.activate, 'active')
        if result != TransitionCallbackReturn.SUCCESS:
            self._give_up()
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Lifecycle: active -> inactive."""
        result = self._transition('deactivate', self.deactivate, 'inactive')
        super().on_deactivate(state)
        return result

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Lifecycle: inactive -> unconfigured."""
        return self._transition('clean up', self.cleanup, 'unconfigured')

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Lifecycle: any -> finalized; the process then ends."""
        if self.phase == 'active':
            self._transition('deactivate', self.deactivate, 'inactive')
        self.phase = 'finalized'
        self.exit_status = int(bool(self.problem))
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Lifecycle: after an unexpected exception, which has been logged: back to unconfigured."""
        try:
            self.deactivate()
            self.cleanup()
        except Exception:  # noqa: BLE001  rclpy would drop it silently
            traceback.print_exc()
            self.phase, self.exit_status = 'finalized', 1  # nothing leads out of it: the process ends
            return TransitionCallbackReturn.ERROR
        self.phase = 'unconfigured'
        return TransitionCallbackReturn.SUCCESS

    def _LifecycleNodeMixin__change_state(self, transition_id: int) -> TransitionCallbackReturn:  # noqa: N802
        """Refuse a transition that does not lead out of the present state.

        rclpy performs all transitions by this method, requested ones too, and ends the process by an RCLError
        where another was faster: it has no public place for this check.
        """
        possible = {number: label for number, label, *_ in self._state_machine.available_transitions}
        if transition_id not in possible:
            wanted, state = _VERBS.get(transition_id, f'transition {transition_id}'), self.phase
            expected = ' or '.join(possible.values()) or 'none'
            self.get_logger().warning(f'cannot {wanted}: the node is {state}; expected {expected}')
            return TransitionCallbackReturn.FAILURE
        return super()._LifecycleNodeMixin__change_state(transition_id)  # type: ignore[misc]  # see above

    def _give_up(self) -> None:
        """End the process if `exit_on_refusal` asks for it."""
        if self._raw('autostart', True) and self._raw('exit_on_refusal', False):
            self.exit_status = 1

    def _transition(self, verb: str, action: Callable[[], None], phase: str) -> TransitionCallbackReturn:
        try:
            action()
        except (*self._always_refused, *self.refusals) as error:
            self.report_problem(f'cannot {verb}: {error}')
            return TransitionCallbackReturn.FAILURE
        except Exception as error:  # noqa: BLE001  rclpy would drop it silently
            traceback.print_exc()
            self.report_problem(f'cannot {verb}: unexpected {type(error).__name__}: {error}')
            return TransitionCallbackReturn.ERROR
        self.phase = phase
        self.publish_diagnostics()
        return TransitionCallbackReturn.SUCCESS

    def _raw(self, name: str, default: Any) -> Any:
        """A single parameter, also while the others are invalid."""
        if not self.has_parameter(name):
            return default
        value = self.get_parameter(name).value
        return value if isinstance(value, type(default)) else default

    def _check_changes(self, changes: list[Parameter]) -> SetParametersResult:
        configured = self.phase != 'unconfigured'
        result = judge_changes(self, self.model, changes, configured=configured)
        if result.successful and configured:
            try:
                for change in changes:
                    self.check_change(change.name, change.value)
            except ParameterError as error:
                return SetParametersResult(successful=False, reason=str(error))
        return result

    def set_parameters_atomically(self, parameter_list: list[Parameter]) -> SetParametersResult:
        """Set parameters; setting an unchangeable one to its present value is no error.

        So a node accepts its own `ros2 param dump`.
        """
        changes = without_unchanged(self, parameter_list)
        return super().set_parameters_atomically(changes) if changes else SetParametersResult(successful=True)

    def _note_changes(self, changes: list[Parameter]) -> None:
        live = [change for change in changes if change.name in self.model.changeable]
        if self.phase != 'unconfigured' and live:
            self.parameters = read_parameters(self, self.model)
            for change in live:
                self._changes.append(f'{change.name} is now {change.value!r}')
                self.get_logger().info(self._changes[-1])
            self.parameters_changed()
