"""From a data set that states subtasks to a policy that says them, through the one trainer."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
import yaml

from restac_ros.commands.action_tokens import FitFast
from restac_ros.contract.schema import Contract
from restac_ros.dataset.annotation import annotate
from restac_ros.dataset.errors import DatasetError
from restac_ros.model.text_decoding import TokenChoice
from restac_ros.policy.errors import PolicyError
from restac_ros.policy.policy import Policy
from restac_ros.policy.preprocessing import stack
from restac_ros.training.batch import Batch
from restac_ros.training.config import CONFIGS, DataConfig, HierarchyConfig, TrainConfig
from restac_ros.training.data.episodes import Episodes, open_episodes
from restac_ros.training.deploy import write_checkpoint
from restac_ros.training.distributed import on_host
from restac_ros.training.errors import TrainingError
from restac_ros.training.evaluation.evaluate import evaluate
from restac_ros.training.evaluation.network import EvaluatedNetwork
from restac_ros.training.evaluation.page import evaluation_html
from restac_ros.training.evaluation.parity import deployed_observation
from restac_ros.training.evaluation.settings import EvaluationConfig
from restac_ros.training.evaluation.subject import open_subjects
from restac_ros.training.evaluation.words import Speaker
from restac_ros.training.prepare import Prepared, prepare
from restac_ros.training.subtask_task import STAGED_TASKS, make_subtask_task
from restac_ros.training.trainer import deployable
from training_run import Numbers, train

HORIZON = 16  # of the tiny networks


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory, contract: Contract) -> Path:
    root = tmp_path_factory.mktemp('subtasks') / 'data'
    assert list(make_subtask_task(root, contract, 3)) == [0, 1, 2]
    return root


def run_on(data: Path, to: Path, hierarchy: HierarchyConfig) -> TrainConfig:
    return replace(
        CONFIGS['tiny_planar'],
        hierarchy=hierarchy,
        data=DataConfig(datasets=(data,), validation_share=0.3),
        to=to,
        steps=2,
        batch_size=2,
        log_every=1,
        validate_every=2,
        validation_batches=1,
        save_every=2,
    )


@pytest.fixture(scope='module')
def prepared(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepare(run_on(data, tmp_path_factory.mktemp('run'), HierarchyConfig('planar')))


@pytest.fixture(scope='module')
def annotated(touch_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Episodes long enough for whole chunks, and their subtask."""
    folder = tmp_path_factory.mktemp('annotated')
    shutil.copytree(touch_data, folder / 'data')
    subtask = {'subtasks': [{'from_s': 0, 'text': 'slide along the edge'}]}
    (folder / 'subtasks.yaml').write_text(yaml.safe_dump({'episodes': dict.fromkeys(range(4), subtask)}))
    annotate(folder / 'data', folder / 'subtasks.yaml')
    return folder / 'data'


