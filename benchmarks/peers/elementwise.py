"""Peers of the recipes that treat every coordinate alike."""

from peers.peer import Peer

# What several rows share.
ADAMW = "lr=lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01"

PRODUCT = "the product of the momentum coefficients is kept in float32"

PEERS = [
    Peer("sgd", "torch", "torch.optim.SGD(params, lr)"),
    Peer("sgd", "torch", "torch.optim.SGD(params, lr, momentum=0.9)", given={"momentum": 0.9}),
    Peer(
        "sgd",
        "torch",
        "torch.optim.SGD(params, lr, momentum=0.9, nesterov=True, weight_decay=0.1)",
        given={"momentum": 0.9, "nesterov": True, "decay": 0.1},
    ),
    Peer("sgd", "optax", "optax.sgd(lr, momentum=0.9)", given={"momentum": 0.9}),
    Peer("sgd", "optax", "optax.sgd(lr, momentum=0.9, nesterov=True)", given={"momentum": 0.9, "nesterov": True}),
    Peer("sgd", "torch-optimi", "optimi.SGD(params, lr, momentum=0.9)", given={"momentum": 0.9}),
    Peer(
        "sgd",
        "bitsandbytes",
        "bitsandbytes.optim.SGD32bit(params, lr, momentum=0.9)",
        given={"momentum": 0.9},
        single=True,
    ),
    Peer("adam", "torch", "torch.optim.Adam(params, lr)"),
    Peer("adam", "optax", "optax.adam(lr)"),
    Peer("adamw", "torch", f"torch.optim.AdamW(params, {ADAMW})"),
    Peer("adamw", "torch", f"torch.optim.AdamW(params, {ADAMW}, foreach=True)", flag=True),
    Peer("adamw", "torch", f"torch.optim.AdamW(params, {ADAMW}, fused=True)", flag=True),
    Peer("adamw", "optax", "optax.adamw(lr, 0.9, 0.999, 1e-8, weight_decay=0.01)"),
    Peer("adamw", "pytorch_optimizer", f"pytorch_optimizer.AdamW(params, {ADAMW})"),
    Peer("adamw", "heavyball", f"heavyball.AdamW(params, {ADAMW})", single=True),
    Peer("adamw", "torch-optimi", f"optimi.AdamW(params, {ADAMW})"),
    Peer("adamw", "torchao", f"torchao.optim._AdamW(params, {ADAMW})", single=True),
    Peer("adamw", "bitsandbytes", f"bitsandbytes.optim.AdamW32bit(params, {ADAMW})", single=True),
    Peer("nadam", "torch", "torch.optim.NAdam(params, lr)", why=PRODUCT),
    Peer("nadam", "torch", "torch.optim.NAdam(params, lr)", exact=True),
    Peer(
        "nadam",
        "torch",
        "torch.optim.NAdam(params, lr, weight_decay=0.1, decoupled_weight_decay=True)",
        given={"decay": 0.1},
        flag=True,
        why=PRODUCT,
    ),
    Peer(
        "nadam",
        "torch",
        "torch.optim.NAdam(params, lr, weight_decay=0.1)",
        given={"decay": 0.1},
        why="the decay is an L2 penalty unless `decoupled_weight_decay=True`",
    ),
    Peer("nadam", "optax", "optax.nadam(lr)", why="the momentum coefficient does not warm up"),
    Peer("nadam", "heavyball", "heavyball.NAdam(params, lr, betas=(0.9, 0.999), eps=1e-8)", single=True),
    Peer("signum", "optax", "optax.signum(lr, 0.9)"),
    Peer("signum", "pytorch_optimizer", "pytorch_optimizer.SignSGD(params, lr, momentum=0.9)"),
    Peer("lion", "optax", "optax.lion(lr, 0.9, 0.99, weight_decay=0.0)"),
    Peer("lion", "lion-pytorch", "lion_pytorch.Lion(params, lr)"),
    Peer("lion", "lion-pytorch", "lion_pytorch.Lion(params, lr, weight_decay=0.1)", given={"decay": 0.1}),
    Peer("lion", "pytorch_optimizer", "pytorch_optimizer.Lion(params, lr)"),
    Peer("lion", "torch-optimi", "optimi.Lion(params, lr)"),
    Peer("lion", "bitsandbytes", "bitsandbytes.optim.Lion32bit(params, lr)", single=True),
    Peer("rmsprop", "torch", "torch.optim.RMSprop(params, lr)"),
    Peer("rmsprop", "torch", "torch.optim.RMSprop(params, lr, centered=True)", given={"centered": True}),
    Peer("rmsprop", "torch", "torch.optim.RMSprop(params, lr, momentum=0.9)", given={"momentum": 0.9}),
    Peer("rmsprop", "optax", "optax.rmsprop(lr, 0.99)", why="`eps` is added under the root"),
    Peer("rmsprop", "optax", "optax.rmsprop(lr, 0.99, eps_in_sqrt=False)", flag=True),
    Peer("rmsprop", "bitsandbytes", "bitsandbytes.optim.RMSprop32bit(params, lr)", single=True),
    Peer(
        "rmsprop",
        "heavyball",
        "heavyball.RMSprop(params, lr, betas=(0.9, 0.99), eps=1e-8)",
        why="the second moment is debiased",
        single=True,
    ),
]
