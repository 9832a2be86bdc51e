"""Peers of the methods that see a matrix as one."""

from peers.peer import Peer

ROUNDED = "Newton-Schulz runs in bfloat16"
AUX = "torch.optim.AdamW(rest, 0.015 * lr, betas=(0.9, 0.95), eps=1e-10, weight_decay=0.0)"
KELLER = (
    "muon.SingleDeviceMuonWithAuxAdam([dict(params=hidden, use_muon=True, lr=lr, momentum=0.95, weight_decay=0.0), "
    "dict(params=rest, use_muon=False, lr=0.015 * lr, betas=(0.9, 0.95), eps=1e-10, weight_decay=0.0)])"
)
OURS = (
    "pytorch_optimizer.{kind}([dict(params=hidden, use_muon=True, lr=lr), "
    "dict(params=rest, use_muon=False, lr=0.015 * lr, betas=(0.9, 0.95), eps=1e-10, weight_decay=0.0)])"
)
DIMENSIONS = (
    "muon_weight_dimension_numbers={k: optax.contrib.MuonDimensionNumbers((1, 2, 3) if k == 'conv' else 1, 0) "
    "if yes else None for k, yes in hidden.items()}"
)

CLAMP = "the norm is kept above `eps`, where Keller Jordan adds `eps`"
TORCH = f"[torch.optim.Muon(hidden, lr, weight_decay=0.0), {AUX}]"
MATCHED = TORCH.replace("weight_decay=0.0)", "weight_decay=0.0, adjust_lr_fn='match_rms_adamw')", 1)
OPTAX = "optax.contrib.muon(lr, eps=1e-7, adam_learning_rate=0.015 * lr, adam_b2=0.95, " + DIMENSIONS + ")"
HEAVY = f"[heavyball.Muon(hidden, lr, betas=(0.95, 0.95)), {AUX}]"
LOW = (
    "[dict(params=rest), dict(params=hidden, rank=3, update_proj_gap={every}, scale=1.0, {kind}='std')], lr, eps={eps}"
)
GALORE = "galore_torch.GaLoreAdamW(" + LOW.replace("{kind}", "proj_type") + ", no_deprecation_warning=True)"
GALORE_TOO = "pytorch_optimizer.GaLore(" + LOW.replace("{kind}", "projection_type") + ")"
FIRA = "pytorch_optimizer.Fira(" + LOW.replace("{kind}", "projection_type") + ")"
APOLLO = (
    "apollo_torch.APOLLOAdamW([dict(params=rest), dict(params=hidden, rank=3, proj='random', scale_type='channel', "
    "scale=1.0, update_proj_gap=200, proj_type='std')], lr, eps=1e-6)"
)
APOLLO_TOO = (
    "pytorch_optimizer.APOLLO([dict(params=rest), dict(params=hidden, rank=3, scale_type='channel', scale=1.0, "
    "update_proj_gap=200, projection_type='std')], lr, eps=1e-6)"
)
LATE = "`eps` is added before the root is debiased"
SVD = "the singular vectors are computed in float32"
TINY = {"rank": 3, "eps": 1e-30}
SHAMPOO = "pytorch_optimizer.Shampoo(hidden + rest, lr, momentum={momentum})"

SOAP = (
    "the first step is not taken, each step uses the basis of the step before, and a convolution is turned along each "
    "of its four axes"
)

SCION = (
    "pytorch_optimizer.SCION([dict(params=[w['query'], w['up'], w['down']], norm_type=2), "
    "dict(params=[w['conv']], norm_type=3), dict(params=[w['embed']], norm_type=7{scale}), "
    "dict(params=[w['head']], norm_type=4, scale=60.0), "
    "dict(params=[w['norm'], w['up.bias'], w['head.bias']], norm_type=5)], lr, constraint=True)"
)
ROWS = "a row's norm is multiplied by the root of its length instead of divided: updates are 6 times too small here"

