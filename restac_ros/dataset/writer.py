"""Appends one episode to a LeRobot v3.0 data set as a whole, or not at all."""

import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow.parquet as pq
from lerobot.utils.utils import SuppressProgressBars

from restac_ros.contract.load import load_contract
from restac_ros.contract.schema import Contract
from restac_ros.dataset.dataset_files import (
    ABOUT,
    INFO,
    STATS,
    TASKS,
    check_appendable,
    check_usable,
    describe_dataset,
    read_info,
    read_json,
    video_for,
    write_description,
)
from restac_ros.dataset.episode_notes import notes_path
from restac_ros.dataset.errors import DatasetError
from restac_ros.dataset.features import BOOKKEEPING, action_prev_key, features_of
from restac_ros.dataset.language import (
    NO_WORDS,
    PERSISTENT,
    EpisodeWords,
    has_language,
    subtasks_in,
    without_language,
    write_words,
)
from restac_ros.dataset.lerobot_access import (
    WritableDataset,
    open_dataset,
    private_cache,
    quick_saving,
)
from restac_ros.dataset.table_writing import write_table
from restac_ros.dataset.transaction import transaction
from restac_ros.dataset.video.video_choice import VideoChoice

# LeRobot changes these in place; everything else that it writes is a new file.
REWRITTEN = {path.as_posix() for path in (INFO, STATS, TASKS)}


class EpisodeWriter:
    """Writes the rows of one episode.

    Attributes:
        about: what is noted of the episode, stored with it as JSON.
        words: what is done in it in words; the data set gets LeRobot's language columns if it has none.
        index: the episode's number in the data set.
        rows: how many rows were added.
        action_prev: the name of that column in the data set.
    """

    def __init__(
        self, staging: Path, contract: Contract, streams: Collection[str], task: str, video: VideoChoice
    ) -> None:
        self.contract = contract
        self.streams = list(streams)
        self.about: dict[str, Any] = {}
        self.words: EpisodeWords = NO_WORDS
        self.rows = 0
        self._staging = staging
        self._task = task
        self._video = video
        self._last: dict[str, np.ndarray] = {}
        self._has_language = staging.exists() and has_language(read_info(staging))
        if staging.exists():
            without_language(staging)
            self._dataset = WritableDataset.append_to(staging, video)
        else:
            features = features_of(contract, streams)
            self._dataset = WritableDataset.create_at(
                staging, contract.fps, features, contract.robot.arm, video
            )
        self.index = self._dataset.meta.total_episodes
        self.action_prev = action_prev_key(self._dataset.meta.features)

    def add(self, row: dict[str, np.ndarray]) -> None:
        """Append a row made by `features.row_of`, one period after the row before."""
        self._dataset.add_frame({**row, 'task': self._task})
        self._last = row
        self.rows += 1

    def finish(self) -> None:
        """Write the episode, and check it by reading it back.

        Raises:
            DatasetError: LeRobot reads back something else than was written.
        """
        with SuppressProgressBars(), quick_saving():
            self._dataset.save_episode(parallel_encoding=False)
        self._dataset.finalize()
        with suppress(FileNotFoundError):
            _remove_empty(self._staging / 'images')
        _drop_fingerprint(max(self._staging.glob('data/*/*.parquet')))
        _drop_statistics(self._staging)
        if self._has_language or self.words != NO_WORDS:
            write_words(self._staging, {self.index: self.words})
        self._describe()
        self._verify()

    def abandon(self) -> None:
        """Stop the encoders and close the files, so that the directory can be removed."""
        with suppress(Exception):  # the error before this one is raised to the caller
            self._dataset.clear_episode_buffer()
            self._dataset.finalize()

    def _describe(self) -> None:
        """Store the contract, the conversion's settings and what is known of this episode."""
        path = self._staging / ABOUT / 'contract.yaml'
        if not path.exists():
            describe_dataset(self._staging, self.contract, self._video)
        notes = {**self.about, 'contract_differences': load_contract(path).differences(self.contract)}
        write_description(self._staging / notes_path(self.index), notes)

    def _verify(self) -> None:
        """Open the finished episode as a training program would."""
        dataset = open_dataset(self._staging, [self.index])
        if len(dataset) != self.rows or dataset.meta.total_episodes != self.index + 1:
            raise DatasetError(
                f'{self._staging}: {self.rows} rows of episode {self.index} were written, '
                f'{len(dataset)} of {dataset.meta.total_episodes} episodes are read back'
            )
        for key in dataset.meta.video_keys:
            with av.open(str(self._staging / dataset.meta.get_video_file_path(self.index, key))) as video:
                if (frames := video.streams.video[0].frames) != self.rows:
                    raise DatasetError(f'{key}: {self.rows} frames were encoded, the video has {frames}')
        item = dataset[self.rows - 1]
        if item['task'] != self._task:
            raise DatasetError(f'task {self._task!r} was written, {item["task"]!r} is read back')
        self._verify_words(item)
        for key, value in self._last.items():
            dtype = dataset.meta.features[key]['dtype']
            found = item[key].numpy()
            if dtype == 'image':
                found = np.round(found * 255).astype(np.uint8).transpose(1, 2, 0)
            if dtype != 'video' and not np.array_equal(found.reshape(value.shape), value):
                raise DatasetError(f'{key} of the last row is read back with another value than written')

    def _verify_words(self, item: dict[str, Any]) -> None:
        written = [text for _, text in self.words.subtasks]
        read = [text for _, text in subtasks_in(item.get(PERSISTENT, []))]
        if read != written:
            raise DatasetError(f'subtasks {written} were written, {read} are read back')


