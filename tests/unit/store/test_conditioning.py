"""Conditioning by rows: as it was written, in its own precision, and no more of it read than asked for."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from advantageflow.errors import DataError, StoreError
from advantageflow.policy.conditioning import Conditioning
from advantageflow.records import CONDITIONING_FILE, Prompt
from advantageflow.store.conditioning import open_conditioning, write_conditioning
from advantageflow.store.files import read_metadata
from advantageflow.store.tensor_rows import TensorRows, write_rows

STORE = "s3://bucket/store"


def made(count: int, dtype: torch.dtype = torch.float32, width: int = 4) -> Conditioning:
    generator = torch.Generator().manual_seed(count)
    embeds = torch.randn(count, 3, width, generator=generator).to(dtype)
    return Conditioning({"prompt_embeds": embeds, "mask": torch.rand(count, 3, generator=generator) > 0.5})


def of(count: int) -> list[Prompt]:
    return [Prompt(f"prompt {number}", "train", "task") for number in range(count)]


def equal(ours: Conditioning, theirs: Conditioning) -> bool:
    return ours.tensors.keys() == theirs.tensors.keys() and all(
        torch.equal(one, theirs.tensors[name]) and one.dtype == theirs.tensors[name].dtype
        for name, one in ours.tensors.items()
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("store", [None, "folder", STORE])
def test_rows_come_back_as_they_were_wherever_they_lie(
    dtype: torch.dtype, store: str | None, tmp_path: Path, client: Any
) -> None:
    told, folder = made(201, dtype), tmp_path / "conditioning"
    write_conditioning(folder, of(200), told.rows, {}, str(tmp_path / "store") if store == "folder" else store)
    assert (folder / CONDITIONING_FILE).exists() == (store is None)
    stored = open_conditioning(folder, of(200))
    rows = [7, 3, 4, 5, 199, 7, 0]
    assert equal(stored.rows(rows), told.rows(rows))
    assert equal(stored.unconditional(), told.rows([200]))


def test_the_file_is_a_safetensors_file(tmp_path: Path) -> None:
    told = made(130, torch.bfloat16)
    write_conditioning(tmp_path / "a", of(129), told.rows, {})
    assert equal(Conditioning(load_file(tmp_path / "a" / CONDITIONING_FILE)), told)


@settings(deadline=None, max_examples=25)
@given(count=st.integers(1, 9), data=st.data())
def test_any_rows_of_a_file_that_somebody_else_wrote_come_back(
    tmp_path_factory: pytest.TempPathFactory, count: int, data: st.DataObject
) -> None:
    rows = data.draw(st.lists(st.integers(0, count - 1), max_size=12))
    told, path = made(count), tmp_path_factory.mktemp("rows") / "file.safetensors"
    save_file(dict(told.tensors), path, metadata={"made": "elsewhere"})
    assert equal(Conditioning(TensorRows(str(path)).rows(rows)), told.rows(rows))


def test_of_an_object_only_the_rows_asked_for_are_read(tmp_path: Path, client: Any, gate: Any) -> None:
    told = made(101, width=1000)
    write_conditioning(tmp_path / "c", of(100), told.rows, {}, STORE)
    stored = open_conditioning(tmp_path / "c", of(100))
    gate.reads.clear()
    assert equal(stored.rows([40, 41, 90]), told.rows([40, 41, 90]))
    spans = [tuple(map(int, read.removeprefix("bytes=").split("-"))) for read in gate.reads]
    header, *rest = sorted(spans)
    assert header[0] == 0
    assert sum(end - start + 1 for start, end in rest) == 3 * (3 * 1000 * 4 + 3)
    assert len(rest) == 4, "rows that follow each other are one read"


def test_a_read_that_breaks_is_made_again(tmp_path: Path, client: Any, gate: Any) -> None:
    told = made(11, width=1000)
    write_conditioning(tmp_path / "c", of(10), told.rows, {}, STORE)
    stored = open_conditioning(tmp_path / "c", of(10))
    gate.cuts = [100]
    assert equal(stored.rows([4]), told.rows([4]))


def test_a_part_of_a_large_file_takes_little_memory(tmp_path: Path) -> None:
    count, width = 400, 4096

    def rows(some: Any) -> Conditioning:
        return Conditioning({"prompt_embeds": torch.full((len(some), 8, width), float(some[0]))})

    tracemalloc.start()
    write_conditioning(tmp_path / "c", of(count - 1), rows, {})
    stored = open_conditioning(tmp_path / "c", of(count - 1))
    assert stored.rows([128]).tensors["prompt_embeds"].unique().tolist() == [128.0]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (tmp_path / "c" / CONDITIONING_FILE).stat().st_size > 50_000_000
    assert peak < 2_000_000, "of what Python itself holds: a row and the header"


def test_equal_conditioning_is_in_the_store_once_and_another_takes_nothing_away(tmp_path: Path, client: Any) -> None:
    for name, count in (("a", 3), ("b", 3), ("c", 4)):
        write_conditioning(tmp_path / name, of(count), made(count + 1).rows, {}, STORE)
    first, second, other = (read_metadata(tmp_path / name)["place"] for name in "abc")
    assert first == second != other
    assert equal(open_conditioning(tmp_path / "a", of(3)).rows([2]), made(4).rows([2]))


def test_conditioning_of_other_prompts_is_refused(tmp_path: Path) -> None:
    write_conditioning(tmp_path / "c", of(3), made(4).rows, {})
    with pytest.raises(DataError, match="conditioning of other prompts"):
        open_conditioning(tmp_path / "c", of(4))
    write_rows(tmp_path / "c" / CONDITIONING_FILE, 2, iter([made(2).tensors]))
    with pytest.raises(DataError, match="'prompt_embeds' has 2 rows"):
        open_conditioning(tmp_path / "c", of(3)).rows([0])


@pytest.mark.parametrize("damage", ["absent", "empty", "no header", "cut short"])
def test_a_broken_file_is_named(tmp_path: Path, damage: str) -> None:
    write_conditioning(tmp_path / "c", of(3), made(4).rows, {})
    path = tmp_path / "c" / CONDITIONING_FILE
    content = path.read_bytes()
    broken = {"empty": b"", "no header": b"x" * 500, "cut short": content[: len(content) // 2]}
    if damage == "absent":
        path.unlink()
    else:
        path.write_bytes(broken[damage])
    with pytest.raises(StoreError) as caught:
        open_conditioning(tmp_path / "c", of(3)).rows([0, 1, 2])
    assert caught.value.where == str(path)


def test_what_is_gone_from_the_store_is_named(tmp_path: Path, client: Any) -> None:
    write_conditioning(tmp_path / "c", of(3), made(4).rows, {}, STORE)
    place = read_metadata(tmp_path / "c")["place"]
    client.delete_object(Bucket="bucket", Key=place.removeprefix("s3://bucket/"))
    with pytest.raises(StoreError) as caught:
        open_conditioning(tmp_path / "c", of(3)).rows([0])
    assert caught.value.where == place
    assert "task that makes it again, without Kubeflow's cache" in caught.value.remedy
