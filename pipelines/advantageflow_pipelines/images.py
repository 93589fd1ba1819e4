"""Which container image each stage runs in."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from advantageflow.image import default_image

STAGES = ("prompts", "rollout", "reward", "training", "evaluation")


class StageImages(BaseModel):
    """The image of each stage, by digest (`name@sha256:...`) or by a tag that is never moved.

    Kubeflow's cache knows an image by this text alone, so a tag that is moved to other code gives the old results.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    prompts: str = default_image("prompts")
    rollout: str = default_image("rollout")
    reward: str = default_image("reward")
    training: str = default_image("training")
    evaluation: str = default_image("evaluation")

    @classmethod
    def all_the_same(cls, image: str) -> StageImages:
        """One image for all stages."""
        return cls(**dict.fromkeys(STAGES, image))

    def of(self, stage: str) -> str:
        """The image of a stage."""
        return str(getattr(self, stage))