@pytest.fixture(scope='module')
def with_tokens(annotated: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """A run that learns subtasks and actions as tokens."""
    fast = tmp_path_factory.mktemp('fast') / 'fast'
    FitFast(annotated, fast, horizon=HORIZON, vocab_size=400).run()
    taught = HierarchyConfig(
        'planar', action_tokens=str(fast), max_subtask_tokens=24, state_bins='guide', label_smoothing=0.1
    )
    return prepare(run_on(annotated, tmp_path_factory.mktemp('run'), taught))


@pytest.fixture(scope='module')
def trained(with_tokens: Prepared) -> tuple[Path, Numbers]:
    outcome, numbers = train(with_tokens)
    return write_checkpoint(with_tokens, on_host(deployable(outcome.state)), outcome.step), numbers


def words_of(prepared: Prepared, tokens: Sequence[int]) -> str:
    return sentencepiece.SentencePieceProcessor(model_proto=prepared.tokenizer).decode(list(map(int, tokens)))


def answer_of(prepared: Prepared, batch: Batch, row: int = 0) -> str:
    target = batch.subtask.target
    tokens = target.tokens[row][target.mask[row]].tolist()
    assert tokens[-1] == sentencepiece.SentencePieceProcessor(model_proto=prepared.tokenizer).eos_id()
    return words_of(prepared, tokens[:-1])


def test_pictures_and_words_of_the_made_data_belong_together(data: Path) -> None:
    episodes: Episodes = open_episodes(data)
    for number, (task, subtasks) in enumerate(STAGED_TASKS.items()):
        span = episodes.tables.spans[number]
        said = [episodes.sample(number, frame, 2).subtask for frame in range(span.length)]
        assert episodes.sample(number, 0, 2).task == task
        assert tuple(dict.fromkeys(said)) == subtasks
    with pytest.raises(DatasetError, match='exists already'):
        list(make_subtask_task(data, episodes.contract, 1))


def test_a_lesson_asks_for_the_subtask_of_its_frame(prepared: Prepared) -> None:
    source = prepared.sources[0]
    for index in (0, len(source) - 1):
        batch = source[index]
        episode, frame = batch.place[0].tolist()
        sample = source.episodes.sample(episode, frame, 2)
        lesson = batch.subtask
        question = words_of(prepared, lesson.prompt[0][lesson.prompt_mask[0]])
        assert question.startswith(f'Task: {sample.task}, State: ')
        assert question.endswith(';\nSubtask: ')
        assert answer_of(prepared, batch) == sample.subtask
        acting = batch.observation
        shown = words_of(prepared, acting.tokenized_prompt[0][acting.tokenized_prompt_mask[0]])
        assert shown.strip() == sample.subtask  # this network has its state as a token


def test_joint_prompts_show_the_task_and_other_modes_ask_nothing(data: Path, tmp_path: Path) -> None:
    joint = prepare(run_on(data, tmp_path / 'joint', HierarchyConfig('action_expert', prompt='joint')))
    batch = joint.sources[0][0]
    assert batch.subtask is None
    prompt = batch.observation.tokenized_prompt[0][batch.observation.tokenized_prompt_mask[0]]
    episode, frame = batch.place[0].tolist()
    sample = joint.sources[0].episodes.sample(episode, frame, 2)
    assert words_of(joint, prompt).strip() == f'{sample.task}: {sample.subtask}'


def test_a_run_reports_subtasks_and_leaves_a_policy_that_says_them(
    trained: tuple[Path, Numbers], contract: Contract, with_tokens: Prepared
) -> None:
    checkpoint, numbers = trained
    assert {'subtask_loss', 'subtask_accuracy'} <= set(numbers.steps[1])
    assert 'validation_subtask_accuracy' in numbers.steps[2]
    assert 'flow_loss' not in numbers.steps[1]
    policy = Policy.load(checkpoint, contract, 'make a cup of tea', use_compile_cache=False)
    taught = policy.info.origin.subtasks
    assert (taught.says, taught.acts, taught.state_bins) == (True, False, 'guide')
    assert policy.info.action_tokens == with_tokens.action_tokens != {}
    far_below = np.full(7, -100.0)  # 0 by the rule that was taught, -1 by openpi's
    assert policy.inputs.prompting.question('tidy', far_below).text.endswith(
        'State: 0 0 0 0 0 0 0;\nSubtask: '
    )
    sample = with_tokens.sources[0].episodes.sample(0, 3, 2)
    ask = (sample.images, sample.state, 'make a cup of tea', 77)
    said = policy.planner.ask(*ask)
    assert said == policy.planner.ask(*ask)
    assert (said.task, said.stamp_ns) == ('make a cup of tea', 77)
    assert 0 < said.num_tokens <= taught.max_tokens
    assert said.ended == (said.num_tokens < taught.max_tokens) or said.num_tokens == taught.max_tokens
    assert said.mean_log_probability <= 0
    calls = iter([True, True, False])
    assert policy.planner.ask(*ask, lambda: next(calls)) is None


def test_drawn_subtasks_are_those_of_the_seed(
    trained: tuple[Path, Numbers], contract: Contract, with_tokens: Prepared
) -> None:
    sample = with_tokens.sources[0].episodes.sample(0, 3, 2)

    def said(seed: int) -> list[str]:
        policy = Policy.load(
            *(trained[0], contract, 'push'),
            choice=TokenChoice(temperature=4.0, top_k=50),
            seed=seed,
            use_compile_cache=False,
        )
        return [
            policy.planner.ask(sample.images, sample.state, 'make a cup of tea', 0).text for _ in range(2)
        ]

    drawn = said(1)
    assert drawn[0] != drawn[1]
    assert said(1) == drawn
    assert said(2) != drawn


def test_an_action_expert_is_trained_beside_what_the_language_expert_was_taught(
    trained: tuple[Path, Numbers], annotated: Path, with_tokens: Prepared, tmp_path: Path
) -> None:
    alone = HierarchyConfig('action_expert', state_bins='guide')
    run = replace(run_on(annotated, tmp_path / 'run', alone), init=trained[0])
    later = prepare(run)
    assert later.subtasks == replace(with_tokens.subtasks, acts=True)
    assert later.action_tokens == with_tokens.action_tokens
    (subject,) = open_subjects([write_checkpoint(later, later.trained, 0)], open_episodes(annotated))
    assert subject.sentences.longest == with_tokens.subtasks.max_action_tokens
    with pytest.raises(TrainingError, match="prompt: found 'joint', expected 'subtask'"):
        prepare(replace(run, hierarchy=replace(alone, prompt='joint')))
    with pytest.raises(TrainingError, match="state-bins: found 'openpi', expected 'guide'"):
        prepare(replace(run, hierarchy=replace(alone, state_bins='openpi')))


def test_a_policy_without_subtasks_is_no_planner(short_checkpoint: Path, contract: Contract) -> None:
    policy = Policy.load(short_checkpoint, contract, 'push', use_compile_cache=False)
    with pytest.raises(PolicyError, match='not trained to generate subtasks'):
        _ = policy.planner


@pytest.fixture
def short_checkpoint(contract: Contract, tmp_path: Path) -> Path:
    from restac_ros.policy.init_checkpoint import init_checkpoint

    init_checkpoint('tiny_cnn_no_touch', contract, tmp_path / 'checkpoint')
    return tmp_path / 'checkpoint'


@pytest.mark.parametrize(
    ('hierarchy', 'message'),
    [
        (HierarchyConfig('planar', max_subtask_tokens=3), 'expected at most 3'),
        (HierarchyConfig('hierarchical', action_weight=0.0), 'action-weight: found 0.0'),
        (HierarchyConfig('planar', max_subtask_tokens=1), 'max-subtask-tokens: found 1'),
    ],
)
def test_what_cannot_be_taught_is_refused_before_weights_are_drawn(
    hierarchy: HierarchyConfig, message: str, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=message):
        prepare(run_on(data, tmp_path / 'run', hierarchy))


def test_data_without_subtasks_are_refused(touch_data: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match='found no subtask'):
        prepare(run_on(touch_data, tmp_path / 'run', HierarchyConfig('planar')))
    contradictory = replace(
        run_on(touch_data, tmp_path / 'run', HierarchyConfig('planar')), part='action_expert'
    )
    with pytest.raises(TrainingError, match="part: found 'action_expert'"):
        prepare(contradictory)


def test_texts_are_padded_to_lengths_that_hold_every_one(prepared: Prepared) -> None:
    lessons = prepared.sources[0].lessons
    longest = max(
        len(lessons.tokenizer.answer(text).tokens) for texts in STAGED_TASKS.values() for text in texts
    )
    assert lessons.lengths.answer >= longest
    assert lessons.lengths.answer % 8 == 0
    assert np.all([source.prompt_length == lessons.lengths.prompt for source in prepared.sources])


@pytest.mark.parametrize('way', ['bins', 'fast'])
def test_actions_are_learnt_as_tokens_beside_subtasks(
    way: str, annotated: Path, with_tokens: Prepared, trained: tuple[Path, Numbers], tmp_path: Path
) -> None:
    """Every chunk that is whole is a sentence that reads back as the actions of its frame."""
    made = with_tokens
    if way == 'bins':
        made = prepare(run_on(annotated, tmp_path / 'run', HierarchyConfig('planar', action_tokens='bins')))
    source = made.sources[0]
    tokens = source.lessons.tokens
    whole = 0
    for index in range(0, len(source), 13):
        batch = source[index]
        said = batch.codes.tokens[0][batch.codes.mask[0]]
        assert bool(len(said)) == bool(batch.step_mask.all())
        if len(said):
            read = tokens.sentences.actions(said, *batch.actions[0, :, :7].shape)
            limit = tokens.sentences.codec.limit
            off = np.abs(read - np.clip(batch.actions[0, :, :7], -limit, limit))
            assert off.max() < (1 / 127 if way == 'bins' else 0.05 * np.sqrt(2 * len(read)))
            whole += 1
    assert whole
    assert (made.subtasks.action_tokens, made.subtasks.max_action_tokens) == (way, tokens.sentences.longest)
    assert bool(made.action_tokens) == (way == 'fast')
    if way == 'fast':  # the same step; bins would be compiled for four times as many tokens
        assert trained[1].steps[2]['codes_loss'] > 0


def test_action_tokens_that_nobody_would_learn_are_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="action-tokens: found 'bins' in mode 'action_expert'"):
        prepare(run_on(data, tmp_path, HierarchyConfig('action_expert', action_tokens='bins')))
    with pytest.raises(TrainingError, match=r'action-tokens nowhere: .*processor_config\.json: no such file'):
        prepare(run_on(data, tmp_path, HierarchyConfig('planar', action_tokens='nowhere')))


