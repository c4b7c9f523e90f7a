"""What a training run is: frozen dataclasses, named configurations, every field on the command line."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from restac_ros.model.config import Dtype, GateKind
from restac_ros.policy.prompts import StateBins

Part = Literal['all', 'action_expert', 'language', 'flow']
"""'all': what the model's configuration leaves trainable; of that, 'action_expert': what acts, 'language':
what speaks, 'flow': of what acts, what turns noise into actions, touch aside."""

HierarchyMode = Literal['off', 'hierarchical', 'planar', 'action_expert']

BINS_AS_TOKENS = 'bins'
"""Action tokens of 256 bins a value, in place of a FAST tokenizer's directory."""

SubtaskPrompt = Literal['subtask', 'joint']
"""What actions are asked for with: the subtask alone, or the task and the subtask."""

LeastVerdict = Literal['any', 'usable', 'good']
"""Of the quality report: 'any' needs none, 'usable' leaves bad episodes out, 'good' all that are not good."""

PUBLISHED_STEPS = 30_000


@dataclass(frozen=True)
class OptimizerConfig:
    """Values as published.

    Attributes:
        peak: learning rate after the warm-up.
        end: learning rate from `decay_steps` on.
        warmup_steps: over which the learning rate rises; a run shorter than `decay_steps` scales it.
        decay_steps: over which it falls; a shorter run scales it.
        b1: AdamW's decay of the mean gradient.
        b2: AdamW's decay of the mean squared gradient.
        eps: AdamW's addend to the denominator.
        weight_decay: AdamW's.
        clip: largest global norm of a gradient.
    """

    peak: float = 2.5e-5
    end: float = 2.5e-6
    warmup_steps: int = 1_000
    decay_steps: int = PUBLISHED_STEPS
    b1: float = 0.9
    b2: float = 0.95
    eps: float = 1e-8
    weight_decay: float = 1e-10
    clip: float = 1.0

    def scaled(self, steps: int) -> tuple[int, int]:
        """Warm-up and decay steps of a run of `steps`."""
        if steps >= self.decay_steps:
            return self.warmup_steps, self.decay_steps
        share = steps / self.decay_steps
        return max(1, round(self.warmup_steps * share)), max(2, steps)

    def describe(self, steps: int) -> str:
        """Return one line, which states whether the schedule was shortened."""
        warmup, decay = self.scaled(steps)
        shortened = ' (shortened with the run)' if steps < self.decay_steps else ''
        rates = f'{self.peak:g} after {warmup} steps, {self.end:g} after {decay}{shortened}'
        return f'AdamW, {rates}, clip {self.clip:g}'


@dataclass(frozen=True)
class AugmentationConfig:
    """How images of a training batch are changed.

    Attributes:
        enabled: False leaves images as they are.
        crop: share of width and height that is kept, of all views but those on the wrist.
        rotation_deg: largest rotation of these.
        brightness: largest relative change.
        contrast: largest relative change.
        probability: that brightness and contrast of an image are changed.
    """

    enabled: bool = True
    crop: float = 0.95
    rotation_deg: float = 5.0
    brightness: float = 0.3
    contrast: float = 0.4
    probability: float = 0.5


@dataclass(frozen=True)
class DataConfig:
    """What is trained on.

    Attributes:
        datasets: LeRobot data sets.
        weights: share of each in the samples, in their order; empty: by their number of frames.
        contract: names the columns of data sets that are not this package's; None: each brings its own.
        norm_stats: statistics file of `restac-ros norm-stats`; None: measured at the start.
        min_range: by dimension (ee_x ... gripper), the range (m, rad) to which a narrower one is widened:
            --data.min-range gripper 0.01.
        validation_share: of the episodes, held out by a hash of each.
        episodes: episode numbers to train on; empty: all. One data set only.
        verdict: least verdict of the quality report (`restac-ros quality`) that an episode is taken with.
        skip_idle: leave out frames whose whole chunk moves less than 1 mm, 0.01 rad and 1 mm of opening.
    """

    datasets: tuple[Path, ...] = ()
    weights: tuple[float, ...] = ()
    contract: Path | None = None
    norm_stats: Path | None = None
    min_range: dict[str, float] = field(default_factory=dict)
    validation_share: float = 0.1
    episodes: tuple[int, ...] = ()
    verdict: LeastVerdict = 'any'
    skip_idle: bool = False


