"""One attempt of a policy in closed loop: sensors, loops, chunks, set-points and physics in one time.

    cell --messages--> LiveFrames --> PolicyRuntime --chunks--> SetPointLoop --set-points--> cell

All of them are what runs on a robot; only the time is simulated, so that nothing depends on the machine.
"""

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np

from restac_ros.contract.schema import Contract
from restac_ros.control.chunk import Chunk
from restac_ros.control.streaming import ChunkUse
from restac_ros.control.supervisor import Phase
from restac_ros.framing.encode import driver_message
from restac_ros.framing.sample import make_sample
from restac_ros.framing.stamp import with_stamp
from restac_ros.runtime.chunk_tracker import ChunkTracker
from restac_ros.runtime.clocks import Clocks
from restac_ros.runtime.latency import Latencies
from restac_ros.runtime.live_frames import LiveFrames
from restac_ros.runtime.policy_runtime import PolicyRuntime
from restac_ros.runtime.runtime_products import STAGES, LoopContext, Outputs, RunCounts, TouchReading
from restac_ros.runtime.set_point_loop import SetPointLoop
from restac_ros.sim.cell.cell import Cell
from restac_ros.sim.cell.cell_loop import CellLoop, DriverReading
from restac_ros.sim.cell.cell_sensors import CellSensors
from restac_ros.sim.cell.parameters import SIMULATED_START_NS, CellError
from restac_ros.sim.evaluation.attempt_record import AttemptRecord, FeltFrames
from restac_ros.sim.evaluation.cell_robot import CellRobot
from restac_ros.sim.evaluation.conditions import Condition
from restac_ros.sim.evaluation.contact_trace import ContactTrace
from restac_ros.sim.evaluation.deployment_files import Deployment
from restac_ros.sim.evaluation.film import Film
from restac_ros.sim.evaluation.perturbation import HousingMove, Occlusion, durations_of, scene_of
from restac_ros.sim.evaluation.settings import CallDurations
from restac_ros.sim.evaluation.timed_policy import Attempt, TimedPolicy
from restac_ros.sim.evaluation.touch_change import Strangers, TouchChange
from restac_ros.sim.evaluation.virtual_time import VirtualTime
from restac_ros.sim.randomness import random_for


@dataclass(frozen=True)
class AttemptTask:
    """What an attempt is made under, besides policy, condition and seed."""

    contract: Contract
    deployment: Deployment
    durations: CallDurations
    limit_s: float
    strangers: Strangers | None = None
    film: Film | None = None


