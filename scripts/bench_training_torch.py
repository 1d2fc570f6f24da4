"""The same U-Net and the same step in PyTorch, for `bench_training.py`."""

from __future__ import annotations

import os
import shutil
from typing import Any, Callable

from bench_training_rivals import Shape, Trainer, Unavailable, gemm_size, random_data


def torch_eager(shape: Shape) -> Trainer:
    """As one would write it first."""
    return _torch(shape, bfloat16=False)


def torch_bfloat16(shape: Shape) -> Trainer:
    """Under autocast."""
    return _torch(shape)


def torch_channels_last(shape: Shape) -> Trainer:
    """Under autocast, with the channels innermost, as oneDNN and tensor cores want them."""
    return _torch(shape, last=True)


def torch_compile(shape: Shape) -> Trainer:
    """The same, compiled by inductor."""
    return _torch(shape, last=True, compiled=True)


def torch_fused(shape: Shape) -> Trainer:
    """The same, and Adam in one kernel."""
    return _torch(shape, last=True, compiled=True, fused=True)


def _torch(
    shape: Shape,
    bfloat16: bool = True,
    last: bool = False,
    compiled: bool = False,
    fused: bool | None = None,
) -> Trainer:
    import torch

    if compiled and not any(map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "clang++"))):
        raise Unavailable("torch.compile needs a C++ compiler")
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    order = torch.channels_last if last else torch.contiguous_format
    model = torch_unet(shape).to(device, memory_format=order)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, fused=fused)
    images, labels = (torch.from_numpy(part).to(device) for part in random_data(shape))
    images, labels = images.permute(0, 3, 1, 2).contiguous(memory_format=order), labels.long()
    forward = torch.compile(model) if compiled else model

    def steps(count: int) -> None:
        for _ in range(count):
            optimizer.zero_grad()
            with torch.autocast(device, torch.bfloat16, enabled=bfloat16):
                logits = forward(images)
            torch.nn.functional.cross_entropy(logits.float(), labels).backward()
            optimizer.step()
        _wait_for_torch()

    return _torch_trainer(steps)


def torch_unet(shape: Shape) -> Any:
    """The same U-Net as a `torch.nn.Module`: (B, 3, H, W) -> (B, C, H, W)."""
    from torch import cat, nn

    def twice(k_in: int, k_out: int) -> nn.Sequential:
        parts: list[nn.Module] = []
        for channels in (k_in, k_out):
            parts.append(nn.Conv2d(channels, k_out, 3, padding=1, bias=False))
            parts += [nn.BatchNorm2d(k_out, eps=1e-3), nn.ReLU(inplace=True)]
        return nn.Sequential(*parts)

    class UNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            widths = [shape.filters << level for level in range(shape.depth + 1)]
            pairs = list(zip(widths, widths[1:]))
            self.down = nn.ModuleList(map(twice, [3, *widths], widths))
            self.rise = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, 2) for a, b in pairs)
            self.up = nn.ModuleList(twice(2 * a, a) for a, _ in pairs)
            self.pool, self.logits = nn.MaxPool2d(2), nn.Conv2d(widths[0], shape.classes, 1)

        def forward(self, x: Any) -> Any:
            skips = []
            for level, block in enumerate(self.down):
                x = block(x if level == 0 else self.pool(x))
                skips.append(x)
            for level in reversed(range(shape.depth)):
                x = self.up[level](cat([skips[level], self.rise[level](x)], 1))
            return self.logits(x)

    return UNet()


def _torch_trainer(steps: Callable[[int], None]) -> Trainer:
    import torch

    gpu = torch.cuda.is_available()
    peak = (lambda: torch.cuda.max_memory_allocated() / 2**20) if gpu else (lambda: None)
    return Trainer(steps, "GPU" if gpu else "CPU", peak)


def _wait_for_torch() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def torch_gemm(precision: str, shape: Shape) -> Trainer:
    """Products of matrices."""
    import torch

    trainer = _torch_trainer(lambda count: None)
    size, kind = gemm_size(trainer.device), getattr(torch, precision)
    device = "cuda" if trainer.device == "GPU" else "cpu"
    a, b = (torch.rand((size, size), device=device).to(kind) for _ in range(2))

    def steps(count: int) -> None:
        for _ in range(count):
            torch.matmul(a, b)
        _wait_for_torch()

    return trainer._replace(steps=steps)