PEERS = [
    Peer("muon", "torch", TORCH, why=ROUNDED),
    Peer("muon", "torch", TORCH, exact=True, why=CLAMP),
    Peer("muon", "torch", MATCHED, given={"shaping": "match_rms_adamw"}, flag=True, why=ROUNDED),
    Peer("muon", "torch", MATCHED, given={"shaping": "match_rms_adamw"}, exact=True, why=CLAMP),
    Peer("muon", "muon-optimizer", KELLER, why=ROUNDED),
    Peer("muon", "muon-optimizer", KELLER, exact=True),
    Peer("muon", "pytorch_optimizer", OURS.format(kind="Muon"), why=ROUNDED),
    Peer("muon", "pytorch_optimizer", OURS.format(kind="Muon"), exact=True, why=CLAMP),
    Peer(
        "muon",
        "optax",
        OPTAX,
        flag=True,
        why="momentum and gradient are debiased, which changes their mix; Adam beside it is NAdam, with the same eps",
    ),
    Peer(
        "muon",
        "heavyball",
        HEAVY,
        single=True,
        why="other coefficients of Newton-Schulz, in bfloat16, and a look-ahead that adds the whole gradient",
    ),
    Peer("normuon", "pytorch_optimizer", OURS.format(kind="NorMuon"), why=ROUNDED),
    Peer("normuon", "pytorch_optimizer", OURS.format(kind="NorMuon"), exact=True, why=CLAMP),
    Peer("scion", "pytorch_optimizer", SCION.format(scale=""), why=ROWS),
    Peer("scion", "pytorch_optimizer", SCION.format(scale=", scale=6.0"), exact=True, why=CLAMP),
    Peer(
        "soap",
        "pytorch_optimizer",
        "pytorch_optimizer.SOAP(params, lr, weight_decay=0.0)",
        why=SOAP,
    ),
    Peer(
        "soap",
        "heavyball",
        "heavyball.SOAP(params, lr, betas=(0.95, 0.95), weight_decay=0.0, precondition_frequency=10)",
        single=True,
        why="as pytorch_optimizer's, and what no gradient has met yet of a basis is arbitrary",
    ),
    Peer(
        "shampoo",
        "pytorch_optimizer",
        SHAMPOO.format(momentum=0.9),
        why="the last preconditioned step is mixed into the next gradient, before the statistics take it",
    ),
    Peer("shampoo", "pytorch_optimizer", SHAMPOO.format(momentum=0.0), given={"momentum": 0.0}),
    Peer("galore", "galore-torch", GALORE.format(every=200, eps=1e-8), given={"rank": 3}, why=LATE),
    Peer("galore", "galore-torch", GALORE.format(every=200, eps=1e-30), given=TINY, why=SVD),
    Peer("galore", "galore-torch", GALORE.format(every=200, eps=1e-30), given=TINY, exact=True),
    Peer(
        "galore",
        "galore-torch",
        GALORE.format(every=20, eps=1e-30),
        given={**TINY, "every": 20},
        why="a refresh may flip the sign of a direction, whose moments keep theirs",
    ),
    Peer("galore", "pytorch_optimizer", GALORE_TOO.format(every=200, eps=1e-30), given=TINY, why=SVD),
    Peer("galore", "pytorch_optimizer", GALORE_TOO.format(every=200, eps=1e-30), given=TINY, exact=True),
    Peer(
        "galore",
        "pytorch_optimizer",
        GALORE_TOO.format(every=20, eps=1e-30),
        given={**TINY, "every": 20},
        why="the projection is refreshed one step early, and a refresh may flip the sign of a direction",
    ),
    Peer("fira", "pytorch_optimizer", FIRA.format(every=200, eps=1e-6), given={"rank": 3}, why=LATE),
    Peer("fira", "pytorch_optimizer", FIRA.format(every=200, eps=1e-30), given=TINY, exact=True),
    Peer("apollo", "apollo-torch", APOLLO, given={"rank": 3}, why="draws a random projection of its own"),
    Peer(
        "apollo",
        "pytorch_optimizer",
        APOLLO_TOO,
        given={"rank": 3},
        why="another algorithm: the update has the rank of the projection, where the authors scale the whole gradient",
    ),
    Peer("psgd_kron", "kron-torch", "kron_torch.Kron(params, lr)", why="draws probe vectors of its own"),
]
