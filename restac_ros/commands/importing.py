"""`restac-ros import-hierarchical`: others' demonstrations by task and subtask as a data set."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional

from restac_ros.commands.paths import absolute
from restac_ros.commands.terminal import counted, counting, print_error, print_line
from restac_ros.installation import config_file


@dataclass(frozen=True)
class ImportHierarchical:
    """Import demonstrations kept as task/subtask/run or stageN/run into a LeRobot v3.0 data set.

    A run holds actions.npy, qpos.npy and a folder of images for each camera, or the older data.txt. Each
    becomes an episode, its subtask in LeRobot's language columns. All runs are checked before one is written;
    those that the data set holds are skipped: after an interrupt the same call continues from there.
    """

    root: Annotated[Path, Positional]
    """Directory of demonstrations."""
    to: Path
    """Data set; made if absent."""
    instructions: Path | None = None
    """JSON with the texts of tasks and subtasks, or of stages; default: names of directories."""
    directory_names: bool = False
    """Tasks and subtasks that the JSON lacks are called as their directories."""
    space: Literal['pose', 'joints'] = 'pose'
    """What states and actions are: poses x y z, three angles, opening; or seven joints and opening."""
    cameras: dict[str, str] = field(default_factory=dict)
    """FOLDER STREAM ... for folders that are not called as a stream of the contract; '.' is the run itself,
    and a stream '' leaves the folder out."""
    fps: int | None = None
    """Frames per second of the data; default: that of the contract."""
    contract: Path | None = None
    """Robot facts (YAML); default: the installed config/contract.yaml."""
    dry_run: bool = False
    """Check all runs and print what they would become; write nothing."""

    def run(self) -> int:
        """Exit status: 1 when a run was refused."""
        from restac_ros.contract.load import load_contract
        from restac_ros.dataset.hierarchical.importing import (
            ImportRequest,
            at_rate,
            import_runs,
            plan_import,
        )

        contract = load_contract(self.contract or config_file('contract.yaml'))
        if self.fps is not None:
            contract = at_rate(contract, self.fps)
        request = ImportRequest(
            absolute(self.root),
            absolute(self.to),
            contract,
            absolute(self.instructions) if self.instructions else None,
            self.directory_names,
            self.space,
            self.cameras,
        )
        plan = plan_import(request)
        for note in plan.notes:
            print_line(note)
        if self.dry_run:
            for planned in plan.runs:
                print_line(
                    f'{planned.run.path.relative_to(request.root)}: {planned.frames} frames of '
                    f'{", ".join(planned.images)}; {planned.texts.task!r}, {planned.texts.subtask!r}'
                )
            return 0
        refused = 0
        with counting('importing') as on_run:
            for done, outcome in enumerate(import_runs(plan), 1):
                on_run(done, len(plan.runs))
                name = outcome.run.path.relative_to(request.root)
                if outcome.refusal:
                    refused += 1
                    print_error(f'refused: {outcome.refusal}')
                elif outcome.deleted:
                    print_line(f'{name}: skipped, its episode was deleted')
                else:
                    print_line(f'{name}: is episode {outcome.episode}{" already" if outcome.already else ""}')
        print_line(f'{request.dataset}: {counted(len(plan.runs) - refused, "run")} of {request.root}')
        return int(refused > 0)
