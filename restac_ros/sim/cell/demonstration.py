"""The expert at work in a cell whose drivers publish: what a recorder would record of a demonstration."""

from collections.abc import Iterator

from restac_ros.contract.schema import Contract
from restac_ros.geometry.pose import Offset, Pose
from restac_ros.sim.cell.cell import Cell
from restac_ros.sim.cell.cell_loop import CellLoop, DriverReading
from restac_ros.sim.cell.cell_sensors import CellSensors
from restac_ros.sim.cell.expert import Expert
from restac_ros.sim.cell.parameters import CellScene, SceneRanges, draw_scene
from restac_ros.sim.cell.trial import FPS, Actor, Senses, SensorNoise

_TARGET_NS = 10_000_000


class Demonstration:
    """One attempt of the expert, in the scene of a seed.

    Attributes:
        loop: the cell; its `outcome` holds the result.
    """

    def __init__(
        self,
        contract: Contract,
        seed: int,
        cameras: bool = True,
        every_image: bool = True,
        ranges: SceneRanges | None = None,
    ) -> None:
        """Open the cell in a scene of `ranges`; raises what `CellSensors` raises.

        Without `every_image`, images of the cameras that no frame on the grid from the start holds are not
        drawn.
        """
        scene = draw_scene(seed, ranges)
        cell = Cell(scene, limits=contract.limits)
        sensors = CellSensors(contract, cell, scene, seed, cameras=cameras)
        images = () if every_image else tuple(contract.by_role('camera'))

        def is_needed(name: str, publish_ns: int, next_ns: int) -> bool:
            return name not in images or _is_in_a_frame(publish_ns, next_ns, contract.fps)

        self.loop = CellLoop(contract, cell, sensors, seed, is_needed)
        self._pilot = expert_pilot(self.loop, scene, seed)

    @property
    def succeeded(self) -> bool:
        """Whether the plug has stayed in the hole for long enough."""
        return self.loop.complete

    def readings(self, limit_s: float) -> Iterator[DriverReading]:
        """Yield the drivers' messages, until the plug has been in for a while, or for `limit_s`."""
        try:
            for reading in self.loop.readings():
                if reading.stream is not None:
                    yield reading
                elif self.succeeded or reading.stamp_ns > limit_s * 1e9:
                    return
                else:
                    self._pilot.advance(reading.stamp_ns)
        finally:
            self.loop.sensors.close()


def _is_in_a_frame(publish_ns: int, next_ns: int, fps: int) -> bool:
    """Return whether a tick of the grid lies between a message and the next one, with 1 ns of rounding."""
    first = -(-(publish_ns - 1) * fps // 10**9)
    return first * 10**9 // fps - 1 <= next_ns


class Pilot:
    """Lets an actor act FPS times a second; targets are commanded at 100 Hz, along straight lines.

    The first `advance` is when it begins.
    """

    def __init__(self, loop: CellLoop, actor: Actor, senses: Senses) -> None:
        self._loop, self._actor, self._senses = loop, actor, senses
        self._acts, self._sent_ns = 0, -_TARGET_NS
        self._begun_ns: int | None = None
        self._acted_ns = 0
        self._last: Pose = loop.cell.state().pose
        self._target = self._last

    def advance(self, now_ns: int) -> None:
        """Command the target that is due at `now_ns`, which never goes back."""
        if self._begun_ns is None:
            self._begun_ns = now_ns
        now_ns -= self._begun_ns
        if now_ns * FPS >= self._acts * 10**9:
            self._last, self._acted_ns = self._target, now_ns
            self._target = self._actor.act(self._senses.perceive(self._loop.cell.state()))
            self._acts += 1
        if now_ns - self._sent_ns >= _TARGET_NS:
            self._sent_ns = now_ns
            share = min(1.0, (now_ns + _TARGET_NS - self._acted_ns) * FPS / 1e9)
            way = Offset.between(self._last, self._target)
            self._loop.follow(way.apply(self._last, share))


def expert_pilot(loop: CellLoop, scene: CellScene, seed: int) -> Pilot:
    """Return the expert by touch at the controls of a cell, which must be in `scene`.

    Args:
        loop: of the cell.
        scene: where housing, hole and plug are.
        seed: of what the expert's senses add.
    """
    senses = Senses(scene, SensorNoise(), seed)
    return Pilot(loop, Expert(cell=loop.cell.parameters), senses)
