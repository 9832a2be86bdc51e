"""Peers of Adam's element-wise relatives."""

from peers.peer import Peer

BETAS = "betas=(0.9, 0.999), eps=1e-8"

AFTER = "`eps` is added to the debiased root, as in Adam, where torch adds it before"

ADAN = (
    "the difference of gradients is weighed by 1 - b2 = 0.08: the paper's 1 - beta2 counts beta2 as one minus this b2; "
    "and the decay does not divide"
)

PEERS = [
    Peer("radam", "torch", "torch.optim.RAdam(params, lr)"),
    Peer("radam", "optax", "optax.radam(lr)", why=AFTER),
    Peer("radam", "optax", "optax.radam(lr, eps=1e-40)", given={"eps": 1e-40}),
    Peer(
        "radam",
        "pytorch_optimizer",
        "pytorch_optimizer.RAdam(params, lr)",
        why="steps are left out while the variance cannot be rectified, where the paper takes them with momentum alone",
    ),
    Peer("radam", "pytorch_optimizer", "pytorch_optimizer.RAdam(params, lr, degenerated_to_sgd=True)", flag=True),
    Peer("radam", "torch-optimi", f"optimi.RAdam(params, lr, {BETAS})", why=AFTER),
    Peer("radam", "torch-optimi", "optimi.RAdam(params, lr, betas=(0.9, 0.999), eps=1e-40)", given={"eps": 1e-40}),
    Peer("amsgrad", "torch", "torch.optim.AdamW(params, lr, weight_decay=0.0, amsgrad=True)"),
    Peer("amsgrad", "optax", "optax.amsgrad(lr)", why="the maximum is taken of debiased moments"),
    Peer("adabelief", "optax", "optax.adabelief(lr, eps=1e-16, eps_root=1e-16)"),
    Peer("adabelief", "pytorch_optimizer", "pytorch_optimizer.AdaBelief(params, lr)"),
    Peer("adan", "optax", "optax.adan(lr, weight_decay=0.02)", why=ADAN),
    Peer("adan", "optax", "optax.adan(lr, weight_decay=0.02, eps_root=0.0)", flag=True, why=ADAN),
    Peer("adan", "pytorch_optimizer", "pytorch_optimizer.Adan(params, lr, weight_decay=0.02)"),
    Peer("adan", "torch-optimi", "optimi.Adan(params, lr, weight_decay=0.02, eps=1e-8)"),
    Peer("ademamix", "optax", "optax.contrib.ademamix(lr)", given={"warmup": 0}),
    Peer("ademamix", "pytorch_optimizer", "pytorch_optimizer.AdEMAMix(params, lr)", given={"warmup": 0}),
    Peer("ademamix", "pytorch_optimizer", "pytorch_optimizer.AdEMAMix(params, lr, t_alpha_beta3=60)"),
    Peer(
        "ademamix",
        "heavyball",
        "heavyball.AdEMAMix(params, lr, alpha=5.0)",
        given={"warmup": 0},
        single=True,
    ),
    Peer(
        "ademamix",
        "heavyball",
        "heavyball.AdEMAMix(params, lr, alpha=5.0, beta3_warmup=60, alpha_warmup=60)",
        single=True,
    ),
    Peer(
        "ademamix",
        "bitsandbytes",
        "bitsandbytes.optim.AdEMAMix32bit(params, lr, weight_decay=0.0)",
        given={"warmup": 0},
        single=True,
        why="does not run on the CPU",
    ),
    Peer(
        "adopt",
        "pytorch_optimizer",
        "pytorch_optimizer.ADOPT(params, lr)",
        why="the clock of the clip, t^(1/4), runs one step ahead",
    ),
    Peer("adopt", "pytorch_optimizer", "pytorch_optimizer.ADOPT(params, lr, clip_lambda=None)", given={"clip": False}),
    Peer("adopt", "optax", "optax.contrib.adopt(lr)"),
    Peer("adopt", "optax", "optax.contrib.adopt(lr, use_clipping=False)", given={"clip": False}),
    Peer(
        "adopt",
        "heavyball",
        "heavyball.ADOPT(params, lr, betas=(0.9, 0.9999), eps=1e-6)",
        given={"clip": False},
        single=True,
        why="both averages are debiased",
    ),
    Peer(
        "adams",
        "pytorch_optimizer",
        "pytorch_optimizer.AdamS(params, lr, betas=(0.9, 0.95), weight_decay=0.0)",
        why="another algorithm of the same name (Adam with stable weight decay, arXiv:2011.11152)",
    ),
    Peer("laprop", "heavyball", "heavyball.LaProp(params, lr, betas=(0.9, 0.999), eps=1e-15)", single=True),
    Peer(
        "laprop",
        "pytorch_optimizer",
        "pytorch_optimizer.LaProp(params, lr, betas=(0.9, 0.999), eps=1e-15)",
        why="another 1e-15 is added under the root",
    ),
    Peer(
        "mars",
        "pytorch_optimizer",
        "pytorch_optimizer.MARS(params, lr)",
        why="vectors get AdamW with a rate of its own",
    ),
    Peer(
        "mars",
        "pytorch_optimizer",
        "pytorch_optimizer.MARS(params, lr, optimize_1d=True)",
        flag=True,
        why="the gradient before the first counts as zero, and `eps` is added before the second moment is debiased",
    ),
    Peer(
        "cautious_adamw",
        "heavyball",
        f"heavyball.AdamW(params, lr, {BETAS}, weight_decay=0.01, caution=True)",
        single=True,
        flag=True,
    ),
    Peer(
        "cautious_lion",
        "pytorch_optimizer",
        "pytorch_optimizer.Lion(params, lr, cautious=True)",
        flag=True,
        why="the mask is scaled by n / (kept + 1), as in the paper; the authors' code, which we follow, uses n / kept",
    ),
]
