"""Finds what is broken in a LeRobot v3.0 data set, of any writer, and which episodes are whole."""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from restac_ros.dataset.dataset_files import ABOUT, TASKS, check_present, read_info, video_keys
from restac_ros.dataset.dataset_place import dataset_place
from restac_ros.dataset.episode_notes import episode_notes, noted_episodes
from restac_ros.dataset.errors import DatasetError
from restac_ros.dataset.repair.damage import DatasetDamage, Lost, Whole
from restac_ros.dataset.repair.damage_numbers import check_info, check_stats, find_strays, number_episodes
from restac_ros.dataset.repair.damage_rows import Rows, rows_in
from restac_ros.dataset.repair.damage_video import CUT_OFF, MISSING, TOLERANCE_S, Video, examine_video
from restac_ros.dataset.repair.leftovers import find_leftovers
from restac_ros.dataset.transaction import directory_state

ABOUT_COLUMNS = (
    'episode_index',
    'tasks',
    'length',
    'dataset_from_index',
    'dataset_to_index',
    'data/chunk_index',
    'data/file_index',
)
_WINDOW = ('chunk_index', 'file_index', 'from_timestamp', 'to_timestamp')
INFO_KEYS = ('codebase_version', 'fps', 'features', 'total_episodes', 'total_frames', 'data_path')


def examine_dataset(root: Path, unwanted: Mapping[int, str] | None = None) -> DatasetDamage:
    """Examine everything in a data set but the pictures of its videos.

    `unwanted` episodes count as lost, for the reason given.

    Raises:
        DatasetError: it is not a v3.0 data set, or is being written at the moment.
    """
    return _Examination(dataset_place(root), unwanted or {}).run()


