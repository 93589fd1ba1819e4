"""AdvantageFlow: forward-process reinforcement learning for rectified-flow image models."""

__version__ = "0.1.0"
