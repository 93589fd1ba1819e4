"""Sizes of a model's latents, known from its configuration without loading anything."""

from typing import NamedTuple

from advantageflow.errors import SettingsError


class LatentSizes(NamedTuple):
    """Sizes of a model's latents.

    Attributes:
        leading: what comes before height and width: channels, and frames where the latents have them.
        usual: height (and width) of a latent at the model's own image size.
        largest: height of the largest.
        multiple: what a height must be a multiple of.
        pixels: height of an image, in pixels, for each of the latent's.
    """

    leading: tuple[int, ...]
    usual: int
    largest: int
    multiple: int
    pixels: int

    def shape(self, image_size: int | None) -> tuple[int, ...]:
        """The shape of latents at an image size, or at the model's own.

        Raises:
            SettingsError: the image size is none that the model can make.
        """
        if image_size is None:
            return *self.leading, self.usual, self.usual
        height, rest = divmod(image_size, self.pixels)
        if rest or height % self.multiple or height > self.largest:
            unit = self.pixels * self.multiple
            remedy = f"give a multiple of {unit}, at most {self.pixels * self.largest}"
            message = f"the model makes no images of {image_size} pixels"
            raise SettingsError(message, where="model.image_size", remedy=remedy)
        return *self.leading, height, height
