"""`restac-ros up`: the runtime as processes."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from restac_ros.commands.paths import absolute, new_run_directory
from restac_ros.commands.terminal import print_line
from restac_ros.dataset.dataset_place import dataset_place
from restac_ros.graph import RECORDED_SEED, Run, Source, ViewKind, console, processes
from restac_ros.installation import config_file


@dataclass(frozen=True)
class Up:
    """Start the policy, a recorder and a source where asked for; stop them in order; print a summary."""

    checkpoint: Path | None = None
    """Policy checkpoint; without one only the recorder runs."""
    prompt: str = ''
    """The robot's task; also the task text of a recorded episode."""
    contract: Path | None = None
    """Robot facts (YAML); default: the installed config/contract.yaml, for the cell contract_cell.yaml."""
    record: Path | None = None
    """LeRobot data set to record an episode into; made if absent."""
    bag: Path | None = None
    """rosbag2 (MCAP or sqlite3) to play instead of live drivers."""
    source: Literal['none', 'bag', 'synthetic', 'sim'] | None = None
    """Who publishes the streams: drivers ('none'), a bag, test patterns, the simulated cell; default: the
    bag if one is given."""
    rate: float = 1.0
    """Playing speed of the bag, or highest of the simulated cell."""
    seconds: float | None = None
    """Length of the synthetic source (default 10 s), or most of the simulated cell (30 s)."""
    seed: int | None = None
    """Of the simulated cell: chooses the places of socket, hole and arm, all noise and all delays. Default:
    0; with --record 2,000,000, as evaluations use small ones."""
    cameras: bool = True
    """Draw the simulated cell's cameras, which needs OpenGL."""
    window: bool = False
    """Also show the simulated cell in a window of MuJoCo's own viewer, where there is a display."""
    expert: bool = False
    """Let the simulated cell's scripted expert move its arm; a policy is only watched then."""
    view: ViewKind = 'none'
    """Also show gate, chunk and touch: for rviz (config/restac.rviz), or as a page for a browser (Rerun)."""
    execute: bool = False
    """Also send set-points to the robot: it moves. Without this, chunks are only published."""
    log: Path | None = None
    """Directory for a log of every chunk, gate and diagnosis (a rosbag2 bag per run)."""
    params: Path | None = None
    """ROS parameter file of the nodes, for a Franka a copy of config/robots/franka.yaml; defaults are in
    config/."""
    namespace: str = ''
    """Namespace of all nodes, such as left: two robots in one domain have two."""
    remap: tuple[str, ...] = ()
    """ROS remappings of all nodes, each FROM:=TO."""
    use_sim_time: bool = False
    """Follow /clock instead of the system's time; a played bag and the simulated cell publish it."""
    run_dir: Path = field(default_factory=new_run_directory)
    """Where the nodes put their summaries, and the picture of the episode."""

    def run(self) -> int:
        """Run until it ends; exit status 0 when it ended in order."""
        from restac_ros.commands.summary import run_processes, saved_dataset
        from restac_ros.supervise import has_keyboard
        from restac_ros.view.rerun.viewer import require_rerun

        if self.view == 'rerun':
            require_rerun()
        run = self._described()
        listed = processes(run)
        if run.view == 'rviz':
            print_line(where_view_is_shown())
        if has_keyboard():
            listed.insert(0, console(run, listed, 'keys'))
        ending, summaries = run_processes(listed, run.directory)
        if dataset := saved_dataset(summaries):
            _draw_episode(dataset, run.directory / 'episode.png')
        if run.source is Source.SIM and (log := summaries.get('session_log_node', {}).get('log')):
            print_gate_and_contact(Path(log))
        return ending.code

    def _described(self) -> Run:
        return Run(
            directory=absolute(self.run_dir),
            contract=absolute(self.contract),
            checkpoint=absolute(self.checkpoint),
            prompt=self.prompt,
            record=dataset_place(self.record) if self.record else None,
            bag=absolute(self.bag),
            source=Source.named(self.source or ('bag' if self.bag else 'none')),
            rate=self.rate,
            seconds=self.seconds,
            seed=(RECORDED_SEED if self.record else 0) if self.seed is None else self.seed,
            cameras=self.cameras,
            window=self.window,
            expert=self.expert,
            view=self.view,
            execute=self.execute,
            sessions=absolute(self.log),
            parameter_file=absolute(self.params),
            namespace=self.namespace,
            remaps=self.remap,
            use_sim_time=self.use_sim_time,
        )


def where_view_is_shown() -> str:
    """Return how to open rviz: `--view rviz` only publishes."""
    rviz = f'rviz2 -d {config_file("restac.rviz")}'
    if shutil.which('rviz2'):
        return f'view: show it by {rviz}'
    return (
        f'view: it is published, but rviz2, which shows it, is not installed here. Where it is: {rviz}; '
        'or add --log and --record, and draw a moment afterwards by restac-ros view'
    )


def print_gate_and_contact(log: Path) -> None:
    """Print how the logged gate fits the true contact; a log that cannot be read is named."""
    from restac_ros.dataset.errors import BagError
    from restac_ros.sim.evaluation.logged_gate import logged_gate

    try:
        found = logged_gate(log)
    except BagError as error:
        print(f'gate against true contact: unknown, {error}')
    else:
        if found:
            print(found.describe())


def _draw_episode(dataset: Path, picture: Path) -> None:
    from restac_ros.dataset.preview import frame_grid_png

    print(f'picture of the episode, read back from the data set: {frame_grid_png(dataset, picture)}')
