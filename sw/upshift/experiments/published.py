"""What was published about the quantized equation, for comparison."""

from upshift.resolution import Authors

LIMIT = Authors().limit
EPOCH = 390
"""Mini-batches in an epoch of the published runs."""

GAINS = {"SGD": (0.10, 0.98), "Adam": (0.78, 1.64)}
"""Mean and deviation, over the paper's learning rates, of quantized minus plain test accuracy."""
