"""Training: state, the step where everything meets, the loop, checkpoints, recipes."""
