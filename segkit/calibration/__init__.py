"""What `segkit calibrate` does: tunes temperature and decision thresholds on validation data."""

from segkit.calibration.running import run
from segkit.calibration.tuning import Found, calibrate

__all__ = ["Found", "calibrate", "run"]
