"""The benchmark's workload of a preset: its model, prompts and settings, with rollouts that its policy generates."""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from advantageflow.objectives.advantage_flow import AdvantageFlow
from advantageflow.policy.generate import Generator, load_generator
from advantageflow.policy.loading import load_family, read_configs
from advantageflow.policy.text import encode_prompts, load_encoder, load_tokenizer, present_encoders
from advantageflow.prompts.initial_policy import write_base_policy
from advantageflow.prompts.sources import load_prompts
from advantageflow.records import ADAPTER_FOLDER, ROLLOUT_ADAPTER_FOLDER, Prompt
from advantageflow.rewards.plumbing.registry import get_reward
from advantageflow.rollout.selection import chunks, select_prompts
from advantageflow.rollout.stage import Groups, generate_groups, join
from advantageflow.settings import ModelSettings, RunSettings, TrainingSettings
from advantageflow.training.data import RoundData
from advantageflow.training.train import load_policy
from advantageflow_experiments.bench.workload import (
    Encode,
    Workload,
    as_published,
    base_parameters,
    random_terms,
    text_encoding,
)


@dataclass(frozen=True)
class Bench:
    """What is measured on one device.

    Attributes:
        shape: for a person.
        work: training.
        low_precision: with a bfloat16 base, where the device is made for it.
        generate: makes the round's rollouts once, as the rollout stage does.
        peer_generate: as the best open peer does: adapters beside the weights, by PEFT, a batch decoded at once.
        drawing: the transformer of `generate`.
        vae: its autoencoder; None where nothing is decoded.
    """

    shape: dict[str, Any]
    work: Workload
    low_precision: Workload | None
    generate: Callable[[], object]
    peer_generate: Callable[[], object]
    drawing: nn.Module
    vae: nn.Module | None = None


def embedded_bench(settings: RunSettings, threads: int, seed: int) -> Bench:
    """A preset's round, or as much of it as tells its speed, and training on it, on the CPU in float32.

    The number of optimiser steps and of inner epochs is the preset's, so that what only the first step saves counts as
    in the preset; there are as many rollouts as fill a microbatch in each step (`bench_groups`).

    Raises:
        PolicyError: the model cannot be loaded, or lacks a text encoder.
        DataError: a prompt cannot be used.
    """
    eager = {"device": "cpu", "dtype": "float32", "compile": False}  # a row alone is compiled
    model, rollout = settings.model.model_copy(update=eager), settings.rollout
    training = comparable(settings.training)
    source, scorer = settings.prompts, get_reward(settings.reward.name, settings.reward.options)
    known = load_prompts(source.source, scorer, count=source.count, seed=source.seed, columns=source.columns.renamed)
    train = [prompt for prompt in known if prompt.split == "train"]
    prompts = select_prompts(seed, 1, train, min(bench_groups(settings), len(train)))
    texts = [prompt.text for prompt in prompts]
    conditioning = encode_prompts(model, [*texts, load_family(model).unconditional])
    unconditional = conditioning.rows([-1])
    with TemporaryDirectory() as folder:
        policy = Path(folder) / "policy"
        write_base_policy(policy)
        trained = load_policy(training, model, seed, policy)
        generator = load_generator(model, policy, ROLLOUT_ADAPTER_FOLDER, threads)
    row = {prompt.prompt_id: number for number, prompt in enumerate(prompts)}

    def generate(generator: Generator = generator, workers: int = min(rollout.shards, threads)) -> torch.Tensor:
        def one(chunk: list[Prompt]) -> Groups:
            torch.set_num_threads(threads // workers)  # of this thread
            told = conditioning.rows([row[prompt.prompt_id] for prompt in chunk])
            return generate_groups(generator, rollout, chunk, told, unconditional, seed=seed, round_index=1)

        with ThreadPoolExecutor(workers) as pool:
            return join(list(pool.map(one, chunks(prompts, rollout.batch_groups)))).latents

    whole = model.model_copy(update={"decode_batch": rollout.batch_groups * rollout.group_size})

    def peer_generate() -> torch.Tensor:
        trained.adapters.use(ROLLOUT_ADAPTER_FOLDER)
        with as_published(trained.transformer):
            latents = generate(Generator(whole, trained.transformer, generator.vae), workers=1)
        trained.adapters.use(ADAPTER_FOLDER)
        return latents

    terms = random_terms(len(prompts), rollout.group_size, seed)
    data = RoundData(generate(), conditioning.rows(slice(len(texts))), terms, {})
    shape = {
        "model": model.name,
        "parameters": base_parameters(trained.transformer),
        "latents": list(data.latents.shape[1:]),
        "text_tokens": conditioning.length,
        "rollouts": len(data.latents),
        "sampler": f"{rollout.sampler}, {rollout.steps} steps, guidance {rollout.guidance_scale:g}",
        "precision": "float32: every row, on the CPU",
    }
    work = Workload(trained, data, training, _encoder(model, texts), seed)
    return Bench(shape, work, None, generate, peer_generate, generator.transformer, generator.vae)


def bench_groups(settings: RunSettings) -> int:
    """Groups in a round whose optimiser steps are one whole microbatch each; at most those of the preset's round.

    More would take longer and show the same. At least one forward batch, so that rollouts are as fast as the preset's.
    """
    training, rollout = settings.training, settings.rollout
    samples = training.gradient_steps * training.microbatch
    groups = math.ceil(samples / (training.inner_epochs * rollout.group_size))
    return min(max(groups, rollout.batch_groups), rollout.prompts_per_round)


def comparable(training: TrainingSettings) -> TrainingSettings:
    """The settings as all rows can be measured with: AdvantageFlow, as the preset has it, and no reference weight.

    The rollout policy takes over the trained one, so that a round starts from it.
    """
    objective = training.objective if isinstance(training.objective, AdvantageFlow) else AdvantageFlow()
    objective = objective.model_copy(update={"reference_weight": 0.0})
    return training.model_copy(update={"objective": objective, "rollout_decay": 0.0})


def _encoder(model: ModelSettings, texts: list[str]) -> Encode:
    """The text encoders of the model, kept in memory."""
    family = load_family(model)
    parts = present_encoders(model, family)
    limit, configs = model.max_sequence_length, read_configs(model, ["transformer", *parts])
    tokens = {
        part: family.tokenize(part, load_tokenizer(model, part), texts, family.token_limit(part, configs, limit))
        for part in parts
    }
    encoders = {part: load_encoder(model, part) for part in parts}
    return text_encoding(family, configs, limit, encoders, tokens)
