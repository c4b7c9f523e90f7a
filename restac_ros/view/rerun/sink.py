"""Logs what a run shows into a Rerun recording: a GateScene in space and as plots, cameras, robot, words."""

import math
from collections.abc import Sequence

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
from restac_ros.view.tactile import contact_level, heat_overlay

_MS = 1e-6  # ms in a ns


class RerunSink:
    """Receives values as a GateScene does, and cameras, joints, opening and words; `draw` adds the shapes.

    Times are the reader's steady clock, ns; `epoch_ns` is added to them on Rerun's timeline, which counts
    from 1970, or from zero where `is_dataset`.
    """

    def __init__(
        self,
        recording: rr.RecordingStream,
        contract: Contract,
        tactile: str,
        options: SceneOptions,
        epoch_ns: int = 0,
        is_dataset: bool = False,
    ) -> None:
        self._recording = recording
        self._options = options
        self.scene = GateScene(contract, tactile, options)
        self._epoch_ns, self._is_dataset = epoch_ns, is_dataset
        self._origin = RunOrigin()
        self._words: dict[str, str] = {}
        self._pose: np.ndarray | None = None
        self._opening_m = math.nan
        self._shown: set[str] = set()  # shapes that stand in the recording
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
        self._add_origin(gate.origin)

    def add_chunk(self, chunk: ChunkSample, steady_ns: int) -> None:
        """Log an ActionChunk."""
        self.scene.add_chunk(chunk, steady_ns)
        self._at(steady_ns)
        self._scalar(layout.AT_ACT_MS, chunk.inference_ns * _MS)
        self._scalar(layout.AT_PREFIX_AGE_MS, chunk.prefix_age_ns * _MS)
        self._add_origin(chunk.origin)

    def add_pose(self, pose_tool_in_base: np.ndarray, steady_ns: int) -> None:
        """Log the tool's pose [4, 4] in the base frame."""
        self.scene.add_pose(pose_tool_in_base, steady_ns)
        self._pose = pose_tool_in_base
        self._at(steady_ns)
        self._recording.log(layout.AT_TOOL, tool_axes(pose_tool_in_base))
        if math.isfinite(self._opening_m):
            self._recording.log(layout.AT_FINGERS, finger_lines(pose_tool_in_base, self._opening_m))

    def add_joints(self, q_rad: np.ndarray, steady_ns: int) -> None:
        """Log the arm at joint positions [7] rad."""
        self._at(steady_ns)
        self._recording.log(layout.AT_ROBOT, arm_lines(joint_origins_in_base_m(q_rad)))

    def add_opening(self, opening_m: float) -> None:
        """Set the gripper's opening, drawn with the next pose."""
        self._opening_m = opening_m

    def add_tactile(self, image: np.ndarray, steady_ns: int) -> None:
        """Log a tactile frame uint8 [H, W, 3] RGB, and its change once the reference is complete."""
        self.scene.add_tactile(image, steady_ns)
        self._at(steady_ns)
        self._recording.log(layout.AT_TOUCH_IMAGE, jpeg_image(image))
        if (change := self.scene.change) is not None:
            self._recording.log(
                layout.AT_TOUCH_CHANGE, jpeg_image(heat_overlay(image, change, self._options.heat))
            )
            self._scalar(layout.AT_LEVEL, contact_level(change))

    def add_residual(self, magnitude: np.ndarray, steady_ns: int) -> None:
        """Log felt minus expected per latent position, float [h, w], on its fixed scale."""
        self.scene.add_residual(magnitude, steady_ns)
        self._at(steady_ns)
        heat = np.where(np.isfinite(magnitude), magnitude, 0.0) / self._options.heat.residual_full
        cells = HEAT_MAP[(np.clip(heat, 0, 1) * 255).astype(np.uint8)]
        self._recording.log(layout.AT_RESIDUAL, rr.Image(cells))

    def add_image(self, stream: str, image: np.ndarray, steady_ns: int) -> None:
        """Log a camera's image uint8 [H, W, 3] RGB."""
        self._at(steady_ns)
        self._recording.log(layout.camera_path(stream), jpeg_image(image))

    def add_hold(self, reason: str, steady_ns: int) -> None:
        """Log the policy's reason to hold; '' while it plans."""
        self.scene.add_hold(reason, steady_ns)
        self.add_words(layout.AT_HELD, f'held: {reason}' if reason else 'planning', steady_ns)

    def add_vector(self, path: str, values: Sequence[float], steady_ns: int) -> None:
        """Log state or action."""
        self._at(steady_ns)
        self._recording.log(path, rr.Scalars(values))

    def add_words(self, path: str, text: str, steady_ns: int) -> None:
        """Log a text when it differs from the last one."""
        if text and text != self._words.get(path):
            self._words[path] = text
            self._at(steady_ns)
            level = 'WARN' if text.startswith('held: ') else 'INFO'
            self._recording.log(path, rr.TextLog(text, level=level))

    def draw(self, steady_ns: int) -> None:
        """Log the present shapes, and clear those that have gone."""
        self._at(steady_ns)
        archetypes = shape_archetypes(self.scene.shapes(steady_ns))
        for name, archetype in archetypes.items():
            self._recording.log(layout.shape_path(name), archetype)
        for name in self._shown - set(archetypes):
            self._recording.log(layout.shape_path(name), rr.Clear(recursive=False))
        self._shown = set(archetypes)

    def _add_origin(self, origin: RunOrigin) -> None:
        if origin != self._origin:
            self._origin = origin
            self._recording.log(
                layout.AT_PROMPT,
                rr.TextLog(f'{origin.prompt} (checkpoint {origin.checkpoint or "not known"})'),
            )

    def _scalar(self, path: str, value: float) -> None:
        self._recording.log(path, rr.Scalars(value))

    def _at(self, steady_ns: int) -> None:
        time_ns = steady_ns + self._epoch_ns
        if self._is_dataset:
            self._recording.set_time(layout.TIMELINE, duration=np.timedelta64(time_ns, 'ns'))
        else:
            self._recording.set_time(layout.TIMELINE, timestamp=np.datetime64(time_ns, 'ns'))
