"""`restac-ros sim teleop`: a person moves the arm of the simulated cell, and may record demonstrations."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from restac_ros.commands.paths import absolute, new_run_directory
from restac_ros.commands.terminal import print_line
from restac_ros.dataset.dataset_place import dataset_place
from restac_ros.graph import RECORDED_SEED, Run, Source, ViewKind, console, processes
from restac_ros.process import Process


@dataclass(frozen=True)
class SimTeleop:
    """Insert the plug yourself: by single keys, and by a gamepad where joy_node publishes one.

    With a data set the keys of `restac-ros record` are there, too: space starts and saves an episode. It runs
    until q; x is the next scene.
    """

    to: Path | None = None
    """LeRobot data set to add episodes to; made if absent. Without one nothing is recorded."""
    task: str = 'insert the plug into the socket'
    """What the episodes show."""
    seed: int = RECORDED_SEED
    """Of the first scene: chooses the places of socket, hole and arm, all noise and all delays. Evaluations
    use small ones."""
    contract: Path | None = None
    """Robot facts (YAML); default: config/contract_cell.yaml, whose actions are the commanded poses."""
    cameras: bool = True
    """Draw the cell's cameras, which needs OpenGL."""
    window: bool = False
    """Also show the simulated cell in a window of MuJoCo's own viewer, where there is a display."""
    view: ViewKind = 'none'
    """Also show cameras and touch: for rviz (config/restac.rviz), or as a page for a browser (Rerun)."""
    rate: float = 1.0
    """Highest ratio of simulated to real time; below 1 the cell is slower, and easier."""
    params: Path | None = None
    """ROS parameter file for tuning the nodes (speeds, gamepad, pedals); the defaults are in config/."""
    run_dir: Path = field(default_factory=new_run_directory)
    """Where the nodes put their summaries."""

    def run(self) -> int:
        """Exit status: 0 when all went well."""
        from restac_ros.commands.summary import run_processes
        from restac_ros.supervise import has_keyboard

        run = self._described()
        listed = [_saving(process) for process in processes(run)]
        terminal: Literal['keys', 'display'] = 'display' if run.record else 'keys'
        if has_keyboard():
            listed.insert(0, console(run, listed, terminal))
        else:
            print_line(
                'stdin is no terminal, so there are no keys: a gamepad (sensor_msgs/Joy) moves the arm'
            )
        ending, _ = run_processes(listed, run.directory)
        return ending.code

    def _described(self) -> Run:
        return Run(
            directory=absolute(self.run_dir),
            contract=absolute(self.contract),
            prompt=self.task,
            record=dataset_place(self.to) if self.to else None,
            source=Source.SIM,
            rate=self.rate,
            seed=self.seed,
            cameras=self.cameras,
            window=self.window,
            teleoperate=True,
            view=self.view,
            autostart_recording=False,
            parameter_file=absolute(self.params),
        )


def _saving(process: Process) -> Process:
    """A recorder that saves the open episode at the end; other processes as they are."""
    if process.executable != 'recorder_node':
        return process
    return replace(process, parameters={**process.parameters, 'save_on_shutdown': True})
