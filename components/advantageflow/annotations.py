"""Types for annotations alone, most of modules that are slow to load: who only names them does not load these."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from docker.client import DockerClient as DockerClient
    from kfp.dsl import PipelineTask as PipelineTask
    from kfp.dsl.base_component import BaseComponent as BaseComponent
    from matplotlib.axes import Axes as Axes
    from matplotlib.figure import Figure as Figure
    from mlflow import MlflowClient as MlflowClient
    from mlflow.entities import Run as Run
    from mlflow.entities.model_registry import ModelVersion as ModelVersion
    from PIL.Image import Image as Image
    from PIL.ImageDraw import ImageDraw as ImageDraw
    from PIL.ImageFont import FreeTypeFont as FreeTypeFont
    from rapidocr import RapidOCR as RapidOCR
    from torch import Tensor as Tensor
    from torch.nn import Module as Module

    from advantageflow.flow.sde import StochasticSampler as StochasticSampler
    from advantageflow.flow.sde import Trajectory as Trajectory
    from advantageflow.policy.conditioning import Conditioning as Conditioning
    from advantageflow.policy.families import Family as Family
    from advantageflow.policy.foreign import Foreign as Foreign
    from advantageflow.policy.generate import Generator as Generator
    from advantageflow.policy.saved import SavedPolicy as SavedPolicy
    from advantageflow.rewards.backbones.learned import LearnedReward as LearnedReward
else:
    Axes = BaseComponent = DockerClient = Figure = FreeTypeFont = Image = ImageDraw = MlflowClient = ModelVersion = Any
    Module = PipelineTask = RapidOCR = Run = Tensor = Any
    Conditioning = Family = Foreign = Generator = LearnedReward = SavedPolicy = StochasticSampler = Trajectory = Any
