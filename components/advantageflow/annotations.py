"""Types of libraries that are slow to load, for annotations alone: who only names them does not load their library."""

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
    from torch import Tensor as Tensor
    from torch.nn import Module as Module
else:
    Axes = BaseComponent = DockerClient = Figure = Image = MlflowClient = ModelVersion = Module = PipelineTask = Any
    Run = Tensor = Any