def test_what_it_says_is_evaluated_and_what_it_does_by_it(
    trained: tuple[Path, Numbers], annotated: Path
) -> None:
    settings = EvaluationConfig(frames=4, batch_size=4, time_bins=1)
    report = evaluate([trained[0]], annotated, settings, lambda *_: None, numbers=(0, 1))
    (one,) = report.checkpoints
    assert one.parity.frames == 4  # questions and prompts for actions are those of the robot
    assert set(one.subtasks.by_subtask) == {'slide along the edge'}
    shares = (0.0, one.subtasks.right.value, one.subtasks.usable, one.subtasks.ended.value, 1.0)
    assert all(less <= more + 1e-9 for less, more in pairwise(shares))
    assert (one.subtasks.said_error is None) == (one.subtasks.usable == 0)
    assert one.tokens.kind == 'fast'
    assert (one.tokens.error is None) == (one.tokens.readable == 0)
    assert len(report.describe()) == 5
    assert 'no action by them' in report.describe()[1], 'it learnt texts alone'
    assert '<td class="left">fast' in evaluation_html(report)


def test_a_batch_is_told_what_one_frame_is_told(trained: tuple[Path, Numbers], annotated: Path) -> None:
    """The evaluation's loop on the device says what the robot's planner says, token by token."""
    episodes = open_episodes(annotated)
    (subject,) = open_subjects([trained[0]], episodes)
    policy, checkpoint = subject.open()
    network = EvaluatedNetwork(checkpoint)
    speaker = Speaker(subject, policy.inputs, network)
    samples = [episodes.sample(number, 4 * number, HORIZON) for number in range(3)]
    seen = stack([deployed_observation(policy.inputs, one, speaker.task(one)) for one in samples])
    said = speaker.subtasks(seen, samples)
    for sample, one in zip(samples, said, strict=True):
        asked = policy.planner.ask(sample.images, sample.state, sample.task, 0)
        assert (one.text, one.ended) == (asked.text, asked.ended)
    chunks = speaker.token_chunks(subject.sentences, network.prefix(seen), seen)
    assert chunks.shape == (3, HORIZON, 7)


