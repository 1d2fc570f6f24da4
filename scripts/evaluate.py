"""The same as `segkit evaluate`, from a clone."""

from segkit.cli import run

if __name__ == "__main__":
    run("evaluate")
