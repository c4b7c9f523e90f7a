"""A checkpoint that is evaluated: everything about it that can be refused is, before anything is compiled."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from restac_ros.contract.load import parse_contract
from restac_ros.framing.values import STATE_DIM
from restac_ros.model.checkpoint.provenance import episode_digest
from restac_ros.model.checkpoint.store import (
    CONTRACT,
    NORM_STATS,
    Checkpoint,
    CheckpointInfo,
    load_info,
)
from restac_ros.model.config import ModelConfig
from restac_ros.policy.action_sentences import ActionSentences, taught_sentences
from restac_ros.policy.compatibility import check_fit
from restac_ros.policy.normalization import NormStats
from restac_ros.policy.policy import Policy
from restac_ros.policy.preprocessing import Preprocessor
from restac_ros.policy.prompts import taught_bins
from restac_ros.policy.tokenizer import PromptTokenizer, tokenizer_of
from restac_ros.training.config import HierarchyConfig
from restac_ros.training.data.episodes import Episodes, open_episodes
from restac_ros.training.data.lessons import Lessons, lesson_lengths
from restac_ros.training.data.loader import longest_prompt
from restac_ros.training.data.selection import is_held_out
from restac_ros.training.errors import TrainingError
from restac_ros.training.evaluation.settings import FLOW_STEPS


def open_data(root: Path, checkpoint: Path) -> Episodes:
    """Open a data set for a checkpoint, whose contract counts where the data set has none.

    Raises:
        CheckpointError, ContractError: of the checkpoint.
        TrainingError, DatasetError: as `open_episodes`.
    """
    text = load_info(checkpoint, checksums=False).contract_text
    return open_episodes(root, otherwise=parse_contract(text, f'{checkpoint}/{CONTRACT}'))


@dataclass(frozen=True)
class Subject:
    """A checkpoint that fits the data.

    Attributes:
        path: its directory.
        name: shortest end of the path that no other checkpoint has.
        info: its manifest.
        tokenizer: of its prompts.
        loader: the road of the data set's rows in training, under the data set's contract.
        prompt_length: tokens that prompts are padded to.
        lessons: of a network that was taught subtasks, and acts by the stated ones; None: by the task.
        sentences: of one that generates actions as tokens; None: it does not.
    """

    path: Path
    name: str
    info: CheckpointInfo
    tokenizer: PromptTokenizer
    loader: Preprocessor
    prompt_length: int
    lessons: Lessons | None = None
    sentences: ActionSentences | None = None

    @property
    def config(self) -> ModelConfig:
        """The network's sizes and switches."""
        return self.info.config

    @property
    def flow_steps(self) -> tuple[int, ...]:
        """Euler steps that its chunks are sampled with; the first is what is deployed."""
        distilled = self.info.origin.flow_steps
        return FLOW_STEPS if distilled is None else (distilled,)

    def learnt(self, episodes: Episodes, number: int, validation_share: float) -> bool:
        """Whether it was trained on an episode, as far as is known.

        Where not all of its episodes are recorded, those of a data set of its training were trained on, but
        for those that `validation_share` held out.
        """
        origin, key = self.info.origin, episodes.episode_key(number)
        if episode_digest(key) in origin.episodes:
            return True
        of_its_data = any(data.endswith(episodes.fingerprint) for data in origin.data)
        return not origin.knows_episodes and of_its_data and not is_held_out(key, validation_share)

    def open(self) -> tuple[Policy, Checkpoint]:
        """Read the parameters onto the device, and make the policy that a robot runs of them."""
        checkpoint = Checkpoint.on_device(self.path, self.info)
        contract = parse_contract(self.info.contract_text, f'{self.path}/{CONTRACT}')
        return Policy(checkpoint, contract, self.tokenizer), checkpoint


def open_subjects(paths: Sequence[Path], episodes: Episodes) -> list[Subject]:
    """Check every checkpoint against the data set.

    Raises:
        CheckpointError: absent or damaged.
        NormStatsError: without statistics, or with those of another length.
        PolicyError, TrainingError, TokenizerError, FastFileError: it means other data, lacks something the
            data has not, or holds what cannot be read.
    """
    if len(set(paths)) < len(paths):
        raise TrainingError(f'checkpoints: found {[str(path) for path in paths]}, expected each once')
    return [_subject(path, name, episodes) for path, name in zip(paths, short_names(paths), strict=True)]


def short_names(paths: Sequence[Path]) -> list[str]:
    """Return the shortest ends of paths that are all different."""
    parts = [path.expanduser().resolve().parts for path in paths]
    length = next(
        count
        for count in range(1, max(map(len, parts)) + 1)
        if len({one[-count:] for one in parts}) == len(parts) or count == max(map(len, parts))
    )
    return ['/'.join(one[-length:]) for one in parts]


def _subject(path: Path, name: str, episodes: Episodes) -> Subject:
    path = path.expanduser().resolve()
    info = load_info(path)
    config = info.config
    check_fit(info, episodes.contract, str(path))
    stats = NormStats.from_dict(info.norm_stats, f'{path}/{NORM_STATS}', STATE_DIM)
    if config.uses_touch and episodes.tactile is None:
        raise TrainingError(
            f'{episodes.name}: found no tactile images, expected them: {path} reads touch '
            f'(fusion = {config.fusion!r}); evaluate it on data with touch'
        )
    missing = [stream for stream in episodes.contract.by_role('camera') if stream not in episodes.cameras]
    if config.uses_touch and missing:
        raise TrainingError(
            f'{episodes.name}: found no images of {", ".join(missing)}, expected all cameras: the tactile '
            f'prior of {path} reads them'
        )
    tokenizer = tokenizer_of(info, path)
    taught = info.origin.subtasks
    loader = Preprocessor.from_contract(episodes.contract, config, stats, tokenizer, taught_bins(taught))
    if taught is None:
        return Subject(path, name, info, tokenizer, loader, longest_prompt(loader, [episodes]))
    hierarchy = HierarchyConfig(
        'hierarchical' if taught.says else 'action_expert',
        prompt='joint' if taught.prompt == 'joint' else 'subtask',
        max_subtask_tokens=taught.max_tokens,
    )
    lengths = lesson_lengths(hierarchy, loader, tokenizer, episodes)
    lessons = Lessons(hierarchy, loader, tokenizer, lengths)
    sentences = taught_sentences(taught, path, loader.prompting, tokenizer, config.vocab_size)
    return Subject(path, name, info, tokenizer, loader, lengths.prompt, lessons, sentences)
