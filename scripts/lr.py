"""The same as `segkit lr`, from a clone."""

from segkit.cli import run

if __name__ == "__main__":
    run("lr")
