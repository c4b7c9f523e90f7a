"""What the cell's sensors measure, stream by stream of a contract, with their noise."""

from dataclasses import dataclass

import numpy as np

from restac_ros.contract.schema import Contract
from restac_ros.framing.kinematics import transform
from restac_ros.geometry import quaternion as quat
from restac_ros.geometry.pose import Pose
from restac_ros.sim.cell.cell import Cell, CellState
from restac_ros.sim.cell.cell_cameras import CellCameras
from restac_ros.sim.cell.parameters import CellError, CellScene
from restac_ros.sim.randomness import random_for
from restac_ros.sim.touch.plug_face import PlugFace
from restac_ros.sim.touch.tactile_sensor import TactileSensor

CAMERA_OF_SLOT = {'base_0_rgb': 'main', 'left_wrist_0_rgb': 'handeye', 'right_wrist_0_rgb': 'side'}
_CAMERA_NOISE_GREY = 1.5  # standard deviation; a camera that repeats itself to the bit counts as frozen
_NOISE_MARGIN_PX = 64
_NOISE_RAD = 1e-6  # no encoder repeats itself exactly
_NOISE_M = 1e-6


@dataclass(frozen=True)
class SensorSizes:
    """Height and width of images, px. The defaults are what framing makes of all others."""

    camera_px: tuple[int, int] = (224, 224)
    tactile_px: tuple[int, int] = (128, 160)


class CellSensors:
    """Measures a cell. Each stream has noise of its own, drawn reading by reading from the seed.

    Cameras are to be read, and closed, by one thread. Not thread-safe.

    Attributes:
        streams: names of the contract's streams that are measured: all, or all but the cameras.
    """

    def __init__(
        self,
        contract: Contract,
        cell: Cell,
        scene: CellScene,
        seed: int,
        sizes: SensorSizes | None = None,
        cameras: bool = True,
    ) -> None:
        """Open the sensors.

        Raises:
            CellError: the contract has several tactile streams; the cell has one tactile sensor.
            OpenGLError: `cameras`, and nothing can be drawn on this machine.
        """
        sizes = sizes or SensorSizes()
        self._contract, self._cell, self._seed, self._sizes = contract, cell, seed, sizes
        if len(touches := contract.by_role('tactile')) > 1:
            raise CellError(f'the contract has the tactile streams {", ".join(touches)}; the cell has one')
        unseen = set() if cameras else set(contract.by_role('camera'))
        self.streams = tuple(name for name in contract.streams if name not in unseen)
        self._random = {name: random_for(seed, f'noise of {name}') for name in contract.streams}
        offset = contract.robot.pose_tool_in_hand
        self._tool_in_hand = transform(offset.xyz_m, offset.rpy_rad)
        self._cameras: CellCameras | None = None
        if cameras:
            CellCameras(cell.model, sizes.camera_px).close()  # refused now, not by the thread that draws
        self._noise = _noise_image(sizes.camera_px, seed)
        self.reset(scene)

    def reset(self, scene: CellScene) -> None:
        """Hold the plug as `scene` has it."""
        face = PlugFace(self._cell.parameters.plug, scene.grasp_m, scene.grasp_rad)
        self._touch = TactileSensor(face, self._sizes.tactile_px, self._seed)

    def read(self, name: str) -> np.ndarray | Pose:
        """Return what stream `name` measures now.

        camera, tactile: uint8 [H, W, 3] RGB; arm_joints: positions and speeds [2, 7] in rad and rad/s;
        gripper: opening [] in m; tool_pose: measured, target_pose: commanded pose of the tool in the base.
        """
        spec, random = self._contract.stream(name), self._random[name]
        match spec.role:
            case 'camera':
                return self._camera(CAMERA_OF_SLOT[spec.slot], random)
            case 'tactile':
                state = self._cell.state()
                return self._touch.frame(state.mount if state.held else None)
            case 'arm_joints':
                data = self._cell.data  # a thousand times a second: a whole state would double the cost
                measured = np.stack([data.qpos[:7], data.qvel[:7]])
                return measured + _NOISE_RAD * random.standard_normal((2, 7))
            case 'gripper':
                return np.array(self._cell.opening_m)
            case 'tool_pose':
                pose = self.tool_of_hand(self._cell.state().pose)
                return pose._replace(position_m=pose.position_m + _NOISE_M * random.standard_normal(3))
            case 'target_pose':
                return self.tool_of_hand(self._cell.target)

    def skip(self, name: str) -> None:
        """Leave out one reading of a camera: later ones have the noise that they would have had after it."""
        assert self._contract.stream(name).role == 'camera', f'{name} is no camera, and cannot be skipped'
        _noise_place(self._random[name])

    def reference(self) -> np.ndarray:
        """Return the tactile image of the plug in its present grasp, without noise, uint8 [H, W, 3] RGB."""
        state: CellState = self._cell.state()
        return self._touch.reference(state.mount if state.held else None)

    def tool_of_hand(self, hand: Pose) -> Pose:
        """Return the pose of the contract's tool where the hand's TCP is at `hand`."""
        return _moved(hand, self._tool_in_hand)

    def hand_of_tool(self, tool: Pose) -> Pose:
        """Return the pose of the hand's TCP where the contract's tool is at `tool`."""
        return _moved(tool, np.linalg.inv(self._tool_in_hand))

    def close(self) -> None:
        """Release the cameras."""
        if self._cameras is not None:
            self._cameras.close()
            self._cameras = None

    def _camera(self, camera: str, random: np.random.Generator) -> np.ndarray:
        if self._cameras is None:
            self._cameras = CellCameras(self._cell.model, self._sizes.camera_px)
        image = self._cameras.image(self._cell.data, camera).astype(np.int16)
        row, column = _noise_place(random)
        height, width = image.shape[:2]
        image += self._noise[row : row + height, column : column + width]
        return np.clip(image, 0, 255).astype(np.uint8)


def _noise_place(random: np.random.Generator) -> np.ndarray:
    """Row and column of an image's window of the noise, [2]."""
    return random.integers(0, _NOISE_MARGIN_PX, 2)


def _noise_image(size_px: tuple[int, int], seed: int) -> np.ndarray:
    """int16 [H + margin, W + margin, 3]: a window of it, anywhere, is the noise of one image."""
    shape = (size_px[0] + _NOISE_MARGIN_PX, size_px[1] + _NOISE_MARGIN_PX, 3)
    noise = _CAMERA_NOISE_GREY * random_for(seed, 'noise image').standard_normal(shape, np.float32)
    return np.rint(noise).astype(np.int16)


def _moved(pose: Pose, offset: np.ndarray) -> Pose:
    turn = quat.to_matrix(pose.quaternion_xyzw)
    quaternion = quat.from_matrix(turn @ offset[:3, :3])
    return Pose(pose.position_m + turn @ offset[:3, 3], quaternion)
