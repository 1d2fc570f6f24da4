"""The same as `segkit rounds`, from a clone."""

from segkit.cli import run

if __name__ == "__main__":
    run("rounds")
