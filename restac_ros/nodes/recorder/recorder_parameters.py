"""The parameters of the recorder."""

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field

from restac_ros.dataset.bag.bag_writer import Compression
from restac_ros.dataset.convert import OnGap
from restac_ros.dataset.dataset_place import dataset_place
from restac_ros.recording.recorder import RecorderSettings
from restac_ros.recording.triggers import Trigger, parse_triggers
from restac_ros.runtime.node_parameters import (
    Milliseconds,
    NodeParameters,
    OptionalPath,
    ParameterError,
    texts_of,
)


def _triggers(value: object) -> object:
    return parse_triggers(texts_of(value))


class RecorderParameters(NodeParameters):
    """See config/recorder.yaml."""

    changeable = frozenset({'task'})

    dataset: OptionalPath = Field(description='LeRobot data set, made if absent; empty: journals only')
    journal_dir: OptionalPath = Field(description='raw recordings; empty: <dataset>.journals')
    task: str = Field(description='what the next episode shows; may change while running')
    subtasks: Annotated[tuple[str, ...], BeforeValidator(texts_of)] = Field(
        description='parts of the task, in their order; ~/next_subtask goes on to the next'
    )
    policy_subtask_topic: str = Field(
        description='Subtask of a policy with a planner: what it acts by is stored; empty: not listened to'
    )
    autostart_recording: bool = Field(description='begin an episode when activated')
    start_after: str = Field(description='node that must be active before this one is; empty: none')
    save_on_shutdown: bool = Field(description='save what runs at the end; otherwise keep its journal')
    on_gap: OnGap = Field(description='refuse an episode with a gap, or keep its longest run without one')
    max_frozen_ms: Milliseconds = Field(description='longest that an image may repeat; 0: not watched')
    compression: Compression = Field(description='of the journal')
    queue_mb: float = Field(gt=0, le=65_536, description='messages that may wait for the disk, MB')
    min_free_gb: float = Field(ge=0, le=65_536, description='end a recording when less disk is left, GB')
    min_free_memory_gb: float = Field(
        ge=0, le=65_536, description='end a recording when less memory is left, GB; 0: not watched'
    )
    triggers: Annotated[tuple[Trigger, ...], BeforeValidator(_triggers)] = Field(
        description="pedals and joystick buttons, such as '/pedal toggle' and '/joy[3] discard'"
    )
    debounce_ms: Milliseconds = Field(description='a press counts when it was released for so long before')

    def settings(self) -> RecorderSettings:
        """Return the settings of the recorder.

        Raises:
            ParameterError: no place to record to is given.
            DatasetError: the data set cannot lie there.
        """
        return RecorderSettings(
            journal_dir=self.journal_dir or self._beside_dataset(),
            dataset=dataset_place(self.dataset) if self.dataset else None,
            queue_bytes=round(self.queue_mb * 1e6),
            min_free_bytes=round(self.min_free_gb * 1e9),
            min_free_memory_bytes=round(self.min_free_memory_gb * 1e9),
            on_gap=self.on_gap,
            compression=self.compression,
            subtasks=self.subtasks,
        )

    def _beside_dataset(self) -> Path:
        if self.dataset is None:
            raise ParameterError('neither dataset nor journal_dir is given: pass -p dataset:=DIRECTORY')
        return self.dataset.with_name(self.dataset.name + '.journals')
