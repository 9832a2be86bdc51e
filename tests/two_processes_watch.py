"""What two processes on the CPU do with a replicated model (DDP), watched and not; a sharded one is refused."""

import os
import time

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.multiprocessing import spawn
from two_processes import wrapped

import adamantine
from adamantine.probes.directional import DirectionalSharpness
from adamantine.probes.sharpness import Sharpness


def watched(store, port):
    """Let two processes train with a watch and without, and compare in each of them."""
    spawn(_work, (store, port), 2)


def loss(model, batch):
    return F.cross_entropy(model(batch[0]), batch[1], reduction="none")


def trained(rank, store):
    torch.manual_seed(0)
    net = nn.parallel.DistributedDataParallel(nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.2), nn.Linear(8, 3)))
    optimizer = torch.optim.AdamW(net.parameters(), 1e-2)
    watch = None
    if store:
        probes = [Sharpness(3), DirectionalSharpness()]
        watch = adamantine.watch(net, optimizer, loss, probes=probes, every=2, store=store)
        assert watch.due == (rank == 0)
    torch.manual_seed(rank)
    for t in range(5):
        rng = torch.Generator().manual_seed(10 * t + rank)
        batch = torch.randn(4, 6, generator=rng), torch.randint(3, (4,), generator=rng)
        loss(net, batch).mean().backward()
        optimizer.step()
        if watch:
            watch.step(batch)
        optimizer.zero_grad()
    if watch:
        assert watch.unavailable == {}
        assert watch.notes == ()
        watch.close(page=False)
    return [*(x.detach() for x in net.parameters()), torch.get_rng_state()]


def _work(rank, store, port):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), GLOO_SOCKET_IFNAME="lo")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    for a, b in zip(trained(rank, None), trained(rank, store), strict=True):
        assert torch.equal(a, b)
    sharded = wrapped("fsdp")
    with pytest.raises(ValueError, match="sharded over processes"):
        adamantine.watch(sharded, torch.optim.SGD(sharded.parameters(), 0.1), loss, store=store)
    dist.barrier()
    time.sleep(1)  # as in two_processes.py
    os._exit(0)
