"""The same as `segkit predict`, from a clone."""

from segkit.cli import run

if __name__ == "__main__":
    run("predict")