@dataclass(frozen=True)
class LoaderConfig:
    """How samples are loaded.

    Attributes:
        threads: reading threads of this process; 0: two per core that it may use, at most 32.
        workers: reading processes; 0: threads only, right up to some eight cores.
        prefetch: batches ready ahead, at least: there are as many as threads, each of which makes one.
        cache: directory for decoded images, 150 kB a frame and camera; None: decode at every read.
    """

    threads: int = 0
    workers: int = 0
    prefetch: int = 2
    cache: Path | None = None


@dataclass(frozen=True)
class DistributedConfig:
    """Processes on several hosts that train together; under Slurm's `srun` nothing needs to be given.

    Attributes:
        coordinator: HOST:PORT of process 0, which all others reach.
        processes: how many there are.
        process: number of this one, from 0.
    """

    coordinator: str | None = None
    processes: int | None = None
    process: int | None = None


@dataclass(frozen=True)
class ProfileConfig:
    """A window of steps whose device operations are written to RUN/profile, for TensorBoard or Perfetto.

    Attributes:
        step: first step of the window; 0: none.
        steps: length of the window.
    """

    step: int = 0
    steps: int = 3


@dataclass(frozen=True)
class HierarchyConfig:
    """Training by subtasks, of data sets that state them (pi0.5, arXiv 2504.16054).

    Attributes:
        mode: 'off': actions from the task alone. 'hierarchical': the language expert learns to say the next
            subtask, the action expert to do it, and nothing of its loss reaches the language expert.
            'planar': the language expert alone. 'action_expert': the action expert alone.
        prompt: what actions are asked for with.
        action_weight: of the flow loss, beside the texts' (alpha).
        max_subtask_tokens: most tokens of a subtask, the end included.
        state_bins: rule by which the state in prompts becomes whole numbers; the checkpoint declares it.
        action_tokens: 'bins', or the directory of a FAST tokenizer (`restac-ros fit-fast`): the language
            expert learns actions as tokens, too, which the action expert does not read; '': not.
        label_smoothing: of the action tokens' cross-entropy: share of the target that other tokens have.
    """

    mode: HierarchyMode = 'off'
    prompt: SubtaskPrompt = 'subtask'
    action_weight: float = 10.0
    max_subtask_tokens: int = 64
    state_bins: StateBins = 'openpi'
    action_tokens: str = ''
    label_smoothing: float = 0.0


@dataclass(frozen=True)
class DistilConfig:
    """Training to be sampled in fewer Euler steps, as `restac-ros distil` sets it up.

    Attributes:
        steps: of a chunk; 0: the flow itself is learnt, from the data's actions.
        noises: that are drawn for each sample, on one prefix.
    """

    steps: int = 0
    noises: int = 4


@dataclass(frozen=True)
class TrainConfig:
    """A run.

    Attributes:
        preset: model configuration, a name of `restac-ros init-checkpoint --preset`; with `distil` that of
            `init` counts.
        distil: towards the checkpoint at `init`, in fewer steps.
        init: weights to start from: a checkpoint of this package, openpi's params, or LeRobot's files; None:
            random.
        unit_align: tactile encoder, in place of the one in `init`: directory of `train-tactile`, a policy
            that has one, or a Lightning checkpoint.
        uncoded: the encoder's event vector enters the policy as it is, not the nearest code: an ablation.
        gate: in place of the preset's; 'off' is the ablation in which touch always enters.
        tokenizer: SentencePiece model; None: that of `init`, else PaliGemma's from the cache; with random
            weights a small built-in one.
        to: directory of the run: state, metrics, pictures, the deployable checkpoint.
        steps: of the whole run.
        batch_size: samples a step, over all devices.
        accumulate: micro-batches per step, weighted by their valid elements.
        part: which of the leaves that the configuration leaves trainable; a mode of `hierarchy` says it
            itself.
        frozen_dtype: of leaves that are not trained.
        ema_decay: of the exponential moving average that is deployed; None: none, as with LoRA.
        max_delay_steps: training-time real-time chunking; 0: off.
        use_sparse_loss: a price on open gates.
        seed: of samples, noise, augmentation and new weights.
        fsdp: devices over which parameters are sharded; the batch goes over all.
        log_every: steps between lines of numbers.
        validate_every: steps between validations.
        save_every: steps between saved states; the last two stay.
        keep_every: steps between states that stay for good.
        validation_batches: held-out batches that are read at every validation.
        wandb: project of Weights & Biases that numbers are sent to as well; None: TensorBoard's files alone.
        allow_changes: resume a run although its data, batch size or other settings were changed.
    """

    preset: str
    data: DataConfig = DataConfig()
    loader: LoaderConfig = LoaderConfig()
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    hierarchy: HierarchyConfig = HierarchyConfig()
    distil: DistilConfig = DistilConfig()
    init: Path | None = None
    unit_align: Path | None = None
    uncoded: bool = False
    gate: GateKind | None = None
    tokenizer: Path | None = None
    to: Path = Path('runs/train')
    steps: int = 50_000
    batch_size: int = 32
    accumulate: int = 1
    part: Part = 'all'
    frozen_dtype: Dtype = 'bfloat16'
    ema_decay: float | None = 0.99
    max_delay_steps: int = 0
    use_sparse_loss: bool = False
    seed: int = 42
    fsdp: int = 1
    log_every: int = 20
    validate_every: int = 500
    validation_batches: int = 8
    save_every: int = 1_000
    keep_every: int = 5_000
    profile: ProfileConfig = ProfileConfig()
    distributed: DistributedConfig = DistributedConfig()
    wandb: str | None = None
    allow_changes: bool = False


