"""Names of the stages of dvc.yaml, in the order in which they run."""

DATA_STAGES = ("fetch", "prepare")
MODEL_STAGES = ("tune", "train", "export", "evaluate")
STAGES = (*DATA_STAGES, *MODEL_STAGES)
