"""The sections of a config: every fixed key with its type, default and unit.

Sections of swappable parts (`model`, `loss`, `metric`, `augment`, `data.train`, ...) are mappings with `_target_`; the
constructor that `_target_` names is their schema, and `check.py` holds the keys against it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

MISSING = "???"
CACHES = ("none", "ram")
OPTIMISERS = ("adamw", "sgd")
SCHEDULES = ("cosine", "constant")
TargetMapping = dict[str, Any]


@dataclass
class RunSection:
    """Which run this is and where it lies."""

    name: str = MISSING
    dir: str | None = None  # the run's folder; null: runs/<name>-<date>-<time>
    seed: int = 0


@dataclass
class DataSection:
    """The data sets and how batches are made of them."""

    root: str | None = MISSING  # folder of the data set; null: generated data
    hint: str | None = None  # how to get the data, said when root is missing
    num_classes: int = MISSING  # type: ignore[assignment]
    labels: list[str] | None = None  # class names, for data sets that do not state them
    train: TargetMapping = field(default_factory=dict)
    val: TargetMapping = field(default_factory=dict)
    test: TargetMapping | None = None
    batch_size: int = 16
    eval_batch_size: int = 16
    num_workers: int | None = None  # null: chosen from the processor count
    cache: str = "ram"  # none | ram: keep decoded images (bounded by cache_limit_mb)
    cache_limit_mb: int = 2048


@dataclass
class PreprocessSection:
    """`cvforge_edge.preprocess.PreprocessSpec`: what an image becomes before the network."""

    size_hw: list[int] = field(default_factory=lambda: [320, 320])
    resize: str = "letterbox"
    pad_value: int = 114
    color_order: str = "rgb"
    interpolation: str = "linear"


@dataclass
class PostprocessSection:
    """`cvforge_edge.postprocess.PostprocessSpec`: what raw outputs become on the device."""

    kind: str = MISSING  # detection_nms | detection_nms_free | classification_probs | segmentation_logits
    score_threshold: float = 0.3  # detection only, like the two below
    iou_threshold: float = 0.6
    max_detections: int = 300


@dataclass
class EvaluationSection:
    """Detection thresholds while scoring: mean average precision wants nearly all candidates."""

    score_threshold: float = 0.001
    iou_threshold: float = 0.6
    max_detections: int = 100


@dataclass
class OptimSection:
    """Optimiser, its schedule, and the moving average of the weights."""

    name: str = "adamw"  # adamw | sgd
    lr: float = 1e-3  # peak learning rate
    weight_decay: float = 0.05  # not applied to biases and normalisation
    momentum: float = 0.9  # sgd; beta1 of adamw
    backbone_lr_factor: float = 1.0  # learning rate of `net.backbone` as a fraction of lr
    warmup_epochs: float = 1.0  # linear from 0
    schedule: str = "cosine"  # cosine | constant
    min_lr_factor: float = 0.01  # where the cosine ends, as a fraction of lr
    ema_decay: float | None = 0.999  # moving average of the weights, used to validate and export; null: off


@dataclass
class TrainerSection:
    """How training runs. `cvforge.tasks.trainer` makes a `pytorch_lightning.Trainer` of it."""

    max_epochs: int = 10
    max_steps: int = -1  # -1: no limit
    accelerator: str = "auto"
    devices: int | str = "auto"
    strategy: str = "auto"
    precision: str = "auto"  # auto: bf16-mixed where the processor or GPU computes it natively, else 32-true
    threads: int | None = None  # torch threads on CPU; null: all physical cores
    gradient_clip_norm: float | None = 10.0
    accumulate_batches: int = 1
    validate_every_n_epochs: int = 1
    early_stopping_patience: int | None = None  # validations without a better score; null: off
    limit_train_batches: int | None = None
    limit_val_batches: int | None = None
    log_every_n_steps: int = 10
    progress: bool = True
    deterministic: bool = True


@dataclass
class LoggingSection:
    """Trackers beside CSV and TensorBoard, which are always on."""

    mlflow: bool = False
    mlflow_uri: str | None = None  # null: sqlite file beside the runs
    wandb: bool = False
    wandb_project: str = "cvforge"
    wandb_mode: str = "offline"  # offline | online


@dataclass
class ExportSection:
    """What `tools/export.py` makes and how much it may lose."""

    formats: list[str] = field(default_factory=lambda: ["onnx", "tflite"])
    precisions: list[str] = field(default_factory=lambda: ["fp32", "fp16"])
    metric_budget: dict[str, float] = field(default_factory=lambda: {"fp32": 0.001, "fp16": 0.002, "int8": 0.01})
    tensor_tolerance: dict[str, float] = field(  # noise of an output, see cvforge/export/parity.py
        default_factory=lambda: {"fp32": 1e-3, "fp16": 2e-2, "int8": 0.15}
    )
    tensor_peak: dict[str, float] = field(  # worst value of an output, of its range
        default_factory=lambda: {"fp32": 5e-3, "fp16": 0.1, "int8": 0.4}
    )
    calibration_images: int = 128  # int8: training images, all classes about equally often
    max_float_layers: int = 12  # int8: how many layers may go back to float while the budget is missed
    golden_images: int = 4
    measure: bool = True  # time, memory and start of each file on this machine, for the report beside the bundle
    batch: bool = False  # onnx: also files that take any number of images at once, for servers
    embedding: bool = True  # also give where an image lies in the network's own features, for statistics of drift
    intended_use: str | None = None  # for what, by whom and where: goes into the model card


@dataclass
class Config:
    """One runnable experiment."""

    task: str = MISSING  # classification | detection | segmentation
    run: RunSection = field(default_factory=RunSection)
    data: DataSection = field(default_factory=DataSection)
    preprocess: PreprocessSection = field(default_factory=PreprocessSection)
    postprocess: PostprocessSection = field(default_factory=PostprocessSection)
    evaluation: EvaluationSection = field(default_factory=EvaluationSection)
    model: TargetMapping = field(default_factory=dict)
    loss: TargetMapping | None = None  # null only for nets that compute their own losses
    metric: TargetMapping = field(default_factory=dict)
    augment: TargetMapping | None = None  # null: no augmentation
    optim: OptimSection = field(default_factory=OptimSection)
    trainer: TrainerSection = field(default_factory=TrainerSection)
    callbacks: dict[str, TargetMapping] = field(default_factory=dict)
    logging: LoggingSection = field(default_factory=LoggingSection)
    export: ExportSection = field(default_factory=ExportSection)
