"""The same as `segkit search`, from a clone."""

from segkit.cli import run

if __name__ == "__main__":
    run("search")
