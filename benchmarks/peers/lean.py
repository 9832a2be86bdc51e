"""Peers of the recipes with small states."""

from peers.peer import Peer

CONV = "a convolution is factored over its last two axes, not as a matrix"
HEADS = "dim=6, n_heads=2, verbose=False"
RENAMED = "[({'up': 'mlp.up', 'down': 'mlp.down', 'head': 'output'}.get(k, k), x) for k, x in named]"

UNBIASED = RENAMED.replace("{", "{'up.bias': 'a', 'head.bias': 'b', ")

PEERS = [
    Peer("adafactor", "torch", "torch.optim.Adafactor(params, lr)", why=CONV),
    Peer("adafactor", "torch", "torch.optim.Adafactor(hidden + rest, lr, eps=(1e-30, 1e-3))", flag=True),
    Peer("adafactor", "transformers", "transformers.optimization.Adafactor(params, lr, relative_step=False)", why=CONV),
    Peer(
        "adafactor",
        "transformers",
        "transformers.optimization.Adafactor(hidden + rest, lr, relative_step=False)",
        flag=True,
    ),
    Peer(
        "adafactor",
        "pytorch_optimizer",
        "pytorch_optimizer.AdaFactor(hidden + rest, lr, relative_step=False)",
        why="keeps a momentum of 0.9, in bfloat16",
    ),
    Peer(
        "adafactor",
        "pytorch_optimizer",
        "pytorch_optimizer.AdaFactor(hidden + rest, lr, betas=(None, 0.999), relative_step=False)",
        flag=True,
    ),
    Peer("adafactor", "optax", "optax.adafactor(lr)", why="no tensor with an axis below 128 is factored"),
    Peer(
        "adafactor",
        "optax",
        "optax.adafactor(lr, min_dim_size_to_factor=2)",
        flag=True,
        why="a convolution is factored over its two largest axes",
    ),
    Peer("came", "came-pytorch", "came_pytorch.CAME(params, lr)", why=CONV),
    Peer("came", "came-pytorch", "came_pytorch.CAME(hidden + rest, lr)", flag=True),
    Peer("came", "pytorch_optimizer", "pytorch_optimizer.CAME(params, lr)", why=CONV),
    Peer("came", "pytorch_optimizer", "pytorch_optimizer.CAME(hidden + rest, lr)", flag=True),
    Peer("sm3", "optax", "optax.sm3(lr, 0.9)", lr=0.1, why="1e-8 is added under the root"),
    Peer("sm3", "pytorch_optimizer", "pytorch_optimizer.SM3(params, lr, momentum=0.9)", lr=0.1),
    Peer(
        "sgd_sai",
        "sgd-sai",
        "sgd_sai.SGD_sai(params, lr)",
        why="the average of gradients starts at the whole first gradient, ten times what the paper has",
    ),
    Peer(
        "sgd_sai",
        "pytorch_optimizer",
        "pytorch_optimizer.SGDSaI(params, lr)",
        why="the ratio of a vector is the norm of its gradient, not divided by the deviation",
    ),
    Peer(
        "adam_mini",
        "adam-mini",
        f"adam_mini.Adam_mini(named, lr, {HEADS})",
        why="roles are read off the names, and tensors called `up`, `down` and `head` count as unknown",
    ),
    Peer(
        "adam_mini",
        "adam-mini",
        f"adam_mini.Adam_mini({RENAMED}, lr, {HEADS})",
        flag=True,
        why="tensors with `bias` in their names get Adam",
    ),
    Peer("adam_mini", "adam-mini", f"adam_mini.Adam_mini({UNBIASED}, lr, {HEADS})", flag=True),
]
