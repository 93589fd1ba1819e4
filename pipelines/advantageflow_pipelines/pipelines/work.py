"""What a stage of a pipeline does in a whole run, from which a plan works out what it costs."""

from collections.abc import Sequence
from dataclasses import dataclass

from advantageflow.settings import EvaluationSettings, RunSettings


@dataclass(frozen=True)
class Work:
    """What a stage does in a whole run, all rounds and shards together."""

    tasks: int  # how many tasks of the pipeline it is
    images: int = 0  # generated
    forwards: int = 0  # velocities without gradient; guidance costs two a step
    backwards: int = 0  # training samples, forward and backward
    decodes: int = 0  # latents decoded to images
    scored: int = 0  # images scored by each reward
    encodes: bool = False  # whether prompts are encoded
    texts: int = 0  # how many; 0 where they are not known
    # images in one forward pass, and whether it is guided; None where it generates none
    batch: tuple[int, bool] | None = None
    kept: int = 0  # images that are kept with their latents
    policies: int = 0  # that are kept
    reads_prompts: int = 0  # whose conditioning its tasks read, each task's counted
    takes_images: int = 0  # that its tasks take
    takes_latents: int = 0  # likewise, trajectories included
    takes_policies: int = 0  # whole ones that its tasks take, trained and with the optimiser's state
    takes_adapters: int = 0  # trained ones that its tasks take, a policy's or its rollout policy's
    remedy: str = "use a larger GPU"  # which settings to change where it does not fit a GPU


def encoding_work(tasks: int, texts: int) -> Work:
    """The work of a prompts stage."""
    return Work(tasks, encodes=True, texts=texts, remedy="encode on a larger GPU, or on the CPU")


def evaluation_work(settings: EvaluationSettings, images: Sequence[int], prompts: int, policies: int = 0) -> Work:
    """The work of an evaluation stage: `images` that each task judges, of `prompts` at most, by `policies` trained."""
    held_out = sum(images)
    return Work(
        len(images),
        images=held_out,
        forwards=held_out * settings.steps * evaluations_of_a_step(settings.guidance_scale),
        decodes=held_out,
        scored=held_out,
        batch=(settings.batch, settings.guidance_scale != 1.0),
        reads_prompts=sum(min(prompts, one) for one in images),
        takes_adapters=policies,
        remedy="lower evaluation.batch",
    )


def evaluations_of_a_step(guidance_scale: float) -> int:
    """Of the model in one step of a sampler."""
    return 1 if guidance_scale == 1.0 else 2


def images_of_a_round(settings: RunSettings) -> int:
    """Rollouts that a round generates."""
    return settings.rollout.prompts_per_round * settings.rollout.group_size


def images_of_a_run(settings: RunSettings) -> int:
    """Rollouts that a run generates; the images of evaluations are not counted."""
    return settings.rounds * images_of_a_round(settings)
