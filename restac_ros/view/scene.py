"""The state of the view, and its shapes and images at one time. Nodes and recordings feed it.

Two clocks: `steady_ns` is the reader's, stamps are the policy's. Ages of inputs are by the first, so that
values of a policy or sensor that has ended are marked as old.
"""

from dataclasses import dataclass, field

import numpy as np

from restac_ros.contract.schema import Contract
from restac_ros.dataset.quality.contact import REFERENCE_FRAMES
from restac_ros.view.chart import CHUNK_COLUMNS, GATE_COLUMNS, TOUCH_COLUMNS, Recent, Story, strip_chart
from restac_ros.view.colours import INVALID, TEXT
from restac_ros.view.history import History, Timeline, Trail
from restac_ros.view.samples import ChunkSample, GateSample, RunOrigin
from restac_ros.view.shapes import Shape, chunk_shapes, executed_path, gate_shapes
from restac_ros.view.tactile import GelWatch, HeatScale, tactile_picture

_MS = 1e-6  # ms in a ns


@dataclass(frozen=True)
class SceneOptions:
    """Options of the view.

    span_s: how far back charts and the executed path reach, s
    stale_s: a gate, pose or tactile frame without a successor for this long is marked as old, s
    reference_frames: how many tactile frames that agree make the reference without contact
    """

    span_s: float = 20.0
    stale_s: float = 1.0
    reference_frames: int = REFERENCE_FRAMES
    heat: HeatScale = field(default_factory=HeatScale)


@dataclass
class _Newest[T]:
    """The newest value of a kind, and its time of receipt on the reader's clock."""

    value: T | None = None
    at_ns: int = 0

    def put(self, value: T, steady_ns: int) -> None:
        self.value, self.at_ns = value, steady_ns

    def problem(self, what: str, steady_ns: int, stale_s: float) -> str:
        """Return why the value is too old; '' while it is not, and before the first."""
        age_s = (steady_ns - self.at_ns) * 1e-9
        return f'no {what} for {age_s:.1f} s' if self.value is not None and age_s > stale_s else ''


