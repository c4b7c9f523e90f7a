"""A node that shows a run: a thread polls the newest message of each input and draws, at the drawing rate.

So a 1 kHz joint stream costs as much as a 15 Hz one, and the executor sleeps.
"""

import threading
import time
from dataclasses import dataclass

from std_srvs.srv import Trigger

from restac_ros.contract.schema import Contract
from restac_ros.nodes.diagnostics import Status, StatusLevel, latency_statuses
from restac_ros.nodes.lifecycle import ManagedNode
from restac_ros.nodes.subscriptions import UnknownTypeError
from restac_ros.nodes.view_inputs import ViewInputs, ViewParameters
from restac_ros.runtime.latency import Latencies
from restac_ros.runtime.pacer import Pacer
from restac_ros.runtime.summary_file import latency_summary
from restac_ros.runtime.worker import Worker
from restac_ros.view.errors import ViewError
from restac_ros.view.playback import tactile_stream
from restac_ros.view.scene import GateScene


@dataclass(frozen=True)
class RunView:
    """State while the node is configured."""

    contract: Contract
    scene: GateScene

    @property
    def healthy(self) -> str:
        """The diagnostic text without faults."""
        return 'all inputs are shown'

    @property
    def problem(self) -> str:
        """Why what was received is not shown; '' while it is."""
        return ''

    def close(self) -> None:
        """Release what the view holds."""


class ViewNode[V: RunView, P: ViewParameters](ManagedNode[P]):
    """Base of the nodes that show a run; they define what they draw and from which streams."""

    refusals = (ViewError, UnknownTypeError)

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.inputs = ViewInputs(self)
        self._latencies = Latencies(time.perf_counter_ns, 'poll', 'draw')
        self._drawing: Worker | None = None
        self._lock = threading.Lock()  # of the view
        self._view: V | None = None
        self.create_service(Trigger, '~/set_reference', self._set_reference)

    def open_view(self, contract: Contract, tactile: str | None) -> V:
        """Return the view; `tactile` is the tactile stream to show; None: the robot has none."""
        raise NotImplementedError

    def listen(self, view: V, tactile: str | None) -> None:
        """Subscribe to what the view shows."""
        raise NotImplementedError

    def draw(self, view: V, steady_ns: int) -> None:
        """Draw what has been received; called by the drawing thread."""
        raise NotImplementedError

    def configure(self) -> None:
        contract = self.load_contract()
        tactile = tactile_stream(contract, self.parameters.tactile_stream)
        self._view = self.open_view(contract, tactile)
        self.listen(self._view, tactile)

    def activate(self) -> None:
        if self._view is None:
            raise ViewError(f'the view is {self.phase}: configure it first')
        view, pacer = self._view, Pacer(round(1e9 / self.parameters.rate_hz), time.monotonic_ns())

        def draw() -> None:
            if remaining_ns := pacer.remaining_ns(time.monotonic_ns()):
                worker.wait(remaining_ns * 1e-9)
                return
            with self._lock:
                self._tick(view)
            pacer.ticked(time.monotonic_ns())

        worker = self._drawing = Worker('view', draw, self._fail)
        worker.start()

    def deactivate(self) -> None:
        if self._drawing:
            self._drawing.ask_to_stop()
            self._drawing.join()
            self._drawing = None

    def cleanup(self) -> None:
        self.inputs.destroy()
        if self._view is not None:
            self._view.close()
            self._view = None

    def diagnose(self) -> list[Status]:
        if self._view is None:
            return []
        scene = self._view.scene
        faults = [*self.inputs.faults, *filter(None, [scene.gel.problem, self._view.problem])]
        values = {name: str(count) for name, count in self.inputs.received.items()}
        if scene.tactile_stream is not None:
            values['reference'] = scene.gel.progress
        level: StatusLevel = 'warn' if faults else 'ok'
        text = '; '.join(faults) or self._view.healthy
        return [Status('view', level, text, values), *latency_statuses(self._latencies)]

    def summarise(self) -> dict[str, object]:
        return {'received': self.inputs.received, 'latencies_ms': latency_summary(self._latencies)}

    def _tick(self, view: V) -> None:
        start_ns = time.monotonic_ns()
        self.inputs.poll()
        polled_ns = time.monotonic_ns()
        self.draw(view, polled_ns)
        self._latencies.add('poll', polled_ns - start_ns)
        self._latencies.add('draw', time.monotonic_ns() - polled_ns)

    def _fail(self, text: str) -> None:
        """End the process when the thread has failed: it would leave an old picture."""
        self.report_problem(text)
        self.exit_status = 1

    def _set_reference(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = self._view is not None
        if self._view is None:
            response.message = f'the node is {self.phase}: configure it first'
        elif self._view.scene.tactile_stream is None:
            response.success = False
            response.message = 'the contract has no tactile stream: there is no reference to take'
        else:
            gel = self._view.scene.gel
            with self._lock:
                gel.restart()
            response.message = f'the next {gel.reference_frames} tactile frames are the reference'
        return response
