"""What a run's settings and its data sets must agree on; known before weights are read."""

from collections.abc import Iterator, Sequence

from restac_ros.model.checkpoint.store import MANIFEST, CheckpointInfo
from restac_ros.model.config import ModelConfig
from restac_ros.policy.compatibility import check_fit, check_model, differences
from restac_ros.policy.flow_steps import USUAL_FLOW_STEPS
from restac_ros.training.config import TrainConfig
from restac_ros.training.data.episodes import Episodes
from restac_ros.training.distillation import Distillation
from restac_ros.training.errors import TrainingError

_NO_LIMIT = float('inf')
_AT_LEAST_ONE = (
    'steps',
    'batch_size',
    'accumulate',
    'fsdp',
    'log_every',
    'validate_every',
    'validation_batches',
    'save_every',
    'keep_every',
)


def check_settings(train: TrainConfig) -> None:
    """Refuse settings that contradict themselves.

    Raises:
        TrainingError: every one of them.
    """
    if faults := [
        *_sizes(train),
        *_ranges(train),
        *_schedule(train),
        *_mixture(train),
        *_hierarchy(train),
        *_distillation(train),
    ]:
        raise TrainingError('; '.join(faults))


def check_delay(train: TrainConfig, config: ModelConfig) -> None:
    """Refuse delays that would leave no step of a chunk to learn.

    Raises:
        TrainingError: the largest one is as long as a chunk.
    """
    if train.max_delay_steps >= config.action_horizon:
        raise TrainingError(
            f'max-delay-steps: found {train.max_delay_steps}, expected at most {config.action_horizon - 1}: '
            f'a chunk has {config.action_horizon} steps; give as many as the robot executes while it plans'
        )


def check_data(config: ModelConfig, opened: Sequence[Episodes]) -> None:
    """Refuse data sets that the network cannot be fed from, or that do not mean one thing.

    Raises:
        TrainingError: touch or cameras are missing, touch is of another size, or two data sets' numbers have
            other meanings.
        PolicyError: the contract's streams cannot feed the network.
    """
    for episodes in opened:
        check_model(config, episodes.contract, episodes.name)
        _check_images(config, episodes)
    check_one_meaning(opened)


def check_one_meaning(opened: Sequence[Episodes]) -> None:
    """Refuse to mix data sets whose contracts differ; columns may be called differently in each.

    Raises:
        TrainingError: the numbers of one mean something else than those of the first.
    """
    first = opened[0]
    for episodes in opened:
        found = differences(episodes.contract, first.contract)
        if lines := [str(one) for one in found if not one.field.startswith('streams')]:
            raise TrainingError(
                f'{episodes.name}: its contract does not mean the same as that of {first.name}: '
                f'{"; ".join(lines)}; convert the recordings of one of them anew, under the contract of the '
                'other'
            )


def check_teacher(teacher: CheckpointInfo, train: TrainConfig, opened: Sequence[Episodes]) -> None:
    """Refuse a checkpoint that cannot be distilled as asked, or that means other data.

    Raises:
        TrainingError: steps that cannot be the student's.
        PolicyError: the checkpoint does not fit a data set's contract.
    """
    distillation_of(teacher, train)
    for episodes in opened:
        check_fit(teacher, episodes.contract, str(train.init))


def distillation_of(teacher: CheckpointInfo, train: TrainConfig) -> Distillation:
    """Return how a run distils its teacher.

    Raises:
        TrainingError: the teacher's steps are no multiple of the student's, or no more than these; its
            arithmetic is another than that of what stays as it is.
    """
    steps, of_teacher = train.distil.steps, teacher.origin.flow_steps or USUAL_FLOW_STEPS
    if steps >= of_teacher or of_teacher % steps:
        fit = [str(count) for count in range(1, of_teacher) if of_teacher % count == 0]
        expected = f'one of {", ".join(fit)}' if fit else 'a checkpoint that takes more than one step'
        raise TrainingError(
            f'steps: found {steps}, expected {expected}: {train.init} is sampled in {of_teacher}'
        )
    if train.frozen_dtype != teacher.config.dtype:
        raise TrainingError(
            f'frozen-dtype: found {train.frozen_dtype!r}, expected {teacher.config.dtype!r}, as '
            f'{train.init} is: what is not distilled stays as it is'
        )
    return Distillation(steps, of_teacher, train.distil.noises)