def test_tokens_of_a_chunk_become_its_actions_and_others_none(
    trained: tuple[Path, Numbers], annotated: Path, with_tokens: Prepared
) -> None:
    """The second is cut off, the third is no chunk: the robot would hold."""
    (subject,) = open_subjects([trained[0]], open_episodes(annotated))
    sentences = subject.sentences
    actions = np.linspace(-0.5, 0.5, HORIZON * 7).reshape(HORIZON, 7)
    right = sentences.sentence(actions)
    end, longest = right[-1], sentences.longest
    rows = np.full((3, longest), end)
    rows[0, : len(right)] = right
    rows[1] = np.resize(right[:-1], longest)
    rows[2, : len(right) - 3] = right[3:]

    class Said:
        """Stands for the network."""

        def said(self, *_: object) -> np.ndarray:
            return rows

    observation = with_tokens.sources[0][0].observation
    chunks = Speaker(subject, subject.loader, Said()).token_chunks(sentences, None, observation)
    assert np.abs(chunks[0] - actions).max() < 0.05 * np.sqrt(2 * HORIZON)
    assert np.isnan(chunks[1:]).all()


def test_data_without_subtasks_are_refused_to_a_network_that_acts_by_them(
    trained: tuple[Path, Numbers], touch_data: Path
) -> None:
    with pytest.raises(TrainingError, match='found no subtask, expected some'):
        open_subjects([trained[0]], open_episodes(touch_data))
