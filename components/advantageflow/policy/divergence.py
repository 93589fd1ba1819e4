"""What tells a policy that has diverged: samples that are not finite."""

from collections.abc import Sequence

from advantageflow.annotations import Tensor
from advantageflow.errors import PolicyError, UserError

REMEDY = "the policy has diverged: regularise it more (options of training.objective) or lower training.learning_rate"


def check_finite(
    samples: Tensor, names: Sequence[str], what: str = "latent", error: type[UserError] = PolicyError
) -> None:
    """Raise an error that names the first sample with an element that is not finite.

    Args:
        samples: a row for each name, possibly none.
        what: what the rows are.
        error: kind of error: a DataError where they come from a file.
    """
    for name, finite in zip(names, samples.flatten(1).isfinite().all(1).tolist(), strict=True):
        if not finite:
            raise error(f"its {what} is not finite", where=name, remedy=REMEDY)
