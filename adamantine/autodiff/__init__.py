"""Whether this machine's torch differentiates rightly: modes of differentiation, held to hand-written primitives.

A small network with one kernel of torch in it is differentiated in float64 in every mode, and so is the same network
with the kernel written out in sums, products and roots, always by reverse mode. Some modes are silently wrong through
some kernels: torch 2.13 through LayerNorm and BatchNorm. The package's own modes are asked for where instruments ask
for them, at a `Point`.
"""