def _distillation(train: TrainConfig) -> Iterator[str]:
    if train.distil.steps < 0 or train.distil.noises < 1:
        yield f'distil: found {train.distil}, expected 0 or more steps, and at least one noise'
    if not train.distil.steps:
        return
    if train.init is None or not (train.init / MANIFEST).is_file():
        yield f'distil: found no checkpoint of this package at {train.init}, expected the one to distil'
    asked = {
        'part': 'flow',
        'max_delay_steps': 0,
        'unit_align': None,
        'uncoded': False,
        'gate': None,
        'use_sparse_loss': False,
        'tokenizer': None,
    }
    for name, expected in asked.items():
        if (found := getattr(train, name)) != expected:
            named = name.replace('_', '-')
            yield f'{named}: found {found!r}, expected {expected!r} where a policy is distilled'
    if train.data.norm_stats is not None or train.data.min_range:
        yield "data.norm-stats, data.min-range: found some, expected none: the teacher's statistics count"
    if train.hierarchy.mode != 'off':
        yield f"hierarchy.mode: found {train.hierarchy.mode!r}, expected 'off' where a policy is distilled"


def _sizes(train: TrainConfig) -> Iterator[str]:
    for name in _AT_LEAST_ONE:
        if (found := getattr(train, name)) < 1:
            yield f'{name.replace("_", "-")}: found {found}, expected at least 1'
    if train.accumulate >= 1 and train.batch_size % train.accumulate:
        yield f'accumulate: found {train.accumulate}, expected a divisor of the batch size {train.batch_size}'
    if not 0 <= train.data.validation_share < 1:
        yield f'data.validation-share: found {train.data.validation_share}, expected 0 or more, below 1'
    if train.ema_decay is not None and not 0 < train.ema_decay < 1:
        yield f'ema-decay: found {train.ema_decay}, expected a number between 0 and 1, or None'
    if train.profile.step < 0 or train.profile.steps < 1:
        yield f'profile: found {train.profile}, expected a first step from 1, and a length of at least 1'


def _ranges(train: TrainConfig) -> Iterator[str]:
    optimizer, images, loader = train.optimizer, train.augmentation, train.loader
    of_optimizer = 'as published where it is left out'
    for name, found, fits, expected in (
        ('max-delay-steps', train.max_delay_steps, train.max_delay_steps >= 0, '0 or more; 0: none'),
        (
            'optimizer.peak',
            optimizer.peak,
            0 < optimizer.peak < _NO_LIMIT,
            f'above 0, finite; {of_optimizer}',
        ),
        (
            'optimizer.end',
            optimizer.end,
            0 <= optimizer.end < _NO_LIMIT,
            f'0 or more, finite; {of_optimizer}',
        ),
        ('optimizer.clip', optimizer.clip, optimizer.clip > 0, 'a number above 0; inf: no clipping'),
        ('loader.threads', loader.threads, loader.threads >= 0, '0 or more; 0: two per core'),
        ('loader.workers', loader.workers, loader.workers >= 0, '0 or more; 0: threads only'),
        ('augmentation.crop', images.crop, 0 < images.crop <= 1, 'above 0, at most 1; 1: no crop'),
        (
            'augmentation.rotation-deg',
            images.rotation_deg,
            0 <= images.rotation_deg <= 180,
            '0 to 180; 0: none',
        ),
        ('augmentation.brightness', images.brightness, 0 <= images.brightness <= 1, '0 to 1; 0: no change'),
        (
            'augmentation.contrast',
            images.contrast,
            0 <= images.contrast < 1,
            '0 or more, below 1; 0: no change',
        ),
        ('augmentation.probability', images.probability, 0 <= images.probability <= 1, '0 to 1'),
    ):
        if not fits:
            yield f'{name}: found {found}, expected {expected}'


def _schedule(train: TrainConfig) -> Iterator[str]:
    if train.steps < 1:
        return
    given = train.optimizer
    warmup, decay = given.scaled(train.steps)
    if not 0 <= warmup < decay:
        yield (
            f'optimizer.warmup-steps: found {given.warmup_steps} beside {given.decay_steps} decay-steps '
            f'({warmup} and {decay} in a run of {train.steps}), expected 0 or more, and fewer than these: '
            'warm up for fewer steps, or decay over more'
        )


