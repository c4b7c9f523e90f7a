"""The texts of tasks and subtasks: a JSON file, and names of directories where they may stand in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restac_ros.contract.errors import did_you_mean
from restac_ros.dataset.errors import DatasetError
from restac_ros.dataset.hierarchical.layout import DemonstrationRun
from restac_ros.dataset.language import checked_text
from restac_ros.whole_files import read_bounded_json

_MAX_BYTES = 16 << 20


@dataclass(frozen=True)
class RunTexts:
    """What a run shows.

    Attributes:
        task: the task that it is a part of.
        subtask: what is done in it.
        to_come: the stages after it, in words; empty where their order is not stated.
    """

    task: str
    subtask: str
    to_come: tuple[str, ...] = ()


class Instructions:
    """Texts by task and subtask, or by stage.

    The layout by tasks reads `tasks.TASK.text` and `tasks.TASK.subtasks.SUBTASK.text`. The one by stages
    reads the entries of `task_instructions` whose `stage` it is: `subtask`, else `text`; and as the task
    `high_level_task` of the entry, else of the file.

    Args:
        content: of the file; empty where there is none.
        source: its name, for messages.
        names_stand_in: a task or subtask without an entry is called as its directory.

    Raises:
        DatasetError: an entry is not what it should be.
    """

    def __init__(self, content: Mapping[str, Any], source: str, *, names_stand_in: bool) -> None:
        self._source, self._names_stand_in = source, names_stand_in
        self._tasks = self._mapping(content.get('tasks', {}), 'tasks')
        self._overall = content.get('high_level_task')
        self._stages = self._by_stage(content.get('task_instructions', []))

    @classmethod
    def read(cls, path: Path | None, *, names_stand_in: bool) -> 'Instructions':
        """Read the file; None has no entries.

        Raises:
            DatasetError: no such file, too large, no JSON object, or an entry is not what it should be.
        """
        if path is None:
            return cls({}, 'no file of instructions', names_stand_in=names_stand_in)
        remedy = 'give the JSON file of instructions'
        content = read_bounded_json(path, _MAX_BYTES, DatasetError, remedy=remedy)
        return cls(content, str(path), names_stand_in=names_stand_in)

    def texts(self, run: DemonstrationRun) -> RunTexts:
        """Return the texts of a run.

        Raises:
            DatasetError: there is none for it, or it is empty.
        """
        if run.stage is not None:
            return self._texts_of_stage(run.stage)
        task_entry = self._entry(self._tasks, run.task or '', 'tasks')
        task = self._text(task_entry, run.task or '', f'tasks.{run.task}')
        where = f'tasks.{run.task}.subtasks'
        subtasks = self._mapping((task_entry or {}).get('subtasks', {}), where)
        entry = self._entry(subtasks, run.subtask or '', where)
        return RunTexts(task, self._text(entry, run.subtask or '', f'{where}.{run.subtask}'))

    def unused(self, runs: Sequence[DemonstrationRun]) -> list[str]:
        """Return the entries that no run is of, as places in the file."""
        stages = {run.stage for run in runs}
        tasks = {run.task for run in runs}
        pairs = {(run.task, run.subtask) for run in runs}
        found = [f'task_instructions of stage {stage}' for stage in self._stages if stage not in stages]
        for name, entry in self._tasks.items():
            if name not in tasks:
                found.append(f'tasks.{name}')
            else:
                subtasks = entry.get('subtasks', {})
                found += [f'tasks.{name}.subtasks.{one}' for one in subtasks if (name, one) not in pairs]
        return found

    def _by_stage(self, entries: Any) -> dict[int, Mapping[str, Any]]:
        """Return one entry per stage; two that differ are refused, none is chosen."""
        if not isinstance(entries, list):
            raise self._fault('task_instructions', entries, 'a list of stages')
        found: dict[int, Mapping[str, Any]] = {}
        for place, entry in enumerate(entries):
            where = f'task_instructions[{place}]'
            stage = self._mapping(entry, where).get('stage')
            if not isinstance(stage, int) or isinstance(stage, bool) or stage < 1:
                raise self._fault(f'{where}.stage', stage, 'a whole number from 1')
            said = {name: entry.get(name) for name in ('subtask', 'text', 'high_level_task')}
            if found.setdefault(stage, said) != said:
                raise self._fault(where, said, f'what the entry before says of stage {stage}: {found[stage]}')
        return dict(sorted(found.items()))

    def _texts_of_stage(self, stage: int) -> RunTexts:
        if (entry := self._stages.get(stage)) is None:
            raise DatasetError(
                f'{self._source}: found no entry of stage {stage} in task_instructions, expected one for '
                f'every directory stageN; stages there: {list(self._stages) or "none"}. A stage has no name '
                'that could stand in for its text: add the entry'
            )
        subtask = self._subtask(stage, entry)
        task = entry['high_level_task'] or self._overall
        if task is None:
            raise DatasetError(
                f'{self._source}: found no high_level_task, neither of stage {stage} nor of the file, '
                'expected the task that the stages are parts of: add it'
            )
        later = (number for number in self._stages if number > stage)
        to_come = tuple(self._subtask(number, self._stages[number]) for number in later)
        return RunTexts(
            checked_text(f'{self._source}: high_level_task of stage {stage}', task), subtask, to_come
        )

    def _subtask(self, stage: int, entry: Mapping[str, Any]) -> str:
        text = entry['subtask'] if entry['subtask'] is not None else entry['text']
        return checked_text(f'{self._source}: subtask of stage {stage}', text)

    def _entry(self, entries: Mapping[str, Any], name: str, where: str) -> Mapping[str, Any] | None:
        if name in entries:
            return self._mapping(entries[name], f'{where}.{name}')
        if self._names_stand_in:
            return None
        raise DatasetError(
            f'{self._source}: found no {where}.{name}, expected an entry for the directory {name!r}; '
            f'{did_you_mean(name, entries)}. Add it, or have names of directories stand in '
            '(--directory-names)'
        )

    def _text(self, entry: Mapping[str, Any] | None, name: str, where: str) -> str:
        text = (entry or {}).get('text')
        if text is None and self._names_stand_in:
            text = name.replace('_', ' ')
        return checked_text(f'{self._source}: {where}.text', text)

    def _mapping(self, value: Any, where: str) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            raise self._fault(where, value, 'an object')
        return value

    def _fault(self, where: str, found: Any, expected: str) -> DatasetError:
        return DatasetError(f'{self._source}: {where}: found {found!r}, expected {expected}')
