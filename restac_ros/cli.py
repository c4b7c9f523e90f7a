"""The `restac-ros` command."""

import os
import sys
from typing import Annotated, get_type_hints

import tyro
from tyro.conf import OmitSubcommandPrefixes, subcommand

from restac_ros.commands.action_tokens import FitFast
from restac_ros.commands.benchmarks import Bench
from restac_ros.commands.calling import CallService, SetPrompt
from restac_ros.commands.checkpoints import DownloadTokenizer, ImportCheckpoint, InitCheckpoint
from restac_ros.commands.compression import MergeLora, Quantise
from restac_ros.commands.data import Convert, Doctor, Export, Info, Quality, Recover, Repair, View
from restac_ros.commands.distilling import Distil
from restac_ros.commands.editing import Adopt, Annotate, Compact, Delete, List, Merge
from restac_ros.commands.evaluation import Evaluate
from restac_ros.commands.importing import ImportHierarchical
from restac_ros.commands.record import Record
from restac_ros.commands.run import Up
from restac_ros.commands.simulating import Sim
from restac_ros.commands.tactile_training import Calibrate, TrainTactile
from restac_ros.commands.training import CONFIGS, MakeSubtaskTask, MakeTouchTask, MeasureNormStats, Train
from restac_ros.commands.usage import check_words, names_in
from restac_ros.stopping import interrupt_when_asked

Command = (
    Annotated[Up, subcommand('up')]
    | Annotated[Record, subcommand('record')]
    | Annotated[CallService, subcommand('call')]
    | Annotated[SetPrompt, subcommand('prompt')]
    | Annotated[Doctor, subcommand('doctor')]
    | Annotated[Convert, subcommand('convert')]
    | Annotated[ImportHierarchical, subcommand('import-hierarchical')]
    | Annotated[Export, subcommand('export')]
    | Annotated[Recover, subcommand('recover')]
    | Annotated[Repair, subcommand('repair')]
    | Annotated[Delete, subcommand('delete')]
    | Annotated[Merge, subcommand('merge')]
    | Annotated[Compact, subcommand('compact')]
    | Annotated[Adopt, subcommand('adopt')]
    | Annotated[Annotate, subcommand('annotate')]
    | Annotated[List, subcommand('list')]
    | Annotated[Quality, subcommand('quality')]
    | Annotated[Info, subcommand('info')]
    | Annotated[View, subcommand('view')]
    | Annotated[InitCheckpoint, subcommand('init-checkpoint')]
    | Annotated[ImportCheckpoint, subcommand('import-checkpoint')]
    | Annotated[Quantise, subcommand('quantise')]
    | Annotated[MergeLora, subcommand('merge-lora')]
    | Annotated[Distil, subcommand('distil')]
    | Annotated[DownloadTokenizer, subcommand('download-tokenizer')]
    | Annotated[MeasureNormStats, subcommand('norm-stats')]
    | Annotated[FitFast, subcommand('fit-fast')]
    | Annotated[Train, subcommand('train')]
    | Annotated[Evaluate, subcommand('evaluate')]
    | Annotated[TrainTactile, subcommand('train-tactile')]
    | Annotated[Calibrate, subcommand('calibrate')]
    | Annotated[MakeTouchTask, subcommand('make-touch-task')]
    | Annotated[MakeSubtaskTask, subcommand('make-subtask-task')]
    | Annotated[Sim, subcommand('sim')]
    | Annotated[Bench, subcommand('bench')]
)


CHOICES = {
    (): names_in(Command),
    ('train',): list(CONFIGS),
    ('bench',): names_in(get_type_hints(Bench, include_extras=True)['what']),
    ('sim',): names_in(get_type_hints(Sim, include_extras=True)['what']),
}
"""What the next word may be, after which words."""


def main() -> None:
    """Run a command. Errors a user can correct are one message and status 2, all others tracebacks."""
    os.environ.setdefault('HF_HUB_OFFLINE', '1')  # lerobot must not wait for a hub: nothing here is on one
    interrupt_when_asked()  # until here the program ended at once
    try:
        check_words(sys.argv[1:], CHOICES)
        command = tyro.cli(
            Command,
            prog='restac-ros',
            description='Touch for vision-language-action robots on ROS 2.',
            config=(OmitSubcommandPrefixes,),
        )
        code = command.run()
    except KeyboardInterrupt:
        print('restac-ros: interrupted', file=sys.stderr)
        code = 130
    except BrokenPipeError:  # the reader of our output is gone, such as a pager or tee
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except Exception as error:  # sorted below: what is not a refusal is raised again
        if not _is_mendable(error):
            raise
        print(f'restac-ros: {error}', file=sys.stderr)
        code = 2
    sys.exit(code)


def _is_mendable(error: Exception) -> bool:
    """Return whether a user can correct it: our own refusals, and files that are absent or exist."""
    ours = type(error).__module__.startswith('restac_ros.')
    return ours or isinstance(error, FileNotFoundError | FileExistsError | PermissionError)


if __name__ == '__main__':
    main()
