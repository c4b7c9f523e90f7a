"""`restac-ros record`: demonstrations by single keys."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from restac_ros.commands.paths import absolute, new_run_directory
from restac_ros.dataset.dataset_place import dataset_place
from restac_ros.graph import Run, console, processes
from restac_ros.installation import GraphError


@dataclass(frozen=True)
class Record:
    """Record demonstrations by single keys, with the state of every stream on the terminal.

    Space starts and saves an episode, d discards it (into a trash folder), p pauses and resumes, t changes
    the task text, q quits. Saved episodes are converted while the next one is recorded.
    """

    to: Path
    """LeRobot data set to add episodes to; made if absent."""
    task: str = ''
    """What the episodes show."""
    contract: Path | None = None
    """Robot facts (YAML); default: the installed config/contract.yaml."""
    journals: Path | None = None
    """Where raw recordings go; default: beside the data set."""
    params: Path | None = None
    """ROS parameter file for the recorder (pedals, joystick, guards); the defaults are in config/."""
    namespace: str = ''
    """Namespace of the recorder, such as left: two robots in one domain have two."""
    remap: tuple[str, ...] = ()
    """ROS remappings of the recorder, each FROM:=TO."""
    run_dir: Path = field(default_factory=new_run_directory)
    """Where the recorder puts its summary."""

    def run(self) -> int:
        """Exit status: 0 when all went well."""
        from restac_ros.commands.summary import run_processes
        from restac_ros.supervise import has_keyboard

        dataset = dataset_place(self.to)
        if not has_keyboard():
            raise GraphError(
                'stdin is not a terminal, and episodes are recorded by keys: run this in a terminal, or use '
                '`ros2 launch restac_ros record.launch.py` and `restac-ros call recorder_node start`'
            )
        run = Run(
            directory=absolute(self.run_dir),
            contract=absolute(self.contract),
            prompt=self.task,
            record=dataset,
            journals=absolute(self.journals),
            autostart_recording=False,
            parameter_file=absolute(self.params),
            namespace=self.namespace,
            remaps=self.remap,
        )
        [listed] = processes(run)
        recorder = replace(listed, parameters={**listed.parameters, 'save_on_shutdown': True})
        ending, _ = run_processes([console(run, [recorder], 'display'), recorder], run.directory)
        return ending.code
