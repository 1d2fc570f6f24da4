"""The same as `segkit complete`, from a clone."""

from segkit.cli import run

if __name__ == "__main__":
    run("complete")