class GateScene:
    """Receives values by the `add_` methods; returns shapes and images at any time."""

    def __init__(self, contract: Contract, tactile_stream: str | None, options: SceneOptions) -> None:
        span_ns = round(options.span_s * 1e9)
        self.contract = contract
        self.gel = GelWatch(options.reference_frames)
        self.tactile_stream = tactile_stream  # None: the robot has no tactile sensor
        self._options = options
        self._gates, self._chunks = History(GATE_COLUMNS, span_ns), History(CHUNK_COLUMNS, span_ns)
        self._touches = History(TOUCH_COLUMNS, span_ns)
        self._held: _Newest[str] = _Newest()
        self._timeline = Timeline()
        self._trail = Trail(span_ns)
        self._gate: _Newest[GateSample] = _Newest()
        self._chunk: _Newest[ChunkSample] = _Newest()
        self._pose: _Newest[np.ndarray] = _Newest()
        self._tactile: _Newest[np.ndarray] = _Newest()
        self._residual: _Newest[np.ndarray] = _Newest()

    def add_gate(self, gate: GateSample, steady_ns: int) -> None:
        """Add a GateState."""
        self._observe(gate.stamp_ns, steady_ns)
        self._gate.put(gate, steady_ns)
        self._gates.append(
            gate.stamp_ns,
            gate.gate,
            gate.logvar_standardised,
            gate.inference_ns * _MS,
            gate.tactile_age_ns * _MS,
        )

    def add_chunk(self, chunk: ChunkSample, steady_ns: int) -> None:
        """Add an ActionChunk."""
        self._observe(chunk.stamp_ns, steady_ns)
        self._chunk.put(chunk, steady_ns)
        self._chunks.append(
            chunk.stamp_ns, chunk.gate, chunk.inference_ns * _MS, chunk.prefix_age_ns * _MS, chunk.triggered
        )

    def add_pose(self, pose_tool_in_base: np.ndarray, steady_ns: int) -> None:
        """Add the tool's pose [4, 4] in the base frame."""
        self._pose.put(pose_tool_in_base, steady_ns)
        gate = self._gate.value
        holds = gate is not None and not self._gate_problem(steady_ns)
        self._trail.append(steady_ns, pose_tool_in_base[:3, 3], gate.gate if gate and holds else np.nan)

    def add_tactile(self, image: np.ndarray, steady_ns: int) -> None:
        """Add a tactile frame uint8 [H, W, 3] RGB; the first ones that agree become the reference."""
        self.gel.add(image)
        self._tactile.put(image, steady_ns)
        if self.gel.change is not None:
            self._touches.append(steady_ns, self.gel.level)

    def add_residual(self, magnitude: np.ndarray, steady_ns: int) -> None:
        """Add the magnitude of the tactile residual per latent position, float [h, w]."""
        self._residual.put(magnitude, steady_ns)

    def add_hold(self, reason: str, steady_ns: int) -> None:
        """Add the policy's reason to hold; '' while it plans."""
        self._held.put(reason, steady_ns)

    def add_subtask(self, text: str, steady_ns: int) -> None:
        """Take a subtask, which is not drawn: the chunks that follow it name it as their prompt."""

    @property
    def change(self) -> np.ndarray | None:
        """The newest tactile frame's `pixel_change`, uint8 [H, W]; None before the reference is complete."""
        return self.gel.change

    @property
    def has_touch(self) -> bool:
        """Whether there is a tactile frame."""
        return self._tactile.value is not None

    def series(self, steady_ns: int) -> dict[str, Recent]:
        """The recent past as values: times in s before now and columns, of 'gate', 'chunk' and 'touch'."""
        now_ns = self._timeline.now_ns(steady_ns) or 0
        return {
            'gate': self._gates.since(now_ns),
            'chunk': self._chunks.since(now_ns),
            'touch': self._touches.since(steady_ns),
        }

    def shapes(self, steady_ns: int) -> list[Shape]:
        """Shapes to draw in space; none before the tool's pose is known."""
        shapes = executed_path(*self._trail.path())
        now_ns = self._timeline.now_ns(steady_ns)
        if self._chunk.value is not None and now_ns is not None:
            shapes += chunk_shapes(self._chunk.value, now_ns)
        if self._pose.value is not None:
            problem = self._pose.problem('tool pose', steady_ns, self._options.stale_s) or self._gate_problem(
                steady_ns
            )
            shapes += gate_shapes(self._pose.value, self._gate.value, problem)
        return shapes

    def tactile_image(self, steady_ns: int) -> np.ndarray:
        """Return the tactile overlay, uint8 [H, W, 3] RGB, see `tactile_picture`."""
        stale_s = self._options.stale_s
        residual = None if self._residual.problem('residual', steady_ns, stale_s) else self._residual.value
        title = self.tactile_stream or 'no tactile stream'
        problem = self._tactile.problem('tactile frame', steady_ns, stale_s)
        if self._gate.value is not None and not self._gate_problem(steady_ns):
            title += f'   gate {self._gate.value.gate:.2f}'
        return tactile_picture(
            self._tactile.value,
            self.gel,
            self._options.heat,
            title,
            residual,
            problem or self.gel.problem,
        )

    def chart_image(self, steady_ns: int) -> np.ndarray:
        """Return the strip chart, uint8 [HEIGHT_PX, WIDTH_PX, 3] RGB."""
        series = self.series(steady_ns)
        story = Story(
            self._gate_lines(),
            self.gel.threshold,
            self._headlines(steady_ns),
            self._gate_problem(steady_ns) if self._gate.value else 'no gate yet',
        )
        return strip_chart(series['gate'], series['chunk'], series['touch'], self._options.span_s, story)

    def _gate_lines(self) -> tuple[float, ...]:
        """Threshold and release level of the gate; empty where unknown or unused."""
        gate = self._gate.value
        if gate is None or not gate.replan_threshold < 1:
            return ()
        return gate.replan_threshold, gate.replan_release

    def _headlines(self, steady_ns: int) -> tuple[tuple[str, tuple[int, int, int]], ...]:
        """Lines with prompt, checkpoint, and state of the policy."""
        newest = self._chunk.value or self._gate.value
        origin = newest.origin if newest else RunOrigin()
        lines = [(f'prompt: {origin.prompt or "not known"}', TEXT)]
        lines.append((f'checkpoint: {origin.checkpoint or "not known"}', TEXT))
        if self._held.value:
            lines.append((f'held: {self._held.value}', INVALID))
        elif problem := self._chunk.problem('chunk', steady_ns, self._options.stale_s):
            lines.append((problem, INVALID))
        else:
            lines.append(('planning' if self._chunk.value else 'no chunk yet', TEXT))
        return tuple(lines)

    def _gate_problem(self, steady_ns: int) -> str:
        return self._gate.problem('gate', steady_ns, self._options.stale_s)

    def _observe(self, stamp_ns: int, steady_ns: int) -> None:
        """Update the timeline; clear the scene when stamps go back, as when a bag starts again."""
        if self._timeline.observe(stamp_ns, steady_ns):
            self._gates.clear()
            self._chunks.clear()
            self._trail.clear()
            self._chunk = _Newest()
            self._held = _Newest()
