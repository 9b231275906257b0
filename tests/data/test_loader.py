"""Order of epochs, caching, batches and the data module."""

from __future__ import annotations

import pickle
from collections import Counter

import numpy as np
import pytest
import torch

from cvforge.data.augment import DetectionAugment
from cvforge.data.batching import make_batch
from cvforge.data.cache import ArrayCache, CachedDataset
from cvforge.data.folder import ClassFolders
from cvforge.data.module import VisionDataModule
from cvforge.data.sampling import EpochPlan, share_of, stable_seed
from cvforge.data.synthetic import ShapesClassification, ShapesDetection, ShapesSegmentation
from cvforge.data.types import Sample
from cvforge.errors import CheckpointError, DataError
from cvforge_edge.errors import ImageError
from cvforge_edge.preprocess import PreprocessSpec
from cvforge_edge.types import ClassLabel, Detections, SegmentationMap

SMALL = PreprocessSpec((64, 64))


def module(count: int = 10, **options) -> VisionDataModule:
    sets = [ShapesDetection(count, (64, 80), seed=1), ShapesDetection(5, (64, 80), seed=2)]
    defaults = {"preprocess": SMALL, "augment": DetectionAugment((64, 64)), "batch_size": 4, "num_workers": 0}
    return VisionDataModule(*sets, **{**defaults, **options})


def images_of(loader) -> list[np.ndarray]:
    return [batch.images.numpy() for batch in loader]


def test_an_epoch_shows_every_image_in_full_batches_and_another_epoch_another_order():
    plan = EpochPlan(10, 4, seed=3)
    epochs = [[draw for batch in plan.batches_of(epoch) for draw in batch] for epoch in (0, 0, 1)]
    assert [len(batch) for batch in plan.batches_of(0)] == [4, 4, 4]
    assert sorted(Counter(draw.index for draw in epochs[0]).values()) == [1] * 8 + [2] * 2
    assert len({draw.seed for draw in epochs[0]}) == 12
    assert epochs[0] == epochs[1]
    assert [d.index for d in epochs[0]] != [d.index for d in epochs[2]]
    assert not {d.seed for d in epochs[0]} & {d.seed for d in epochs[2]}


def test_a_set_smaller_than_a_batch_fills_it_with_different_views():
    (batch,) = EpochPlan(3, 8, seed=0).batches_of(0)
    assert len(batch) == 8
    assert len({draw.seed for draw in batch}) == 8


def test_processes_share_an_epoch_without_overlap_in_the_same_number_of_steps():
    plan = EpochPlan(16, 4, seed=3, world_size=2)
    shares = [[draw.index for batch in plan.batches_of(2, rank=rank) for draw in batch] for rank in (0, 1)]
    assert [len(share) for share in shares] == [8, 8]
    assert sorted(shares[0] + shares[1]) == list(range(16))


def test_an_augmentation_seed_does_not_depend_on_the_number_of_processes():
    def seeds(world_size: int) -> dict[int, int]:
        plan = EpochPlan(16, 4, seed=3, world_size=world_size)
        draws = [d for rank in range(world_size) for batch in plan.batches_of(1, rank=rank) for d in batch]
        return {draw.index: draw.seed for draw in draws}

    assert seeds(1) == seeds(2) == seeds(4)


def test_stable_seeds_are_the_same_on_every_machine():
    assert stable_seed(0, 0, 0, 0) == 5809880761037817570
    assert stable_seed(1, 2, 3, 0) != stable_seed(1, 3, 2, 0)


def test_evaluation_shares_cover_everything_and_are_equally_long():
    shares = [share_of(7, rank=rank, world_size=3) for rank in range(3)]
    assert [len(share) for share in shares] == [3, 3, 3]
    assert sorted(Counter(shares[0] + shares[1] + shares[2])) == list(range(7))


def test_the_number_of_workers_changes_no_batch():
    alone, many = module(), module(num_workers=2, cache="none")
    for epoch in (0, 1):
        first, second = alone.train_dataloader(), many.train_dataloader()
        first.sampler.set_epoch(epoch)
        second.sampler.set_epoch(epoch)
        expected, found = images_of(first), images_of(second)
        assert len(expected) == len(found) == 3
        assert all(np.array_equal(a, b) for a, b in zip(expected, found, strict=True))
    many.teardown("fit")


