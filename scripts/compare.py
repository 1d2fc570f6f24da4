"""The same as `segkit compare`, from a clone."""

from segkit.cli import run

if __name__ == "__main__":
    run("compare")
