"""Mixtures of Gaussians over colour and texture, and the colours of a person's surfaces."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dp3d_core.arrays import Array, Mask, Pixels

SPREAD = np.array([6.0, 3.0, 3.0, 3.0])
"""Least standard deviations of a Gaussian: L, a, b, roughness."""
_LIGHT_SPREAD = np.array([2.0, 1.5, 1.5, 1.5])
"""Factors on the standard deviations of colours in another photo's light."""
_LIGHT_DEVIATION = np.array([12.0, 6.0, 6.0])
"""Standard deviations of the shift of all colours between two photos, Lab."""
_SURFACE_DEVIATION = 5.0
"""Standard deviation of the shift of one surface's colour from that of all colours, Lab."""
_ROUNDS = 10
"""Rounds of reweighted least squares for the shift of all colours."""
_MIN_PIXELS = 60
"""Least number of pixels of a surface whose colour is compared."""


def features_of(rgb: Pixels) -> Array:
    """(h, w, 4) features: Lab, and roughness, the log of the fine variation of lightness."""
    colours = cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2LAB).astype(np.float64)
    light = colours[..., 0]
    fine = light - cv2.GaussianBlur(light, (0, 0), 1.5)
    rough = np.log(0.7 + np.sqrt(cv2.GaussianBlur(fine * fine, (0, 0), 2.5)))
    smooth = cv2.bilateralFilter(colours.astype(np.float32), 5, 12, 3).astype(np.float64)
    return np.dstack([smooth, 8.0 * rough])


@dataclass(frozen=True)
class Mixture:
    """Mixture of k axis-parallel Gaussians.

    Attributes:
        weights: (k,) mixture weights.
        means: (k, d) means.
        spreads: (k, d) standard deviations.

    """

    weights: Array
    means: Array
    spreads: Array

    @property
    def mean(self) -> Array:
        """(d,) mean of all Gaussians."""
        return np.asarray(self.weights @ self.means)

    @classmethod
    def of(cls, features: Array, weights: Array, count: int, rounds: int = 6) -> Mixture | None:
        """Fit by EM to weighted features (n, d); None if the weights (n,) sum to less than 20."""
        if weights.sum() < 20:
            return None
        rng = np.random.default_rng(0)
        share = weights / weights.sum()
        means = features[rng.choice(len(features), count, p=share)]
        for _ in range(3):  # similar to k-means++: move a start to features far from all of them
            distance = ((features[:, None] - means) / SPREAD) ** 2
            nearest = distance.sum(2).min(1)
            odds = share * np.minimum(nearest, 50)
            if odds.sum() <= 0:
                break
            closest = int(np.argmin(np.linalg.norm(means[:, None] - means, axis=2).sum(1)))
            means[closest] = features[rng.choice(len(features), p=odds / odds.sum())]
        shares = np.full(count, 1 / count)
        spreads = np.repeat(2 * SPREAD[None], count, 0)
        for _ in range(rounds):
            responsibility = cls(shares, means, spreads).densities(features)
            responsibility /= np.maximum(responsibility.sum(1, keepdims=True), 1e-300)
            responsibility *= weights[:, None]
            mass = responsibility.sum(0) + 1e-9
            means = (responsibility.T @ features) / mass[:, None]
            variance = (responsibility.T @ features**2) / mass[:, None] - means**2
            spreads = np.maximum(np.sqrt(np.maximum(variance, 0)), SPREAD)
            shares = mass / mass.sum()
        return cls(shares, means, spreads)

    def moved(self, offset: Array, wider: Array) -> Mixture:
        """The mixture with its means moved by (d,) and its deviations multiplied by (d,)."""
        return Mixture(self.weights, self.means + offset, self.spreads * wider)

    def densities(self, features: Array) -> Array:
        """(n, k) weighted densities; a Gaussian of the least spread peaks at its weight."""
        # the square is multiplied out: two matrix products instead of an (n, k, d) array
        precision = 1 / self.spreads**2
        distance = features**2 @ precision.T - 2 * features @ (self.means * precision).T
        density = np.exp(-0.5 * np.maximum(distance + (self.means**2 * precision).sum(1), 0))
        return np.asarray(density * self.weights / np.prod(self.spreads / SPREAD, axis=1))

    def likelihood(self, features: Array) -> Array:
        """(n,) largest density, about 1 at the peak of the main, narrowest Gaussian.

        Weights enter by their square root: a colour that covers little of a class (a strip of
        cloth, a lit lock) is hardly less typical.
        """
        shares = np.sqrt(self.weights / self.weights.max())
        return np.asarray(Mixture(shares, self.means, self.spreads).densities(features).max(1))


@dataclass(frozen=True, eq=False)
class Palette:
    """Colours of a person's skin, hair and clothes in one photo, for the parsing of another.

    Attributes:
        skin, hair, cloth: mixture of each surface; None if the photo hardly shows it.
        peak: factor on likelihoods, which are about 1 at the peak of the main Gaussian.

    """

    skin: Mixture | None
    hair: Mixture | None
    cloth: Mixture | None
    peak: float = 1.0

    @classmethod
    def of(cls, features: Array, skin: Array, hair: Array, cloth: Array) -> Palette:
        """Fit to features (n, 4) of pixels (:func:`features_of`) with weights (n,) per surface."""
        return cls(
            Mixture.of(features, skin, 3),
            Mixture.of(features, hair, 3),
            Mixture.of(features, cloth, 3),
        )

    def in_light_of(self, features: Array, skin: Mask, hair: Mask, cloth: Mask) -> Palette:
        """The palette shifted to the light of another photo.

        The shift is the maximum a posteriori of those of the surfaces, with Huber's weights: a
        surface may be covered by another.

        Args:
            features: (n, 4) features of the other photo's pixels.
            skin: (n,) bool, pixels that probably show skin.
            hair: (n,) bool, pixels that probably show hair.
            cloth: (n,) bool, pixels that probably show clothes.

        """
        shifts = [
            np.median(features[shown, :3], axis=0) - mixture.mean[:3]
            for mixture, shown in zip(self._mixtures, (skin, hair, cloth), strict=True)
            if mixture is not None and shown.sum() > _MIN_PIXELS
        ]
        light = np.zeros(3)
        for _ in range(_ROUNDS if shifts else 0):
            off = np.linalg.norm(np.array(shifts) - light, axis=1)
            weights = 1 / (_SURFACE_DEVIATION * np.maximum(off, _SURFACE_DEVIATION))
            total = (weights[:, None] * np.array(shifts)).sum(0)
            light = total / (weights.sum() + 1 / _LIGHT_DEVIATION**2)
        offset = np.append(light, 0.0)
        skin_then, hair_then, cloth_then = (
            None if mixture is None else mixture.moved(offset, _LIGHT_SPREAD)
            for mixture in self._mixtures
        )
        return Palette(skin_then, hair_then, cloth_then, float(np.prod(_LIGHT_SPREAD)))

    @property
    def _mixtures(self) -> tuple[Mixture | None, ...]:
        return self.skin, self.hair, self.cloth

    def likelihoods(self, features: Array) -> Array:
        """(n, 3) likelihoods of skin, hair and cloth at pixels with features (n, 4), 0 to 1."""
        likelihoods = [
            np.zeros(len(features)) if mixture is None else mixture.likelihood(features)
            for mixture in self._mixtures
        ]
        return np.stack(likelihoods, -1) * self.peak
