from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sublabel import distributed


def test_a_process_alone_is_the_first_of_one_and_waits_for_nobody():
    assert (distributed.rank(), distributed.world_size()) == (0, 1)
    assert distributed.is_first_process()
    assert distributed.gather("x") == ["x"]
    assert list(distributed.share_of(range(5))) == [0, 1, 2, 3, 4]
    distributed.wait_for_all()


@pytest.mark.parametrize(("rank", "first"), [("0", True), ("1", False)])
def test_before_they_have_met_lightning_says_which_process_prints(monkeypatch, rank, first):
    from lightning.pytorch.utilities import rank_zero_only

    monkeypatch.setattr(rank_zero_only, "rank", int(rank))
    assert distributed.is_first_process() is first


@given(items=st.lists(st.integers()), size=st.integers(1, 9))
def test_shares_are_disjoint_whole_and_about_equal(items, size):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distributed, "world_size", lambda: size)
        shares = []
        for rank in range(size):
            patch.setattr(distributed, "rank", lambda rank=rank: rank)
            shares.append(list(distributed.share_of(items)))
    assert sorted(item for share in shares for item in share) == sorted(items)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def meet(rank, folder):
    """What each of three processes sees, in two process groups one after the other."""
    for meeting in range(2):
        torch.distributed.init_process_group(
            "gloo", init_method=f"file://{folder}/meeting{meeting}", rank=rank, world_size=3
        )
        seen = {
            "rank": distributed.rank(),
            "size": distributed.world_size(),
            "first": distributed.is_first_process(),
            "share": list(distributed.share_of(range(7))),
            "gathered": distributed.gather({"rank": rank, "bytes": "x" * rank * 1000}),
        }
        (folder / f"{meeting}-{rank}.json").write_text(json.dumps(seen))
        distributed.wait_for_all()
        seen["there"] = len(list(folder.glob(f"{meeting}-*.json")))
        (folder / f"{meeting}-{rank}.json").write_text(json.dumps(seen))
        torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_processes_share_gather_and_wait(tmp_path):
    torch.multiprocessing.spawn(meet, (tmp_path,), nprocs=3)
    for meeting in range(2):
        seen = [json.loads((tmp_path / f"{meeting}-{rank}.json").read_text()) for rank in range(3)]
        assert [entry["rank"] for entry in seen] == [0, 1, 2]
        assert [entry["first"] for entry in seen] == [True, False, False]
        assert [entry["share"] for entry in seen] == [[0, 3, 6], [1, 4], [2, 5]]
        assert [entry["there"] for entry in seen] == [3, 3, 3]
        assert {entry["size"] for entry in seen} == {3}
        gathered = [{"rank": rank, "bytes": "x" * rank * 1000} for rank in range(3)]
        assert all(entry["gathered"] == gathered for entry in seen)
