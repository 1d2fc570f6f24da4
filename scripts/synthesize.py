"""The same as `segkit synthesize`, from a clone."""

from segkit.cli import run

if __name__ == "__main__":
    run("synthesize")