def test_iterating_leaves_the_random_state_of_torch_alone():
    loader = module().train_dataloader()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    list(loader)
    assert torch.equal(before, torch.get_rng_state())


def test_a_place_in_an_epoch_is_only_found_again_with_the_same_batches():
    loader = module().train_dataloader()
    iterator = iter(loader)
    next(iterator)
    state = loader.state_dict()
    assert state["batches"] == 1
    with pytest.raises(CheckpointError, match="after batch 1 of epoch 0.*resume with the same values"):
        module(batch_size=2).train_dataloader().load_state_dict(state)
    module(batch_size=2).train_dataloader().load_state_dict(state | {"batches": 3})  # at the end of an epoch


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_reaches_the_main_process_without_a_worker_traceback(tmp_path, image_writer, workers):
    for name in ("train/a/1.jpg", "train/b/2.jpg"):
        image_writer(tmp_path / name)
    broken = tmp_path / "train" / "b" / "2.jpg"
    broken.write_bytes(broken.read_bytes()[:200])
    dataset = ClassFolders(tmp_path, "train")
    data = VisionDataModule(dataset, dataset, preprocess=SMALL, num_workers=workers)
    for loader in (data.train_dataloader(), data.val_dataloader()):
        with pytest.raises(ImageError, match=r"2\.jpg") as caught:
            list(loader)
        assert "Traceback" not in str(caught.value)
    data.teardown("fit")


def test_training_targets_lie_in_the_frame_of_the_input_and_leave_crowds_out():
    truth = Detections(
        boxes_xyxy=np.array([[10, 20, 50, 60], [0, 0, 80, 40], [3, 3, 3.4, 30]], np.float32),
        scores=np.ones(3, np.float32),
        class_ids=np.array([2, 1, 0], np.int64),
        is_crowd=np.array([False, True, False]),
    )
    samples = [
        Sample(np.zeros((80, 80, 3), np.uint8), truth, "a"),
        Sample(np.zeros((40, 80, 3), np.uint8), Detections.empty(), "b"),
    ]
    batch = make_batch(samples, preprocess=PreprocessSpec((40, 40)), evaluating=False)
    assert batch.images.shape == (2, 40, 40, 3)
    assert batch.targets.boxes_input_xyxy.tolist() == [[[5, 10, 25, 30]], [[0, 0, 0, 0]]]
    assert batch.targets.class_ids.tolist() == [[2], [-1]]
    assert batch.items == []


def test_a_batch_without_any_box_has_targets_of_length_zero():
    sample = Sample(np.zeros((40, 40, 3), np.uint8), Detections.empty(), "a")
    batch = make_batch([sample, sample], preprocess=PreprocessSpec((40, 40)), evaluating=False)
    assert batch.targets.boxes_input_xyxy.shape == (2, 0, 4)


def test_class_maps_are_void_in_the_border_of_a_letterbox():
    sample = Sample(np.zeros((20, 40, 3), np.uint8), SegmentationMap(np.full((20, 40), 3, np.uint8)), "a")
    batch = make_batch([sample], preprocess=PreprocessSpec((40, 40)), evaluating=True)
    assert batch.targets.dtype == torch.int64
    assert batch.targets[0, 10:30].unique().tolist() == [3]
    assert batch.targets[0, :10].unique().tolist() == [255]
    assert batch.items[0].geometry.original_hw == (20, 40)


def test_classes_become_one_tensor():
    samples = [Sample(np.zeros((9, 9, 3), np.uint8), ClassLabel(number), "a") for number in (4, 0)]
    assert make_batch(samples, preprocess=PreprocessSpec((8, 8)), evaluating=False).targets.tolist() == [4, 0]


