"""Parity: recomputes golden tensors of the original implementations with our networks.

A set is ``PREFIX.json`` (official configuration, number of views), ``PREFIX.weights.safetensors``
(official weights at any size) and ``PREFIX.tensors.safetensors`` (inputs and outputs).  Weights are
loaded as by users' imports.  Without transformers the text encoder is not compared, and its outputs
are read from the set.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers import DDIMScheduler
from torch import Tensor

from dp3d_core.checkpoints.names import Official
from dp3d_core.checkpoints.official import Loaded, load_official, read_checkpoint, recognise
from dp3d_core.errors import Dp3dError
from dp3d_core.models.config import config_of_official
from dp3d_core.models.networks import Networks, decode_latents, encode_pictures
from dp3d_core.models.prompt import empty_tokens
from dp3d_core.pipelines.denoise import Conditions, Denoiser, hint_features
from dp3d_core.pipelines.schedule import (
    START_STEP,
    alphas_cumprod,
    official_schedule,
    tables,
)
from dp3d_core.progress import CancelCheck, ProgressCallback, Stage
from dp3d_core.storage.files import read_json
from dp3d_core.weights.requirements import text_encoder_problem

TOLERANCE = 1e-4
"""Largest accepted difference over the golden tensor's largest value, float32."""
GUIDANCE = 3.0
"""Guidance scale of the golden tensors."""
INPUT = "an input"
"""Reason not to compare a tensor: others are computed from it."""
_NO_TEXT_ENCODER = "needs transformers"
"""Reason not to compare a tensor: transformers is not installed."""
_OF_TEXT_ENCODER = re.compile(r"in\.input_ids_text|text\.context_(empty|text)")
"""Names of tensors that the text encoder makes or reads."""
_WORST_ERROR = 1e9
"""Error of a tensor of another shape or with non-finite values; JSON has no infinity."""
Result = TypeVar("Result")


@dataclass(frozen=True)
class Compared:
    """Comparison of one golden tensor."""

    name: str
    error: float | None
    """Largest difference over the golden tensor's largest value; None: not compared."""
    reason: str = ""
    """Reason that it was not compared; empty for compared and unknown ones."""

    @property
    def good(self) -> bool:
        """Whether the tensor agrees, or has a reason not to be compared."""
        return bool(self.reason) if self.error is None else self.error <= TOLERANCE


def verify_parity(
    prefix: Path, *, progress: ProgressCallback, cancel: CancelCheck
) -> list[Compared]:
    """Recompute and compare every tensor of a set.

    Args:
        prefix: path of the set without ``.json``.
        progress: stage ``parity``.
        cancel: polled between tensors.

    Returns:
        One entry for each tensor of the file, sorted by name, inputs last.

    Raises:
        Dp3dError: ``parity.invalid``, ``weights.*``.

    """
    return _Golden(prefix).compare(progress, cancel)


