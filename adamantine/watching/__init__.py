"""Probes on a training loop that exists already: `adamantine.watch`.

task        the user's module and loss as a Task, at any weights, without a trace in the module
loss        what kinds of losses there are, and how each gives one number an example
draws       independent batches from the user's data
randomness  all generators put back, and masks that are the same for every question
steps       what the optimizer really did, by its hooks
timetable   which probe is due when: every N steps, or within a share of the time
measuring   the probes at a point, what they cost, and what becomes of one that fails
journal     rows as they come, on disk
sinks       the same rows for others: TensorBoard, Weights & Biases
presets     probes that go well together
watch       all of it
"""