class _Examination:
    """The steps; each adds to `damage`."""

    def __init__(self, root: Path, unwanted: Mapping[int, str]) -> None:
        check_present(root)
        state = directory_state(root)
        info, fault = _info(root)
        if missing := [key for key in INFO_KEYS if key not in info]:
            raise DatasetError(f'{root}: meta/info.json lacks {", ".join(missing)}. Restore it from a copy.')
        if not str(info['codebase_version']).startswith('v3.'):
            raise DatasetError(
                f'{root} is of format {info["codebase_version"]}, not v3.0. Convert it with '
                "LeRobot's own script first."
            )
        self.root, self.info = root, info
        self.video_keys = video_keys(info)
        if self.video_keys and not info.get('video_path'):
            raise DatasetError(f'{root}: meta/info.json lacks video_path. Restore it from a copy.')
        self.damage = DatasetDamage(root, info, state, faults=[fault] if fault else [], info_lost=bool(fault))
        self.videos: dict[Path, Video] = {}
        self.reasons = defaultdict[int, list[str]](list, {n: [why] for n, why in unwanted.items()})
        self.broken_files: dict[Path, str] = {}

    def run(self) -> DatasetDamage:
        self.abouts = self._read_abouts()
        self.rows = self._read_rows()
        for path, fault in self.broken_files.items():
            self.damage.faults.append(f'{path} is damaged: {fault}')
        self._read_tasks()
        self._sort_out()
        self._find_cut_videos()
        number_episodes(self.damage)
        check_info(self.damage)
        check_stats(self.damage)
        find_strays(self.damage, self.broken_files, self._used_videos())
        self.damage.leftovers = find_leftovers(self.root)
        return self.damage

    def _read_abouts(self) -> dict[int, pa.Table]:
        """Read the rows of meta/episodes by the number of the episode."""
        needed = [*ABOUT_COLUMNS, *(f'videos/{key}/{name}' for key in self.video_keys for name in _WINDOW)]
        found: dict[int, pa.Table] = {}
        for path in sorted((self.root / 'meta' / 'episodes').glob('*/*.parquet')):
            try:
                table = pq.read_table(path)
                if missing := [name for name in needed if name not in table.column_names]:
                    raise KeyError(f'it lacks {", ".join(missing)}')
                for position, number in enumerate(table['episode_index'].to_pylist()):
                    if number in found:
                        self.reasons[number].append('meta/episodes has two rows for it')
                    found[number] = table.slice(position, 1)
                    if any(found[number][name].null_count for name in needed):
                        self.reasons[number].append('its row in meta/episodes is incomplete')
                        del found[number]
            except (pa.ArrowException, OSError, KeyError) as error:
                self.broken_files[path.relative_to(self.root)] = str(error.args[0]).splitlines()[0]
        return found

    def _read_rows(self) -> dict[int, Rows]:
        """Read the rows of data/ by the number of the episode, in the order of LeRobot."""
        found: dict[int, Rows] = {}
        expected = 0
        for path in sorted((self.root / 'data').glob('*/*.parquet')):
            file = path.relative_to(self.root)
            try:
                for rows in rows_in(self.root, file, self.info):
                    if rows.number in found:
                        self.reasons[rows.number].append(f'its rows lie in several places, one in {file}')
                    elif not rows.broken and rows.start_index != expected:
                        fault = f'episode {rows.number}: index does not go on at {expected}'
                        self.damage.faults.append(fault)
                    expected = (expected if rows.start_index is None else rows.start_index) + rows.count
                    found.setdefault(rows.number, rows)
            except DatasetError as error:
                self.broken_files[file] = str(error)
        return found

    def _read_tasks(self) -> None:
        """Read task texts by number: of the table and, where it lacks some, of episodes with one task."""
        texts: dict[int, str] = {}
        listed: list[int] = []
        fault = 'is missing'
        try:
            for row in pq.read_table(self.root / TASKS).to_pylist():
                listed.append(row.pop('task_index'))
                texts[listed[-1]] = str(next(iter(row.values())))
            fault = '' if listed == list(range(len(listed))) else 'does not number its tasks from 0'
        except FileNotFoundError:
            pass
        except (pa.ArrowException, OSError, KeyError, StopIteration) as error:
            fault = f'is damaged: {str(error).splitlines()[0]}'
        for number, rows in self.rows.items():
            tasks = self.abouts[number]['tasks'].to_pylist()[0] if number in self.abouts else []
            if len(rows.task_numbers) == len(tasks) == 1 and rows.task_numbers[0] not in texts:
                texts[rows.task_numbers[0]] = tasks[0]
                fault = fault or f'lacks number {rows.task_numbers[0]}, "{tasks[0]}"'
        self.texts = texts
        unique = list(dict.fromkeys(texts[number] for number in sorted(texts)))
        if fault:
            self.damage.faults.append(f'{TASKS} {fault}')
            self.damage.tasks = unique
        self.damage.numbers = {number: unique.index(text) for number, text in texts.items()}

    def _sort_out(self) -> None:
        """Divide the episodes into whole and lost ones."""
        seen = {*self.abouts, *self.rows, *noted_episodes(self.root)}
        if self.broken_files or self.info['total_frames'] != sum(rows.count for rows in self.rows.values()):
            seen |= set(range(self.info['total_episodes']))  # otherwise only the counter is wrong
        windows = self._windows()
        for number in sorted(seen):
            self.reasons[number] += self._reasons(number, windows)
            if self.reasons[number]:
                self.damage.lost.append(self._lost(number))
        for number, rows in self.rows.items():
            if not self.reasons[number]:
                about = self.abouts[number]
                self.damage.whole.append(Whole(rows, about, changes=self._window_changes(about, rows.count)))

    def _reasons(self, number: int, windows: dict[Path, list[tuple[int, int, int]]]) -> list[str]:
        """Return why an episode is not whole."""
        rows, about = self.rows.get(number), self.abouts.get(number)
        damaged = '; '.join(f'{path} is damaged' for path in self.broken_files)
        because = f' ({damaged})' if damaged else ''
        reasons = []
        if rows is None:
            reasons.append(f'its rows are not in data/{because}')
        else:
            unknown = [task for task in rows.task_numbers if task not in self.texts]
            reasons += rows.broken + [f'the text of its task {task} is lost' for task in unknown]
        if about is None:
            reasons.append(f'meta/episodes does not know it{because}')
        if rows is None or about is None:
            return reasons
        if (length := about['length'].to_pylist()[0]) != rows.count:
            reasons.append(f'it has {rows.count} rows of {length}')
        for key in self.video_keys:
            file, first, count = self._window(key, about)
            if fault := self._video_fault(file, first, count, rows.count, windows[file]):
                reasons.append(f'{file} {fault}')
        return reasons

    def _video_fault(
        self, file: Path, first: int, count: int, rows: int, windows: list[tuple[int, int, int]]
    ) -> str:
        """Return the fault of `count` frames of a video from `first` on, as an episode's; '' without any."""
        video = self._video(file)
        if not video.frames:
            return video.fault
        if len(windows) == 1 and video.frames == rows:
            return ''  # its own file: its place in it is known, even against meta/episodes
        if count != rows:
            return f'has {count} frames for {rows} rows'
        if first < 0 or first + count > video.frames:
            return video.fault or f'has {video.frames} frames, the episode would end at {first + count}'
        if sum(first < end and begin < first + count for begin, end, _ in windows) > 1:
            return f'holds another episode at the frames {first} to {first + count}'
        return ''

    def _video(self, file: Path) -> Video:
        if file not in self.videos:
            video = examine_video(self.root / file, self.info['fps'])
            if video.fault == MISSING:
                self.damage.missing.append(file)
                if elsewhere := sorted(self.root.glob(str(Path('*', *file.parts[1:])))):
                    there = elsewhere[0].relative_to(self.root)
                    video = Video(0, f'{MISSING}; {there} is there: move it, or correct video_path')
            self.videos[file] = video
        return self.videos[file]

    def _window(self, key: str, about: pa.Table) -> tuple[Path, int, int]:
        """Return an episode's video file (relative), its first frame in it and the number of its frames."""
        chunk, file, begin_s, end_s = (about[f'videos/{key}/{name}'].to_pylist()[0] for name in _WINDOW)
        path = self.info['video_path'].format(video_key=key, chunk_index=chunk, file_index=file)
        first = round(begin_s * self.info['fps'])
        return Path(path), first, round(end_s * self.info['fps']) - first

    def _window_changes(self, about: pa.Table, rows: int) -> dict[str, float]:
        """Return the right times of an episode in its videos, where meta/episodes has others."""
        changes = {}
        for key in self.video_keys:
            file, first, count = self._window(key, about)
            first = first if count == rows and first + count <= self._video(file).frames else 0
            fps = self.info['fps']
            for name, time_s in (('from_timestamp', first / fps), ('to_timestamp', (first + rows) / fps)):
                if abs(about[f'videos/{key}/{name}'].to_pylist()[0] - time_s) > TOLERANCE_S:
                    changes[f'videos/{key}/{name}'] = time_s
        return changes

    def _find_cut_videos(self) -> None:
        """List the videos whose whole episodes can only be decoded once the torn end is cut off."""
        for file in sorted(self._used_videos()):
            if (video := self._video(file)).fault == CUT_OFF:
                self.damage.cut_videos.append(file)
                self.damage.faults.append(f'{file} {CUT_OFF} after {video.frames} frames')

    def _used_videos(self) -> set[Path]:
        """Return the videos of whole episodes."""
        return {self._window(key, one.about)[0] for one in self.damage.whole for key in self.video_keys}

    def _windows(self) -> dict[Path, list[tuple[int, int, int]]]:
        """Return (first frame, end, episode) of all episodes by video file."""
        found = defaultdict(list)
        for number, about in self.abouts.items():
            for key in self.video_keys:
                file, first, count = self._window(key, about)
                found[file].append((first, first + count, number))
        return found

    def _lost(self, number: int) -> Lost:
        about = self.abouts.get(number)
        task = '; '.join(about['tasks'].to_pylist()[0]) if about is not None else ''
        try:
            notes = episode_notes(self.root, number)
        except DatasetError:
            notes = {}
        task = task or notes.get('task', '')
        return Lost(number, self.reasons[number], task, notes.get('bag', ''), notes.get('options', []))


def _info(root: Path) -> tuple[dict[str, Any], str]:
    """Return meta/info.json, made anew where a data set of ours has lost it, and its fault."""
    try:
        return read_info(root), ''
    except DatasetError as error:
        if not (root / ABOUT / 'contract.yaml').is_file():
            raise
        from restac_ros.dataset.repair.info_rebuilding import rebuilt_info  # loads torch

        return rebuilt_info(root), f'{error}: it is made anew from the contract'