class _Golden:
    """A golden set, with intermediate results computed on demand."""

    def __init__(self, prefix: Path) -> None:
        prefix = Path(prefix)
        try:
            data = read_json(prefix.with_name(f"{prefix.name}.json"))
            self.official, views = data["official_config"], int(data["views"])
            self.view_indices = [int(i) for i in data["kept_views"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _invalid(prefix, f"{prefix.name}.json is missing or damaged") from error
        self.views = views
        self.tensors = _Tensors(
            read_checkpoint(prefix.with_name(f"{prefix.name}.tensors.safetensors"))
        )
        state = read_checkpoint(prefix.with_name(f"{prefix.name}.weights.safetensors"))
        try:
            config = config_of_official(recognise(state), self.official, views)
            if len(config.channels) != 4 or len(config.vae_channels) != 4:
                raise ValueError("only networks of four levels are known")
            if views < 1 or min(config.channels) < 1 or config.heads < 1:
                raise ValueError("sizes below 1")
            Networks.of(config, meta=True)
        except (KeyError, TypeError, ValueError, RuntimeError, ArithmeticError) as error:
            raise _invalid(prefix, "its official_config lacks a size, or has an odd one") from error
        self.loaded: Loaded = load_official(
            state, config, torch.float32, text_encoder=text_encoder_problem() is None
        )
        self.config, self.networks = config, self.loaded.networks
        self._results: dict[str, Any] = {}

    def compare(self, progress: ProgressCallback, cancel: CancelCheck) -> list[Compared]:
        results = []
        stage = Stage("parity", len(self.tensors), progress, cancel, "Recomputing tensors")
        with torch.inference_mode():
            # inputs last: an input that no computation has read counts as not compared
            for name in sorted(self.tensors, key=lambda name: (_is_input(name), name)):
                results.append(self._compare(name))
                stage.advance(name)
        return results

    def _compare(self, name: str) -> Compared:
        golden = self.tensors.golden(name)
        if name == "in.input_ids":
            is_equal = torch.equal(empty_tokens(self.config.text), golden)
            return Compared(name, 0.0 if is_equal else _WORST_ERROR)
        if self.loaded.text_encoder is None and _OF_TEXT_ENCODER.fullmatch(name):
            return Compared(name, None, _NO_TEXT_ENCODER)
        if _is_input(name):
            return Compared(name, None, INPUT if name in self.tensors.read else "")
        for pattern, compute in self._rules():
            if match := re.fullmatch(pattern, name):
                try:
                    computed = compute(*match.groups())
                    return Compared(name, _relative_error(computed, golden))
                except (KeyError, IndexError, StopIteration):
                    return Compared(name, None)  # none of our results has this name
                except Dp3dError:
                    return Compared(name, _WORST_ERROR)  # the pipeline refuses the inputs
                except (RuntimeError, ValueError, TypeError, ArithmeticError):
                    return Compared(name, _WORST_ERROR)  # sizes of inputs do not match
        return Compared(name, None)

    def _rules(self) -> Iterator[tuple[str, Callable[..., Tensor]]]:
        yield r"text\.context_(empty|text)", self._context
        yield r"vae\.(ref|back|proxy)_mean", lambda w: self._posterior(w).mode()
        yield r"vae\.(ref|back|proxy)_logvar", lambda w: self._posterior(w).logvar
        yield r"lat\.(ref|back|proxy)", self._latents
        yield r"vae\.decoded", lambda: self._decode(self.tensors["in.decode_latent"])
        yield r"pose\.hint_features", lambda: self._hints[self.view_indices]
        yield r"t(\d+)\.bank\.(\d+)", lambda t, i: self._bank(t)[int(i)][:1]
        yield r"t(\d+)\.bank_back\.(\d+)", lambda t, i: self._bank(t)[int(i)][1:2]
        yield (
            r"t(\d+)\.pose_residual\.(\d+)",
            lambda t, i: self._residuals(t)[int(i)][self.view_indices],
        )
        yield r"t(\d+)\.eps_(\w+)", lambda t, which: self._noise(t)[which]
        yield r"feat_(cond|uncond)\.(.+)", self._feature
        yield r"motion\.(mm_\w+)\.output", self._motion
        yield r"sched\.alphas_cumprod", lambda: self._schedule(self.config.half_schedule)
        yield r"sched\.alphas_cumprod_f64", alphas_cumprod
        yield r"(fp16sched\.)?sched(\d+)_eta(\d+)\.(\w+)", self._table
        yield (
            r"(fp16sched\.)?ddim(\d+)_eta(\d+)\.(x_inter|pred_x0|final|decoded)",
            self._sampling_result,
        )

    # -- inputs --

    def _pictures(self, name: str) -> Tensor:
        return self.tensors[name].float() / 127.5 - 1

    def _context(self, which: str) -> Tensor:
        if self.loaded.text_encoder is None:
            return self.tensors[f"text.context_{which}"]
        from dp3d_core.models.text_encoder import encode_tokens

        name = "in.input_ids" if which == "empty" else "in.input_ids_text"
        return encode_tokens(self.loaded.text_encoder, self.tensors[name])

    def _posterior(self, which: str) -> Any:
        names = {"ref": "ref_image", "back": "back_image", "proxy": "proxy_images"}
        pictures = self._pictures(f"in.{names[which]}_u8")
        return self.networks.vae.encode(pictures).latent_dist

    def _latents(self, which: str) -> Tensor:
        names = {"ref": "ref_image", "back": "back_image", "proxy": "proxy_images"}
        return encode_pictures(self.networks.vae, self._pictures(f"in.{names[which]}_u8"))

    @cached_property
    def _hints(self) -> Tensor:
        return hint_features(self.networks, self._pictures("in.pose_images_u8"))

    @cached_property
    def _references(self) -> Tensor:
        names = ["ref", *(["back"] if "in.back_image_u8" in self.tensors else [])]
        return torch.cat([self._latents(which) for which in names])

    def _decode(self, latents: Tensor) -> Tensor:
        return decode_latents(self.networks.vae, latents)

    # -- single steps --

    def _denoiser(self, prompt: str = "empty") -> Denoiser:
        return self._cached(
            f"denoiser {prompt}",
            lambda: Denoiser(
                self.networks, Conditions(self._context(prompt), self._references, self._hints)
            ),
        )

    def _bank(self, t: str) -> list[Tensor]:
        return self._cached(
            f"bank {t}", lambda: self._denoiser().reference_tokens(torch.tensor([int(t)]))
        )

    def _residuals(self, t: str) -> list[Tensor]:
        def compute() -> list[Tensor]:
            self._denoiser().begin(torch.tensor([int(t)]))
            return self._denoiser().residuals(self.tensors["in.x_t"], torch.arange(self.views))

        return self._cached(f"residuals {t}", compute)

    def _noise(self, t: str) -> dict[str, Tensor]:
        def compute() -> dict[str, Tensor]:
            sample, indices = self.tensors["in.x_t"], torch.arange(self.views)
            noises = {}
            for prompt, name in (("empty", "cond"), ("text", "cond_text")):
                denoiser = self._denoiser(prompt)
                denoiser.begin(torch.tensor([int(t)]))
                noises[name] = denoiser.conditional(sample, indices, self.views)
            empty = self._denoiser()
            noises["uncond"] = empty.unconditional(sample, self.views)
            noises["guided"] = empty.guided(sample, indices, self.views, GUIDANCE)
            return noises

        return self._cached(f"noise {t}", compute)

    def _feature(self, which: str, name: str) -> Tensor:
        return self._features(which)[name][self.view_indices]

    def _features(self, which: str) -> dict[str, Tensor]:
        # the set has features at the timestep of its reference tokens
        t = next(m[1] for n in self.tensors if (m := re.fullmatch(r"t(\d+)\.bank\.00", n)))

        def compute() -> dict[str, Tensor]:
            features_by_name: dict[str, Tensor] = {}
            names = self._official_sites
            denoiser = self._denoiser()
            denoiser.begin(torch.tensor([int(t)]))
            sample, all_views = self.tensors["in.x_t"], torch.arange(self.views)

            def trace(site: str, features: Tensor) -> None:
                if site in names:
                    features_by_name[names[site]] = features

            if which == "cond":
                denoiser.conditional(sample, all_views, self.views, trace)
            else:
                denoiser.unconditional(sample, self.views, trace)
            return features_by_name

        return self._cached(f"features {which}", compute)

    @cached_property
    def _official_sites(self) -> dict[str, str]:
        """The set's names of features by the names of our trace."""
        names = {"input.block": "in00.block", "middle.block": "mid.block"}
        for level in range(len(self.config.channels)):
            for layer, place in ((0, "0"), (1, "1"), (2, "resample")):
                names[f"down_{level}_{place}.block"] = f"in{3 * level + 1 + layer:02}.block"
                names[f"up_{level}_{place}.block"] = f"out{3 * level + layer:02}.block"
            names[f"up_{level}_2.block"] = f"out{3 * level + 2:02}.block"
        for site in self.networks.unet.view_modules:
            names[f"{site}.views"] = self._module_name(site)
        return names

    def _module_name(self, site: str) -> str:
        views = self.config.view_modules
        official = Official(views is not None and views.after_downsamplers)
        name = official.name("unet", f"view_modules.{site}.0.norm.weight")
        match = re.search(r"(input|middle|output)_block(?:s)?_motion_module\.(\d+)", name)
        assert match is not None
        if match[1] == "middle":
            return "mm_mid"
        return f"mm_{match[1][: -len('put')]}{int(match[2]):02}"

    def _motion(self, name: str) -> Tensor:
        site = next(s for s in self.networks.unet.view_modules if self._module_name(s) == name)
        modules: Any = self.networks.unet.view_modules[site]
        features = self.tensors[f"motion.{name}.input"]
        out: Tensor = modules[0](features, len(features))
        return out

    # -- sampling --

    def _schedule(self, half: bool) -> Tensor:
        alphas: Tensor = official_schedule(half).alphas_cumprod
        return alphas

    def _table(self, half: str | None, steps: str, eta: str, name: str) -> Tensor:
        return tables(official_schedule(bool(half)), int(steps), _eta(eta))[name]

    def _sampling_result(self, half: str | None, steps: str, eta: str, what: str) -> Tensor:
        run = self._cached(
            f"sampled {half} {steps} {eta}",
            lambda: self._sample(official_schedule(bool(half)), int(steps), _eta(eta)),
        )
        if what == "decoded":
            return self._decode(run["final"][:1])
        return run[what]

    def _sample(self, scheduler: DDIMScheduler, steps: int, eta: float) -> dict[str, Tensor]:
        scheduler.set_timesteps(steps)
        denoiser, indices = self._denoiser(), torch.arange(self.views)
        if "in.x_T" in self.tensors:
            x = self.tensors["in.x_T"]
        else:
            at = torch.tensor([START_STEP])
            x = scheduler.add_noise(self._latents("proxy"), self.tensors["in.q_noise"], at)
        states, clean = [x], []
        for i, t in enumerate(scheduler.timesteps):
            denoiser.begin(t.reshape(1))
            noise = denoiser.guided(x, indices, self.views, GUIDANCE)
            variance_noise = self.tensors["in.ddim_noises"][i] if eta else None
            step = scheduler.step(noise, int(t), x, eta=eta, variance_noise=variance_noise)
            x = step.prev_sample
            states.append(x)
            clean.append(step.pred_original_sample)
        return {"x_inter": torch.stack(states), "pred_x0": torch.stack(clean), "final": x}

    def _cached(self, key: str, compute: Callable[[], Result]) -> Result:
        if key not in self._results:
            self._results[key] = compute()
        result: Result = self._results[key]
        return result


class _Tensors(dict[str, Tensor]):
    """Tensors of a set; records the names that computations read."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        super().__init__(tensors)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Tensor:
        self.read.add(name)
        return super().__getitem__(name)

    def golden(self, name: str) -> Tensor:
        """A tensor to compare with, which is not recorded as read."""
        return super().__getitem__(name)


def _is_input(name: str) -> bool:
    return (name.startswith("in.") and name != "in.input_ids") or name.endswith(".input")


def _eta(digits: str) -> float:
    """Eta of its digits in a name: 0 for "0", 0.5 for "05"."""
    return float(f"{digits[0]}.{digits[1:] or 0}")


def _relative_error(computed: Tensor, golden: Tensor) -> float:
    if computed.shape != golden.shape:
        return _WORST_ERROR
    largest = float(golden.abs().max())
    error = float((computed - golden).abs().max()) / max(largest, 1e-12)
    return error if math.isfinite(error) else _WORST_ERROR


def _invalid(prefix: Path, why: str) -> Dp3dError:
    return Dp3dError(
        "parity.invalid",
        f"The golden set {prefix} cannot be used: {why}.",
        "Name a set by the part of its path before .json; three files belong to it.",
    )
