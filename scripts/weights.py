"""The same as `segkit weights`, from a clone."""

from segkit.cli import run

if __name__ == "__main__":
    run("weights")
