"""Recomputes golden tensors of the original implementations with our networks.

A set is ``PREFIX.json`` (official configuration, number of views), ``PREFIX.weights.safetensors``
(official weights at any size) and ``PREFIX.tensors.safetensors`` (inputs and outputs).  Weights
go through the importer that users use.  Without transformers the text encoder is not compared, and
what it should give is read from the set.
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
"""Largest difference over largest value, float32."""
GUIDANCE = 3.0
INPUT = "an input"
"""Reason not to compare what others are computed from."""
_NO_TEXT_ENCODER = "needs transformers"
_OF_TEXT_ENCODER = re.compile(r"in\.input_ids_text|text\.context_(empty|text)")
_HOPELESS = 1e9
"""Error of what has another shape, or is no number: JSON knows no infinity."""
Found = TypeVar("Found")


@dataclass(frozen=True)
class Compared:
    """One golden tensor."""

    name: str
    error: float | None
    """Largest difference over the golden tensor's largest value; None: not compared."""
    reason: str = ""
    """Why it was not compared."""

    @property
    def good(self) -> bool:
        """Whether it agrees, or there is a reason not to compare it."""
        return bool(self.reason) if self.error is None else self.error <= TOLERANCE


def verify_parity(
    prefix: Path, *, progress: ProgressCallback, cancel: CancelCheck
) -> list[Compared]:
    """Recompute every tensor of a set.

    Args:
        prefix: path of the set without ``.json``.
        progress: stage ``parity``.
        cancel: polled between tensors.

    Returns:
        One entry for every tensor of the file, by name, inputs last.

    Raises:
        Dp3dError: ``parity.invalid``, ``weights.*``.

    """
    return _Golden(prefix).compare(progress, cancel)