def _mixture(train: TrainConfig) -> Iterator[str]:
    data = train.data
    if not data.datasets:
        yield 'data.datasets: found none, expected one or more LeRobot data sets'
    if data.weights and len(data.weights) != len(data.datasets):
        yield f'data.weights: found {len(data.weights)}, expected {len(data.datasets)}, one per data set'
    if not all(0 < weight < _NO_LIMIT for weight in data.weights):
        yield f'data.weights: found {data.weights}, expected numbers above 0, all finite'
    if data.episodes and len(data.datasets) > 1:
        yield f'data.episodes: found {len(data.datasets)} data sets, expected one when episodes are listed'
    if data.norm_stats is not None and data.min_range:
        yield (
            f'data.min-range: found {data.min_range} beside data.norm-stats, expected one of the two: give '
            'it to `restac-ros norm-stats`, which writes the file'
        )
    if data.norm_stats is not None and not data.norm_stats.is_file():
        yield (
            f'data.norm-stats: found no file {data.norm_stats}, expected statistics of `restac-ros '
            'norm-stats`; '
            'leave the option out to measure them at the start'
        )


def _hierarchy(train: TrainConfig) -> Iterator[str]:
    hierarchy = train.hierarchy
    if hierarchy.mode != 'off' and train.part != 'all':
        yield (
            f"part: found {train.part!r}, expected 'all': hierarchy.mode = {hierarchy.mode!r} says itself "
            'what is trained'
        )
    if hierarchy.mode == 'off' and train.part == 'language':
        yield "part: found 'language', expected 'all' or 'action_expert': set hierarchy.mode to train texts"
    if not 0 < hierarchy.action_weight < float('inf'):
        yield f'hierarchy.action-weight: found {hierarchy.action_weight}, expected a finite number above 0'
    if hierarchy.action_tokens and hierarchy.mode not in ('hierarchical', 'planar'):
        yield (
            f'hierarchy.action-tokens: found {hierarchy.action_tokens!r} in mode {hierarchy.mode!r}, '
            "expected '': the language expert, which learns them, trains in 'hierarchical' and 'planar'"
        )
    if not 0 <= hierarchy.label_smoothing < 1:
        yield f'hierarchy.label-smoothing: found {hierarchy.label_smoothing}, expected 0 or more, below 1'
    if hierarchy.mode == 'off' and hierarchy.state_bins != 'openpi':
        yield (
            f"hierarchy.state-bins: found {hierarchy.state_bins!r} in mode 'off', expected 'openpi': only a "
            'network that is taught subtasks declares its rule'
        )
    if hierarchy.label_smoothing and not hierarchy.action_tokens:
        yield (
            f'hierarchy.label-smoothing: found {hierarchy.label_smoothing} without hierarchy.action-tokens, '
            'expected 0: it is of their loss alone'
        )
    if hierarchy.max_subtask_tokens < 2:
        yield f'hierarchy.max-subtask-tokens: found {hierarchy.max_subtask_tokens}, expected at least 2'


def _check_images(config: ModelConfig, episodes: Episodes) -> None:
    if config.uses_touch and episodes.tactile is None:
        columns = [stream.feature for stream in episodes.contract.by_role('tactile').values()]
        raise TrainingError(
            f'{episodes.name}: found no tactile images, expected a column {", ".join(columns)}: fusion = '
            f'{config.fusion!r} reads touch; train pi05 instead, or record with a tactile stream'
        )
    if config.uses_touch:
        _check_touch_size(config, episodes, str(episodes.tactile))
    cameras = episodes.contract.by_role('camera').items()
    absent = [stream for name, stream in cameras if name not in episodes.cameras]
    missing = ', '.join(f'{stream.slot} ({stream.feature})' for stream in absent)
    if config.uses_touch and absent:
        raise TrainingError(
            f'{episodes.name}: found no images for {missing}, expected all: the tactile prior '
            'reads every camera; record them, or train without touch'
        )
    if any(stream.required for stream in absent):
        raise TrainingError(
            f'{episodes.name}: found no images for {missing}, expected all that its contract requires: '
            'the robot would show the policy what it never saw in training. Record them, correct `feature` '
            'in the contract, or, where the robot has no such camera, take its stream out of the contract'
        )


def _check_touch_size(config: ModelConfig, episodes: Episodes, column: str) -> None:
    """Refuse tactile images that are stored at another size, as far as the data set states it."""
    stated = episodes.tables.info['features'][column].get('shape')
    shape = tuple(stated) if isinstance(stated, list) else ()
    found = shape[1:] if shape[:1] in ((1,), (3,)) else shape[:2]  # channels first, as some write it, or last
    expected = config.tactile_shape[:2]
    if found and found != expected:
        raise TrainingError(
            f'{episodes.name}: {column}: found images of {found} px in meta/info.json, expected {expected}: '
            'convert the recordings anew, which stores tactile images at that size, or train without touch'
        )
