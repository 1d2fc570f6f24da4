"""The same as `segkit calibrate`, from a clone."""

from segkit.cli import run

if __name__ == "__main__":
    run("calibrate")
