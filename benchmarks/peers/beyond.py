"""Peers of wrappers, of methods without a rate, and of trust ratios."""

from peers.peer import Peer

SAM = "pytorch_optimizer.SAM(params, torch.optim.SGD, rho=0.05, lr=lr, momentum=0.9)"
ASAM = "pytorch_optimizer.SAM(params, torch.optim.SGD, rho=0.5, adaptive=True, lr=lr, momentum=0.9)"
FLOAT_NORM = "the norm of the gradient is taken in float32"
LOOKAHEAD = "pytorch_optimizer.Lookahead(torch.optim.AdamW(params, lr), k=5, alpha=0.5)"

PEERS = [
    Peer("schedule_free_adamw", "schedulefree", "schedulefree.AdamWScheduleFree(params, lr)"),
    Peer(
        "schedule_free_adamw",
        "schedulefree",
        "schedulefree.AdamWScheduleFree(params, lr, weight_decay=0.1)",
        given={"decay": 0.1},
    ),
    Peer("schedule_free_adamw", "schedulefree", "schedulefree.AdamWScheduleFreeReference(params, lr)"),
    Peer(
        "schedule_free_adamw",
        "schedulefree",
        "schedulefree.AdamWScheduleFreePaper(params, lr)",
        why="the correction of the second moment is part of the rate, so it also weighs the average of iterates",
    ),
    Peer(
        "schedule_free_adamw",
        "pytorch_optimizer",
        "pytorch_optimizer.ScheduleFreeAdamW(params, lr)",
        why="1e-15 is added under the root",
    ),
    Peer(
        "schedule_free_adamw", "heavyball", "heavyball.SFAdamW(params, lr, betas=(0.9, 0.999), eps=1e-8)", single=True
    ),
    Peer("schedule_free_adamw", "optax", "optax.contrib.schedule_free_adamw(lr)"),
    Peer("schedule_free_sgd", "schedulefree", "schedulefree.SGDScheduleFree(params, lr)"),
    Peer("schedule_free_sgd", "pytorch_optimizer", "pytorch_optimizer.ScheduleFreeSGD(params, lr)"),
    Peer("schedule_free_sgd", "optax", "optax.contrib.schedule_free_sgd(lr)"),
    Peer("prodigy", "prodigyopt", "prodigyopt.Prodigy(params, lr)", lr=1.0),
    Peer("prodigy", "prodigyopt", "prodigyopt.Prodigy(params, lr, weight_decay=0.1)", given={"decay": 0.1}, lr=1.0),
    Peer(
        "prodigy",
        "pytorch_optimizer",
        "pytorch_optimizer.Prodigy(params, lr)",
        lr=1.0,
        why="the sums behind the estimate are kept in float32",
    ),
    Peer("prodigy", "pytorch_optimizer", "pytorch_optimizer.Prodigy(params, lr)", lr=1.0, exact=True),
    Peer(
        "prodigy", "optax", "optax.contrib.prodigy(lr)", lr=1.0, why="moments are debiased, which the paper does not do"
    ),
    Peer("sam", "pytorch_optimizer", SAM, closure=True, why=FLOAT_NORM),
    Peer("sam", "pytorch_optimizer", SAM, closure=True, exact=True),
    Peer("asam", "pytorch_optimizer", ASAM, closure=True, flag=True, why="the paper's eta is left out"),
    Peer("asam", "pytorch_optimizer", ASAM, closure=True, given={"eta": 0.0}, exact=True),
    Peer("lookahead_adamw", "pytorch_optimizer", LOOKAHEAD),
    Peer("lamb", "optax", "optax.lamb(lr, weight_decay=0.01)"),
    Peer(
        "lamb",
        "pytorch_optimizer",
        "pytorch_optimizer.Lamb(params, lr, weight_decay=0.01)",
        why="the decay stays outside the trust ratio, and what passed it is divided by 1 - beta1^t: ten times at first",
    ),
    Peer(
        "lamb",
        "bitsandbytes",
        "bitsandbytes.optim.LAMB(params, lr, eps=1e-6, weight_decay=0.01)",
        single=True,
        why="no trust ratio: the norm of the update is capped at that of the weights",
    ),
    Peer(
        "lars",
        "optax",
        "optax.lars(lr, weight_decay=1e-4)",
        why="the ratio divides by the norm of gradient and decay together, the paper by the sum of their norms",
    ),
    Peer(
        "lars",
        "pytorch_optimizer",
        "pytorch_optimizer.LARS(params, lr, weight_decay=1e-4)",
        why="vectors get momentum SGD without ratio and decay",
    ),
    Peer(
        "lars",
        "bitsandbytes",
        "bitsandbytes.optim.LARS(params, lr, momentum=0.9, weight_decay=1e-4)",
        single=True,
        why="no trust ratio: the norm of the momentum is capped at 0.02 of that of the weights",
    ),
]
