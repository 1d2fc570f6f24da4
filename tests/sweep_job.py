"""What a launcher's job does in the place of training, for test_sweeps."""

from pathlib import Path

from omegaconf import OmegaConf


def run(config):
    folder = Path(config.output)
    if config.seed == 1 and not (folder / "mended").exists():
        raise ValueError("seed 1 is broken")
    OmegaConf.save(config, folder / "config.yaml", resolve=True)
    (folder / "metrics.json").write_text('{"val": {"mean_iou": 0.5}}')
    (folder / "report.html").touch()
