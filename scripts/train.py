"""The same as `segkit train`, from a clone."""

from segkit.cli import run

if __name__ == "__main__":
    run("train")
