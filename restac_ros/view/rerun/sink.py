"""Logs what a run shows into a Rerun recording: a GateScene in space and as plots, cameras, robot, words."""

import math
import threading
from collections.abc import Sequence
from contextlib import suppress

import numpy as np
import rerun as rr

from restac_ros.contract.schema import Contract
from restac_ros.dataset.features import STATE_NAMES
from restac_ros.framing.kinematics import joint_origins_in_base_m
from restac_ros.view.colours import HEAT_MAP
from restac_ros.view.rerun import layout
from restac_ros.view.rerun.archetypes import (
    arm_lines,
    finger_lines,
    jpeg_image,
    shape_archetypes,
    tool_axes,
)
from restac_ros.view.samples import ChunkSample, GateSample, RunOrigin
from restac_ros.view.scene import GateScene, SceneOptions
from restac_ros.view.tactile import heat_overlay

_MS = 1e-6  # ms in a ns
_WORDS_PERIOD_NS = 5_000_000_000


class RerunSink:
    """Receives values as a GateScene does, and cameras, joints, opening and words; `draw` adds the shapes.

    Times are the reader's steady clock, ns; `epoch_ns` is added to them on Rerun's timeline, which counts
    from 1970, or from zero where `is_dataset`. While the server takes nothing, nothing is logged: see
    `check_taken`.
    """

    def __init__(
        self,
        recording: rr.RecordingStream,
        contract: Contract,
        tactile: str | None,
        options: SceneOptions,
        epoch_ns: int = 0,
        is_dataset: bool = False,
    ) -> None:
        self._recording = recording
        self._options = options
        self.scene = GateScene(contract, tactile, options)
        self._epoch_ns, self._is_dataset = epoch_ns, is_dataset
        self._words: dict[str, str] = {}  # the present ones by path
        self._untold: set[str] = set()  # paths of words that are not logged yet
        self._words_due_ns = 0
        self._pose: np.ndarray | None = None
        self._opening_m = math.nan
        self._shown: set[str] = set()  # shapes that stand in the recording
        self.is_stalled = False  # the server takes nothing
        self.left_out = 0  # drawings, because of that
        self._flush: threading.Thread | None = None  # under way; one at a time: the SDK queues them
        layout.name_lines(recording, STATE_NAMES)

    def add_gate(self, gate: GateSample, steady_ns: int) -> None:
        """Log a GateState."""
        self.scene.add_gate(gate, steady_ns)
        self._at(steady_ns)
        self._scalar(layout.AT_GATE, gate.gate)
        self._scalar(layout.AT_LOGVAR, gate.logvar_standardised)
        if gate.code_index >= 0:
            self._scalar(layout.AT_CODE, gate.code_index)
        self._scalar(layout.AT_TOUCH_MS, gate.inference_ns * _MS)
        self._scalar(layout.AT_TACTILE_AGE_MS, gate.tactile_age_ns * _MS)
        self._add_origin(gate.origin, steady_ns)

    def add_chunk(self, chunk: ChunkSample, steady_ns: int) -> None:
        """Log an ActionChunk."""
        self.scene.add_chunk(chunk, steady_ns)
        self._at(steady_ns)
        self._scalar(layout.AT_ACT_MS, chunk.inference_ns * _MS)
        self._scalar(layout.AT_PREFIX_AGE_MS, chunk.prefix_age_ns * _MS)
        self._add_origin(chunk.origin, steady_ns)

    def add_pose(self, pose_tool_in_base: np.ndarray, steady_ns: int) -> None:
        """Log the tool's pose [4, 4] in the base frame."""
        self.scene.add_pose(pose_tool_in_base, steady_ns)
        self._pose = pose_tool_in_base
        self._at(steady_ns)
        self._log(layout.AT_TOOL, tool_axes(pose_tool_in_base))
        if math.isfinite(self._opening_m):
            self._log(layout.AT_FINGERS, finger_lines(pose_tool_in_base, self._opening_m))

    def add_joints(self, q_rad: np.ndarray, steady_ns: int) -> None:
        """Log the arm at joint positions [7] rad."""
        self._at(steady_ns)
        self._log(layout.AT_ROBOT, arm_lines(joint_origins_in_base_m(q_rad)))

    def add_opening(self, opening_m: float) -> None:
        """Set the gripper's opening, drawn with the next pose."""
        self._opening_m = opening_m

    def add_tactile(self, image: np.ndarray, steady_ns: int) -> None:
        """Log a tactile frame uint8 [H, W, 3] RGB, and its change once the reference is complete."""
        self.scene.add_tactile(image, steady_ns)
        if self.is_stalled:
            return  # nothing is compressed to be dropped
        self._at(steady_ns)
        self._log(layout.AT_TOUCH_IMAGE, jpeg_image(image))
        if (change := self.scene.change) is not None:
            self._log(layout.AT_TOUCH_CHANGE, jpeg_image(heat_overlay(image, change, self._options.heat)))
            self._scalar(layout.AT_LEVEL, self.scene.gel.level)

    def add_residual(self, magnitude: np.ndarray, steady_ns: int) -> None:
        """Log felt minus expected per latent position, float [h, w], on its fixed scale."""
        self.scene.add_residual(magnitude, steady_ns)
        self._at(steady_ns)
        heat = np.where(np.isfinite(magnitude), magnitude, 0.0) / self._options.heat.residual_full
        cells = HEAT_MAP[(np.clip(heat, 0, 1) * 255).astype(np.uint8)]
        self._log(layout.AT_RESIDUAL, rr.Image(cells))

    def add_image(self, stream: str, image: np.ndarray, steady_ns: int) -> None:
        """Log a camera's image uint8 [H, W, 3] RGB."""
        if self.is_stalled:
            return  # as of touch
        self._at(steady_ns)
        self._log(layout.camera_path(stream), jpeg_image(image))

    def add_hold(self, reason: str, steady_ns: int) -> None:
        """Log the policy's reason to hold; '' while it plans."""
        self.scene.add_hold(reason, steady_ns)
        self.add_words(layout.AT_HELD, f'held: {reason}' if reason else 'planning', steady_ns)

    def add_subtask(self, text: str, steady_ns: int) -> None:
        """Log what chunks are planned for, and who said it."""
        self.add_words(layout.AT_SUBTASK, text, steady_ns)

    def add_vector(self, path: str, values: Sequence[float], steady_ns: int) -> None:
        """Log state or action."""
        self._at(steady_ns)
        self._log(path, rr.Scalars(values))

    def add_words(self, path: str, text: str, steady_ns: int) -> None:
        """Log a text when it differs from the last one."""
        if text and text != self._words.get(path):
            self._words[path] = text
            self._words_due_ns = steady_ns
            self._untold.add(path)
            self._tell(steady_ns)

    def draw(self, steady_ns: int) -> None:
        """Log the present shapes and words, and clear the shapes that have gone."""
        if self.is_stalled:
            self.left_out += 1
            return
        self._tell(steady_ns)
        self._draw_words(steady_ns)
        self._at(steady_ns)
        archetypes = shape_archetypes(self.scene.shapes(steady_ns))
        for name, archetype in archetypes.items():
            self._log(layout.shape_path(name), archetype)
        for name in self._shown - set(archetypes):
            self._log(layout.shape_path(name), rr.Clear(recursive=False))
        self._shown = set(archetypes)

    def check_taken(self, patience_s: float) -> None:
        """Wait, at most `patience_s`, until the server has taken what was logged; log nothing more before.

        A server stops taking while one of its browsers does: logging would wait for that browser.
        """
        if self._flush is None:
            self._flush = threading.Thread(target=self._flush_all, daemon=True)
            self._flush.start()
        self._flush.join(patience_s)
        self.is_stalled = self._flush.is_alive()
        if not self.is_stalled:
            self._flush = None

    def _flush_all(self) -> None:
        with suppress(RuntimeError):  # the server has ended: whoever started it sees that
            self._recording.flush()

    def _tell(self, steady_ns: int) -> None:
        """Log the words that are new, once the server takes them."""
        while self._untold and not self.is_stalled:
            text = self._words[path := self._untold.pop()]
            self._at(steady_ns)
            level = 'WARN' if text.startswith('held: ') else 'INFO'
            self._log(path, rr.TextLog(text, level=level))

    def _draw_words(self, steady_ns: int) -> None:
        """Log the present words when they have changed, and again and again: the server drops the oldest."""
        if self._words and steady_ns >= self._words_due_ns:
            self._words_due_ns = steady_ns + _WORDS_PERIOD_NS
            lines = [f'{path.rpartition("/")[2]}: {self._words[path]}' for path in sorted(self._words)]
            self._at(steady_ns)
            self._log(layout.AT_NOW, rr.TextDocument('\n'.join(lines)))

    def _add_origin(self, origin: RunOrigin, steady_ns: int) -> None:
        if origin != RunOrigin():
            text = f'{origin.prompt} (checkpoint {origin.checkpoint or "not known"})'
            self.add_words(layout.AT_PROMPT, text, steady_ns)

    def _scalar(self, path: str, value: float) -> None:
        self._log(path, rr.Scalars(value))

    def _log(self, path: str, value: rr.AsComponents) -> None:
        if not self.is_stalled:
            self._recording.log(path, value)

    def _at(self, steady_ns: int) -> None:
        time_ns = steady_ns + self._epoch_ns
        if self._is_dataset:
            self._recording.set_time(layout.TIMELINE, duration=np.timedelta64(time_ns, 'ns'))
        else:
            self._recording.set_time(layout.TIMELINE, timestamp=np.datetime64(time_ns, 'ns'))
