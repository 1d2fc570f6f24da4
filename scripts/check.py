"""The same as `segkit check`, from a clone."""

from segkit.cli import run

if __name__ == "__main__":
    run("check")
