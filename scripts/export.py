"""The same as `segkit export`, from a clone."""

from segkit.cli import run

if __name__ == "__main__":
    run("export")