class ClosedLoop:
    """One attempt; `run` once."""

    def __init__(self, policy: TimedPolicy, condition: Condition, seed: int, task: AttemptTask) -> None:
        """Open the cell; raises what `CellSensors` raises."""
        self._task, self._seed, contract = task, seed, task.contract
        scene = scene_of(seed, condition)
        self._cell = Cell(scene, limits=contract.limits)
        self._loop = CellLoop(contract, self._cell, CellSensors(contract, self._cell, scene, seed), seed)
        self._housing = HousingMove(self._cell, scene, condition, seed)
        self._occlusion = Occlusion(contract, condition, seed)
        self._touch = TouchChange(condition.touch, task.strangers, seed)
        self._trace, self._felt = ContactTrace(), FeltFrames()
        self._touch_miss_m: float | None = None
        self._failure = self._unstable = ''
        self._last = self._cell.state()
        self._time = VirtualTime(SIMULATED_START_NS)
        self._make_streamer()
        self._make_runtime(policy)
        durations = durations_of(task.durations, condition)
        noise_seed = int(random_for(seed, 'noise of chunks').integers(2**32))
        policy.begin(Attempt(durations, self._time.sleep, self._feel, noise_seed))

    def run(self) -> AttemptRecord:
        """Let the policy try until the plug is in, the limit is over, or the simulation breaks off.

        Raises:
            CellError: a loop of the policy has failed.
        """
        readings = self._readings()
        self._runtime.start()
        try:
            for reading in readings:
                self._time.run_until(SIMULATED_START_NS + reading.publish_ns)
                if reading.stream is not None:
                    self._deliver(reading, reading.stream)
                elif self._loop.complete or reading.stamp_ns >= self._task.limit_s * 1e9:
                    break
                else:
                    self._tick(reading.stamp_ns)
                if self._failure:
                    raise CellError(f'seed {self._seed}: {self._failure}')
            return self._record()
        finally:
            readings.close()
            self._runtime.stop()
            self._time.run_until(self._time.now_ns())  # the loop of prompts, which `stop` does not wait for

    def _readings(self) -> Generator[DriverReading]:
        """Yield what the drivers publish, until the simulation becomes unstable."""
        try:
            yield from self._loop.readings()
        except CellError as error:
            self._unstable = str(error)

    def _make_streamer(self) -> None:
        deployment, now_ns = self._task.deployment, self._time.now_ns
        self._robot = CellRobot(self._task.contract, self._loop, deployment.gripper_deadband_m)
        self._set_points = SetPointLoop(
            deployment.streamer,
            deployment.period_ns,
            self._robot,
            self._robot.publish,
            lambda: None,
            now_ns,
            now_ns,
            self._fail,
        )
        self._due_ns = 0

    def _make_runtime(self, policy: TimedPolicy) -> None:
        deployment, now_ns = self._task.deployment, self._time.now_ns
        frozen_ns = round(deployment.policy.max_frozen_ms * 1e6)
        self._frames = LiveFrames(self._task.contract, now_ns, lambda: None, frozen_ns)
        self._counts, self._tracker = RunCounts(), None
        if deployment.policy.chunking != 'receding_horizon':
            self._tracker = ChunkTracker(
                policy.continuations,
                deployment.policy.rtc_overlap_steps,
                deployment.policy.rtc_initial_delay_steps,
            )
        self._runtime = PolicyRuntime(
            LoopContext(
                policy=policy,
                frames=self._frames,
                settings=deployment.settings,
                clocks=Clocks(now_ns, now_ns, now_ns),
                outputs=Outputs(
                    self._take_chunk, self._note_touch, lambda reasons: None, lambda task: None, self._fail
                ),
                latencies=Latencies(now_ns, *STAGES),
                counts=self._counts,
                tracker=self._tracker,
                waiting=self._time.waiting,
            )
        )

    def _deliver(self, reading: DriverReading, stream: str) -> None:
        """Deliver a driver's message to its subscribers."""
        contract, value = self._task.contract, reading.value
        assert value is not None
        if isinstance(value, np.ndarray) and value.ndim == 3:
            value = self._occlusion.seen(stream, value)
            if self._task.film and contract.streams[stream].role == 'camera':
                self._task.film.add_image(stream, reading.stamp_ns * 1e-9, value)
        cdr = with_stamp(driver_message(contract, stream, value), SIMULATED_START_NS + reading.stamp_ns)
        sample = make_sample(contract, stream, cdr, SIMULATED_START_NS + reading.publish_ns)
        assert sample is not None
        self._robot.note(sample)
        self._frames.push(sample)

    def _tick(self, time_ns: int) -> None:
        """Advance what is not message-driven: truth, the housing, set-points and gripper."""
        state = self._last = self._cell.state()
        self._trace.add(SIMULATED_START_NS + time_ns, state.felt_force_n)
        self._housing.advance(time_ns * 1e-9, float(state.pose.position_m[2]))
        if self._touch_miss_m is None and self._loop.outcome.touched_s is not None:
            self._touch_miss_m = self._miss_m(state.tip_m)
        if time_ns >= self._due_ns:
            self._due_ns += self._task.deployment.period_ns
            self._set_points.tick()
            self._robot.grip(self._set_points.gripper, time_ns)
            while self._set_points.events:
                event = self._set_points.events.popleft()
                if self._tracker and isinstance(event, ChunkUse):
                    self._tracker.note_use(event)

    def _record(self) -> AttemptRecord:
        """Return what has happened; of an unstable simulation until the last tick that was sound."""
        outcome, counts = self._loop.outcome, self._counts
        state = self._last if self._unstable else self._cell.state()
        supervision = self._set_points.streamer.supervision
        halted = supervision.latched if supervision.phase is Phase.HALTED else ()
        return AttemptRecord(
            seed=self._seed,
            success=self._loop.complete and not self._unstable,
            seconds=state.time_s,
            touched_s=outcome.touched_s,
            inserted_s=outcome.inserted_s,
            contact_share=self._trace.share,
            peak_n=outcome.peak_n,
            mean_n=self._trace.mean_n,
            touch_miss_m=self._touch_miss_m,
            miss_m=self._miss_m(state.tip_m),
            halted=self._unstable or '; '.join(map(str, halted)),
            dropped=not state.held,
            refused=outcome.refused,
            chunks=counts.chunks,
            triggered=counts.triggered,
            held=counts.held,
            hold_reasons=dict(counts.hold_reasons),
            felt=self._felt,
        )

    def _miss_m(self, tip_m: np.ndarray) -> float:
        return float(np.linalg.norm(tip_m[:2] - self._housing.hole_m))

    # Called by the threads of the loops, one at a time.

    def _take_chunk(self, chunk: Chunk) -> None:
        self._set_points.offer(chunk)

    def _feel(self, image: np.ndarray, stamp_ns: int) -> np.ndarray:
        felt = self._touch.shown(image, self._trace.in_contact_at(stamp_ns))
        if self._task.film:
            stream = next(iter(self._task.contract.by_role('tactile')))
            self._task.film.add_image(stream, (stamp_ns - SIMULATED_START_NS) * 1e-9, felt)
        return felt

    def _note_touch(self, reading: TouchReading) -> None:
        touch, felt = reading.touch, self._felt
        felt.time_s.append((touch.stamp_ns - SIMULATED_START_NS) * 1e-9)
        felt.known_s.append((reading.known_ns - SIMULATED_START_NS) * 1e-9)
        felt.contact.append(self._trace.in_contact_at(touch.stamp_ns))
        felt.gate.append(touch.gate)
        felt.logvar.append(touch.logvar)
        if self._task.film:
            self._task.film.add_gate(felt.time_s[-1], touch.gate, felt.contact[-1])
        if touch.residual_map is not None:
            felt.squared_residual.append(touch.residual_norm**2 / (3 * touch.residual_map.size))

    def _fail(self, text: str) -> None:
        self._failure = text