def test_evaluation_gives_every_image_once_in_order_with_its_truth():
    data = module(eval_batch_size=2)
    batches = list(data.val_dataloader())
    assert [len(batch.images) for batch in batches] == [2, 2, 1]
    items = [item for batch in batches for item in batch.items]
    assert [item.image_id for item in items] == [data.val_set.image_id(i) for i in range(5)]
    assert np.array_equal(items[4].truth.boxes_xyxy, data.val_set.truth(4).boxes_xyxy)


def test_cached_samples_equal_decoded_ones_and_are_read_once():
    dataset = Counting(ShapesSegmentation(3, (32, 40), seed=1))
    cached = CachedDataset(dataset, limit_bytes=10**6)
    for _ in range(2):
        for index in range(3):
            sample, expected = cached[index], dataset.dataset[index]
            assert np.array_equal(sample.image_bgr, expected.image_bgr)
            assert np.array_equal(sample.truth.class_map, expected.truth.class_map)
            assert sample.image_id == expected.image_id
    assert dataset.read == [0, 1, 2]
    with pytest.raises(ValueError, match="read-only"):
        cached[0].image_bgr[0] = 0


def test_a_full_cache_keeps_what_it_has_and_decodes_the_rest():
    dataset = Counting(ShapesClassification(3, (32, 32), seed=1))
    cached = CachedDataset(dataset, limit_bytes=2 * 32 * 32 * 3 + 10)
    for _ in range(2):
        images = [cached[index].image_bgr for index in range(3)]
    assert dataset.read == [0, 1, 2, 2]
    assert np.array_equal(images[2], dataset.dataset[2].image_bgr)


def test_forked_workers_fill_one_cache_together():
    if torch.multiprocessing.get_start_method() != "fork":
        pytest.skip("workers are forked on Linux only")
    data = module(count=8, num_workers=2)
    loader = data.train_dataloader()
    list(loader)
    cache = loader.view.dataset.cache
    assert all(cache.get(2 * index) is not None for index in range(8))
    data.teardown("fit")


def test_a_pickled_cache_arrives_empty_but_usable():
    cache = ArrayCache(2, 1000)
    cache.put(0, np.ones((3, 4), np.uint8))
    copy = pickle.loads(pickle.dumps(cache))
    assert copy.get(0) is None
    copy.put(1, np.full((2, 2, 3), 7, np.uint8))
    assert copy.get(1).tolist() == np.full((2, 2, 3), 7).tolist()


class Counting:
    """A data set that remembers what was read from it."""

    def __init__(self, dataset) -> None:
        self.dataset = dataset
        self.task, self.labels = dataset.task, dataset.labels
        self.read: list[int] = []

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int):
        self.read.append(index)
        return self.dataset[index]

    def image_id(self, index: int) -> str:
        return self.dataset.image_id(index)

    def truth(self, index: int):
        return self.dataset.truth(index)


def test_splits_of_other_labels_or_tasks_are_refused(tmp_path, image_writer):
    for name in ("train/a/1.jpg", "train/b/1.jpg", "val/a/2.jpg", "val/c/2.jpg"):
        image_writer(tmp_path / name)
    train, val = ClassFolders(tmp_path, "train"), ClassFolders(tmp_path, "val")
    with pytest.raises(DataError, match="data.val: lacks labels of data.train: b; has labels.* has not: c"):
        VisionDataModule(train, val, preprocess=SMALL)
    with pytest.raises(DataError, match="data.val: is for detection, data.train for classification"):
        VisionDataModule(train, ShapesDetection(2), preprocess=SMALL)
    swapped = ClassFolders(tmp_path, "train", labels=["b", "a"])
    with pytest.raises(DataError, match="another order: b, a; expected a, b"):
        VisionDataModule(train, swapped, preprocess=SMALL)


def test_fingerprints_are_given_for_every_split():
    data = VisionDataModule(*(ShapesDetection(4, seed=seed) for seed in range(3)), preprocess=SMALL)
    prints = data.fingerprints()
    assert list(prints) == ["train", "val", "test"]
    assert len(set(prints.values())) == 3
    assert list(module().fingerprints()) == ["train", "val"]


def test_a_missing_test_set_is_said():
    with pytest.raises(DataError, match="names no test set"):
        module().test_dataloader()