def _tiny(preset: str) -> TrainConfig:
    """For two cores: small batch, high learning rate from random weights, float32, images as they are."""
    steps = 800
    return TrainConfig(
        preset=preset,
        steps=steps,
        batch_size=16,
        frozen_dtype='float32',
        ema_decay=0.98,
        optimizer=OptimizerConfig(peak=2e-3, end=1e-4, warmup_steps=50, decay_steps=steps),
        augmentation=AugmentationConfig(enabled=False),
        validate_every=200,
        save_every=200,
    )


def _cell(preset: str) -> TrainConfig:
    """For the simulated cell: longer, and what hardly moves there widened."""
    base, steps = _tiny(preset), 2_000
    still = {'ee_rot_x': 0.1, 'ee_rot_y': 0.1, 'ee_rot_z': 0.1, 'gripper': 0.01}
    return replace(
        base,
        steps=steps,
        ema_decay=0.99,
        optimizer=replace(base.optimizer, decay_steps=steps),
        data=DataConfig(min_range=still),
    )


def _by_subtasks(base: TrainConfig, mode: HierarchyMode) -> TrainConfig:
    return replace(base, hierarchy=HierarchyConfig(mode))


CONFIGS: dict[str, TrainConfig] = {
    'pi05': TrainConfig('pi05', steps=30_000),
    'pi05_lora': TrainConfig('pi05_lora', steps=30_000, ema_decay=None),
    'pi05_restac': TrainConfig('pi05_restac'),
    'pi05_restac_lora': TrainConfig('pi05_restac_lora', ema_decay=None),
    'pi05_restac_token_in_ae': TrainConfig('pi05_restac_token_in_ae'),
    'pi05_restac_token_in_ae_lora': TrainConfig('pi05_restac_token_in_ae_lora', ema_decay=None),
    'pi05_hierarchical': _by_subtasks(TrainConfig('pi05', steps=30_000), 'hierarchical'),
    'pi05_planar': _by_subtasks(TrainConfig('pi05', steps=30_000), 'planar'),
    'pi05_action_expert': _by_subtasks(TrainConfig('pi05', steps=30_000), 'action_expert'),
    'pi05_restac_hierarchical': _by_subtasks(TrainConfig('pi05_restac'), 'hierarchical'),
    'tiny': _tiny('tiny_cnn'),
    'tiny_forcevla': _tiny('tiny_cnn_forcevla'),
    'tiny_no_touch': _tiny('tiny_cnn_no_touch'),
    'cell': _cell('cell'),
    'cell_forcevla': _cell('cell_forcevla'),
    'cell_no_touch': _cell('cell_no_touch'),
    'tiny_hierarchical': _by_subtasks(_tiny('tiny_cnn'), 'hierarchical'),
    'tiny_planar': _by_subtasks(_tiny('tiny_cnn_no_touch'), 'planar'),
}
"""The published runs, the control arm without touch, training by subtasks, and small ones for a laptop."""