class _Golden:
    """A set, and lazily what is computed of it."""

    def __init__(self, prefix: Path) -> None:
        prefix = Path(prefix)
        try:
            data = read_json(prefix.with_name(f"{prefix.name}.json"))
            self.official, views = data["official_config"], int(data["views"])
            self.kept = [int(i) for i in data["kept_views"]]
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
        self._kept_results: dict[str, Any] = {}

    def compare(self, progress: ProgressCallback, cancel: CancelCheck) -> list[Compared]:
        rows = []
        stage = Stage("parity", len(self.tensors), progress, cancel, "Recomputing tensors")
        with torch.inference_mode():
            # inputs last: one that nothing has read is no input
            for name in sorted(self.tensors, key=lambda name: (_is_input(name), name)):
                rows.append(self._row(name))
                stage.advance(name)
        return rows

    def _row(self, name: str) -> Compared:
        golden = self.tensors.golden(name)
        if name == "in.input_ids":
            same = torch.equal(empty_tokens(self.config.text), golden)
            return Compared(name, 0.0 if same else _HOPELESS)
        if self.loaded.text_encoder is None and _OF_TEXT_ENCODER.fullmatch(name):
            return Compared(name, None, _NO_TEXT_ENCODER)
        if _is_input(name):
            return Compared(name, None, INPUT if name in self.tensors.read else "")
        for pattern, compute in self._rules():
            if match := re.fullmatch(pattern, name):
                try:
                    found = compute(*match.groups())
                    return Compared(name, _relative(found, golden))
                except (KeyError, IndexError, StopIteration):
                    return Compared(name, None)  # nothing of ours has this name
                except Dp3dError:
                    return Compared(name, _HOPELESS)  # inputs that the pipeline refuses
                except (RuntimeError, ValueError, TypeError, ArithmeticError):
                    return Compared(name, _HOPELESS)  # inputs of sizes that do not fit
        return Compared(name, None)

    def _rules(self) -> Iterator[tuple[str, Callable[..., Tensor]]]:
        yield r"text\.context_(empty|text)", self._context
        yield r"vae\.(ref|back|proxy)_mean", lambda w: self._posterior(w).mode()
        yield r"vae\.(ref|back|proxy)_logvar", lambda w: self._posterior(w).logvar
        yield r"lat\.(ref|back|proxy)", self._latents
        yield r"vae\.decoded", lambda: self._decode(self.tensors["in.decode_latent"])
        yield r"pose\.hint_features", lambda: self._hints[self.kept]
        yield r"t(\d+)\.bank\.(\d+)", lambda t, i: self._bank(t)[int(i)][:1]
        yield r"t(\d+)\.bank_back\.(\d+)", lambda t, i: self._bank(t)[int(i)][1:2]
        yield r"t(\d+)\.pose_residual\.(\d+)", lambda t, i: self._residuals(t)[int(i)][self.kept]
        yield r"t(\d+)\.eps_(\w+)", lambda t, which: self._noise(t)[which]
        yield r"feat_(cond|uncond)\.(.+)", self._feature
        yield r"motion\.(mm_\w+)\.output", self._motion
        yield r"sched\.alphas_cumprod", lambda: self._schedule(self.config.half_schedule)
        yield r"sched\.alphas_cumprod_f64", alphas_cumprod
        yield r"(fp16sched\.)?sched(\d+)_eta(\d+)\.(\w+)", self._table
        yield r"(fp16sched\.)?ddim(\d+)_eta(\d+)\.(x_inter|pred_x0|final|decoded)", self._sampled

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
        both = ["ref", *(["back"] if "in.back_image_u8" in self.tensors else [])]
        return torch.cat([self._latents(which) for which in both])

    def _decode(self, latents: Tensor) -> Tensor:
        return decode_latents(self.networks.vae, latents)

    # -- single steps --

    def _denoiser(self, prompt: str = "empty") -> Denoiser:
        return self._once(
            f"denoiser {prompt}",
            lambda: Denoiser(
                self.networks, Conditions(self._context(prompt), self._references, self._hints)
            ),
        )

    def _bank(self, t: str) -> list[Tensor]:
        return self._once(
            f"bank {t}", lambda: self._denoiser().reference_tokens(torch.tensor([int(t)]))
        )

    def _residuals(self, t: str) -> list[Tensor]:
        def compute() -> list[Tensor]:
            self._denoiser().begin(torch.tensor([int(t)]))
            return self._denoiser().residuals(self.tensors["in.x_t"], torch.arange(self.views))

        return self._once(f"residuals {t}", compute)

    def _noise(self, t: str) -> dict[str, Tensor]:
        def compute() -> dict[str, Tensor]:
            sample, which = self.tensors["in.x_t"], torch.arange(self.views)
            found = {}
            for prompt, name in (("empty", "cond"), ("text", "cond_text")):
                denoiser = self._denoiser(prompt)
                denoiser.begin(torch.tensor([int(t)]))
                found[name] = denoiser.conditional(sample, which, self.views)
            empty = self._denoiser()
            found["uncond"] = empty.unconditional(sample, self.views)
            found["guided"] = empty.guided(sample, which, self.views, GUIDANCE)
            return found

        return self._once(f"noise {t}", compute)

    def _feature(self, which: str, name: str) -> Tensor:
        return self._features(which)[name][self.kept]

    def _features(self, which: str) -> dict[str, Tensor]:
        # features are kept for the step that tokens are kept for
        t = next(m[1] for n in self.tensors if (m := re.fullmatch(r"t(\d+)\.bank\.00", n)))

        def compute() -> dict[str, Tensor]:
            found: dict[str, Tensor] = {}
            names = self._official_sites
            denoiser = self._denoiser()
            denoiser.begin(torch.tensor([int(t)]))
            sample, all_views = self.tensors["in.x_t"], torch.arange(self.views)

            def trace(site: str, features: Tensor) -> None:
                if site in names:
                    found[names[site]] = features

            if which == "cond":
                denoiser.conditional(sample, all_views, self.views, trace)
            else:
                denoiser.unconditional(sample, self.views, trace)
            return found

        return self._once(f"features {which}", compute)

    @cached_property
    def _official_sites(self) -> dict[str, str]:
        """Places in the network, as our trace names them, to the set's names."""
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

    def _sampled(self, half: str | None, steps: str, eta: str, what: str) -> Tensor:
        run = self._once(
            f"sampled {half} {steps} {eta}",
            lambda: self._sample(official_schedule(bool(half)), int(steps), _eta(eta)),
        )
        if what == "decoded":
            return self._decode(run["final"][:1])
        return run[what]

    def _sample(self, scheduler: DDIMScheduler, steps: int, eta: float) -> dict[str, Tensor]:
        scheduler.set_timesteps(steps)
        denoiser, which = self._denoiser(), torch.arange(self.views)
        if "in.x_T" in self.tensors:
            x = self.tensors["in.x_T"]
        else:
            at = torch.tensor([START_STEP])
            x = scheduler.add_noise(self._latents("proxy"), self.tensors["in.q_noise"], at)
        states, clean = [x], []
        for i, t in enumerate(scheduler.timesteps):
            denoiser.begin(t.reshape(1))
            noise = denoiser.guided(x, which, self.views, GUIDANCE)
            grain = self.tensors["in.ddim_noises"][i] if eta else None
            step = scheduler.step(noise, int(t), x, eta=eta, variance_noise=grain)
            x = step.prev_sample
            states.append(x)
            clean.append(step.pred_original_sample)
        return {"x_inter": torch.stack(states), "pred_x0": torch.stack(clean), "final": x}

    def _once(self, key: str, compute: Callable[[], Found]) -> Found:
        if key not in self._kept_results:
            self._kept_results[key] = compute()
        found: Found = self._kept_results[key]
        return found


class _Tensors(dict[str, Tensor]):
    """The tensors of a set, and which of them were read to compute others."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        super().__init__(tensors)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Tensor:
        self.read.add(name)
        return super().__getitem__(name)

    def golden(self, name: str) -> Tensor:
        """One to compare with: that is no use of it."""
        return super().__getitem__(name)


def _is_input(name: str) -> bool:
    return (name.startswith("in.") and name != "in.input_ids") or name.endswith(".input")


def _eta(digits: str) -> float:
    """0 and 05 stand for 0 and 0.5."""
    return float(f"{digits[0]}.{digits[1:] or 0}")


def _relative(found: Tensor, golden: Tensor) -> float:
    if found.shape != golden.shape:
        return _HOPELESS
    largest = float(golden.abs().max())
    error = float((found - golden).abs().max()) / max(largest, 1e-12)
    return error if math.isfinite(error) else _HOPELESS


def _invalid(prefix: Path, why: str) -> Dp3dError:
    return Dp3dError(
        "parity.invalid",
        f"The golden set {prefix} cannot be used: {why}.",
        "Name a set by the part of its path before .json; three files belong to it.",
    )
