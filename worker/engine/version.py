"""The number of the engine: what a report names, and a checkpoint, beside what they hold."""

#: Raised with every change after which the same order may give other weights.
#: 2: teachers that answer in bfloat16 have their batch norms folded and their weights held in it.
#: 3: on the CPU, what follows their convolutions is done in the same pass and rounded once.
#: 4: the gradients of kd and of the label loss come from their formulas.
ENGINE_VERSION = 4