@contextmanager
def appending(
    root: Path, contract: Contract, streams: Collection[str], task: str, video: VideoChoice | None = None
) -> Iterator[EpisodeWriter]:
    """Yield a writer of an episode for the data set at `root`, which is created if need be.

    `video` defaults to what the data set has.

    On leaving the block the episode is written, checked and becomes part of the data set in one step. An
    exception, or the end of the process at any moment, leaves the data set as it was.

    Raises:
        DatasetError: the data set does not fit, or another process writes it.
    """
    with transaction(root, REWRITTEN.__contains__) as staging, private_cache():
        if staging.exists():
            check_usable(root)
            check_appendable(root, contract, streams)
        writer = EpisodeWriter(staging, contract, streams, task, video_for(root, video))
        try:
            yield writer
            writer.finish()
        except BaseException:  # also an interrupt: the encoders' threads must end before the directory goes
            writer.abandon()
            raise


def _drop_fingerprint(path: Path) -> None:
    """Remove from a Parquet file's footer a hash over where its images lay while they were written.

    Nothing reads it, and without it the same recording gives the same bytes.
    """
    table = pq.read_table(path)
    about = json.loads(table.schema.metadata[b'huggingface'])
    about.pop('fingerprint', None)
    write_table(
        table.replace_schema_metadata({b'huggingface': json.dumps(about, sort_keys=True).encode()}), path
    )


def _drop_statistics(root: Path) -> None:
    """Remove the statistics of stamps, ages and validity, which mean nothing.

    They are half of all columns about episodes, and opening a data set takes time that grows with the square.
    """

    def is_kept(key: str) -> bool:
        return key.partition('.')[0] not in BOOKKEEPING

    path = max(root.glob('meta/episodes/*/*.parquet'))
    table = pq.read_table(path)
    kept = [name for name in table.column_names if is_kept(name.removeprefix('stats/'))]
    write_table(table.select(kept), path)
    statistics = read_json(root / STATS)
    write_description(root / STATS, {key: value for key, value in statistics.items() if is_kept(key)})


def _remove_empty(folder: Path) -> None:
    """Remove a tree of empty directories, which LeRobot leaves where it kept images while writing."""
    for inner in sorted(folder.rglob('*'), reverse=True):
        inner.rmdir()
    folder.rmdir()
